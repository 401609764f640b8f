package conformance

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tool is a client with or without a key.
type tool struct {
	w        *world
	id       string
	redirect string
	k        *key // nil: no proofs
}

// std is the ordinary OAuth client that knows nothing of keys.
func (w *world) std() *tool { return &tool{w: w, id: "std", redirect: loop} }

// two is another client.
func (w *world) two() *tool { return &tool{w: w, id: "std2", redirect: loop} }

// bound is the client that must prove a key.
func (w *world) bound() *tool { return &tool{w: w, id: "bound", redirect: loop, k: newKey("ES256")} }

func (w *world) named(id string) *tool { return &tool{w: w, id: id, redirect: loop} }

// started is an authorization request that a tool has written down.
type started struct {
	params   url.Values
	verifier string
	code     string
	back     url.Values // the authorization response
}

// write writes a valid request down; with "" a parameter is left out.
func (c *tool) write(change ...string) *started {
	s := &started{verifier: rand.Text() + rand.Text()}
	s.params = url.Values{
		"client_id": {c.id}, "response_type": {"code"}, "redirect_uri": {c.redirect}, "scope": {"read write"},
		"state": {rand.Text()}, "code_challenge": {hash(s.verifier)}, "code_challenge_method": {"S256"},
	}
	set(s.params, change)
	return s
}

// set changes parameters by pairs; an empty value drops one.
func set(v url.Values, change []string) {
	for i := 0; i < len(change); i += 2 {
		if change[i+1] == "" {
			v.Del(change[i])
			continue
		}
		v.Set(change[i], change[i+1])
	}
}

func (w *world) authorizeURL(params url.Values) string {
	return w.at("authorization_endpoint") + "?" + params.Encode()
}

// allow takes the request through the browser: by PAR when the tool has a key.
func (c *tool) allow(s *started) error {
	q := s.params
	if c.k != nil {
		a, err := c.send(c.w.par(), s.params)
		if err != nil {
			return err
		}
		if a.status != http.StatusCreated {
			return fmt.Errorf("PAR: %s", a)
		}
		q = url.Values{"client_id": {c.id}, "request_uri": {a.str("request_uri")}}
	}
	back, err := c.w.person.Allow(context.Background(), c.w.authorizeURL(q))
	if err != nil {
		return err
	}
	s.back = back.Query()
	if s.code = s.back.Get("code"); s.code == "" {
		return fmt.Errorf("no code: %s", back)
	}
	return nil
}

// send posts a form with the tool's proof, if it has a key.
func (c *tool) send(to string, form url.Values) (answer, error) {
	if c.k == nil {
		return c.w.post(to, form)
	}
	return c.w.post(to, form, "DPoP", c.k.proof("POST", to, c.w.freshNonce()))
}

// codeForm is the token request for a code.
func (c *tool) codeForm(s *started, change ...string) url.Values {
	f := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {c.id}, "code": {s.code},
		"redirect_uri": {s.params.Get("redirect_uri")}, "code_verifier": {s.verifier},
	}
	set(f, change)
	return f
}

// code goes as far as a code.
func (c *tool) code(change ...string) (*started, error) {
	s := c.write(change...)
	return s, c.allow(s)
}

// login goes all the way.
func (c *tool) login(change ...string) (answer, error) {
	s, err := c.code(change...)
	if err != nil {
		return answer{}, err
	}
	a, err := c.send(c.w.token(), c.codeForm(s))
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("token: %s", a)
	}
	return a, err
}

// refresh sends a refresh token.
func (c *tool) refresh(token string, change ...string) (answer, error) {
	f := url.Values{"grant_type": {"refresh_token"}, "client_id": {c.id}, "refresh_token": {token}}
	set(f, change)
	return c.send(c.w.token(), f)
}

// ask opens an authorization request as a person who is not signed in would, and
// follows within the server: to a page, or to the client.
func (w *world) ask(params url.Values) (page answer, back *url.URL, err error) {
	return w.follow(w.authorizeURL(params))
}

func (w *world) follow(to string) (page answer, back *url.URL, err error) {
	for range 6 {
		a, err := w.get(to)
		if err != nil {
			return a, nil, err
		}
		if err := a.notCrashed(); err != nil {
			return a, nil, err
		}
		if a.status/100 != 3 {
			return a, nil, nil
		}
		loc := a.header.Get("Location")
		if !strings.HasPrefix(loc, w.Issuer+"/") {
			back, err = url.Parse(loc)
			return a, back, err
		}
		to = loc
	}
	return page, nil, wrong("redirects in a circle at %s", to)
}

// toldPerson wants an error page and no redirect (RFC 6749 §4.1.2.1).
func (w *world) toldPerson(params url.Values) error {
	page, back, err := w.ask(params)
	return pageNotRedirect(page, back, err)
}

func pageNotRedirect(page answer, back *url.URL, err error) error {
	switch {
	case err != nil:
		return err
	case back != nil:
		return wrong("redirected to %s", back)
	case page.status < 400 || page.status >= 500 || !strings.HasPrefix(page.header.Get("Content-Type"), "text/html"):
		return wrong("not an error page: %s", page)
	}
	return nil
}

// toldClient wants a redirect back with an error, the state and iss.
func (w *world) toldClient(params url.Values, codes ...string) error {
	page, back, err := w.ask(params)
	if err != nil {
		return err
	}
	if back == nil {
		return wrong("no redirect but: %s", page)
	}
	return w.checkBack(page, back, params, codes...)
}

func (w *world) checkBack(page answer, back *url.URL, params url.Values, codes ...string) error {
	q := back.Query()
	switch {
	case page.status != http.StatusFound && page.status != http.StatusSeeOther:
		return wrong("redirected with %d", page.status)
	case !strings.HasPrefix(back.String(), strings.SplitN(params.Get("redirect_uri"), "?", 2)[0]+"?"):
		return wrong("redirected to %s", back)
	case !oneOf(q.Get("error"), anys(codes)) || len(q["error"]) != 1:
		return wrong("error %q, want %q", q["error"], codes)
	case q.Get("state") != params.Get("state") || len(q["state"]) > 1:
		return wrong("state %q, want %q", q["state"], params.Get("state"))
	case q.Get("iss") != w.Issuer || len(q["iss"]) != 1:
		return wrong("iss %q", q["iss"])
	case q.Has("code"), back.Fragment != "":
		return wrong("a code or a fragment in %s", back)
	}
	return nil
}

func anys(list []string) []any {
	var out []any
	for _, s := range list {
		out = append(out, s)
	}
	return out
}

// call asks an API.
func (w *world) call(api, path, authorization string, header ...string) (answer, error) {
	if authorization != "" {
		header = append(header, "Authorization", authorization)
	}
	return w.get(api+path, header...)
}

// works says whether an access token still opens the bearer API.
func (w *world) works(token string) (bool, error) {
	a, err := w.call(w.bearer, "/reports", "Bearer "+token)
	return a.status == http.StatusOK, err
}

// checkConfig changes one piece of the running config and asks `check` about it.
func (w *world) checkConfig(ctx context.Context, from, to string, good bool) error {
	text, err := os.ReadFile(w.Config())
	if err != nil {
		return err
	}
	changed := strings.Replace(string(text), from, to, 1)
	if changed == string(text) {
		return fmt.Errorf("the config has no %s", from)
	}
	file := filepath.Join(w.Dir, "changed.yaml")
	if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(binDir, "keytether-server"), "check", "--config", file).CombinedOutput()
	if (err == nil) != good {
		return wrong("check said %v: %s", err, out)
	}
	return nil
}

func ctx() context.Context { return context.Background() }

// toldPersonOrClient wants a refusal, and no redirect but to the client.
func (w *world) toldPersonOrClient(params url.Values) error {
	page, back, err := w.ask(params)
	if err != nil {
		return err
	}
	if back == nil {
		return pageNotRedirect(page, nil, nil)
	}
	if back.Query().Get("error") == "" || !strings.HasPrefix(back.String(), loop+"?") {
		return wrong("redirected to %s", back)
	}
	return nil
}

// deny presses Deny.
func (w *world) deny(params url.Values) (*url.URL, error) {
	page, err := w.person.Get(ctx(), w.authorizeURL(params))
	if err != nil {
		return nil, err
	}
	for _, f := range page.Forms {
		if f.HasButton("Deny") {
			page, err := w.person.Submit(ctx(), f, "Deny", nil)
			if err != nil {
				return nil, err
			}
			if page.Back == nil {
				return nil, wrong("Deny: %d %s", page.Status, page.Text)
			}
			return page.Back, nil
		}
	}
	return nil, fmt.Errorf("no Deny at %s: %.300s", page.URL, page.Text)
}
