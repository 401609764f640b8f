// Package driver is a client without a browser, for load: it speaks plain RFC
// 9126, 6749, 7636 and 9449, and presses a server's buttons by sending its
// forms. It checks little; the tests do that.
package driver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
)

// Server is the authorization server under load.
type Server struct {
	Metadata oauth.Metadata
	HTTP     *http.Client // must not follow redirects
	nonce    atomic.Pointer[string]
}

// Discover reads a server's metadata (RFC 8414), or OpenID Connect's where a server
// has only those.
func Discover(ctx context.Context, issuer string, client *http.Client) (*Server, error) {
	var errs []error
	for _, at := range []string{oauth.WellKnownOAuth, oauth.WellKnownOIDC} {
		body, err := get(ctx, client, oauth.MetadataURL(issuer, at))
		if err == nil {
			m, err := oauth.DecodeMetadata(issuer, body)
			return &Server{Metadata: m, HTTP: client}, err
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// maxBody bounds what is read of an answer.
const maxBody = 1 << 20

func get(ctx context.Context, client *http.Client, u string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", u, resp.Status)
	}
	return body, errors.Join(err, resp.Body.Close())
}

// Tool is one installation of a client: its proof key.
type Tool struct {
	Server *Server
	Client string
	Signer jws.Signer // nil: no proofs
	// Sent hears of every request to an endpoint for programs: how long the answer
	// took, and what it was. nil: nobody does.
	Sent func(took time.Duration, err error)
	// Clock is what the machine believes the time to be; nil: the time.
	Clock func() time.Time
}

func (t *Tool) now() time.Time {
	if t.Clock == nil {
		return time.Now()
	}
	return t.Clock()
}

// NewTool makes a proof key.
func NewTool(s *Server, client string) (*Tool, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := jws.NewES256Signer("", key, rand.Reader)
	return &Tool{Server: s, Client: client, Signer: signer}, err
}

// Error is an OAuth error answer.
type Error struct {
	Status int
	oauth.Response
}

// Error says code and status.
func (e *Error) Error() string {
	return fmt.Sprintf("%d %s (%s)", e.Status, e.Response.Error, e.Code)
}

// Post sends a form with a proof, if the tool has a key, and once more when the
// server wants its nonce in it, and reads the JSON answer into out.
func (t *Tool) Post(ctx context.Context, endpoint string, form url.Values, out any) error {
	for try := 0; ; try++ {
		nonce := ""
		if n := t.Server.nonce.Load(); n != nil {
			nonce = *n
		}
		proof, err := "", error(nil)
		if t.Signer != nil {
			proof, err = dpop.New(t.Signer, dpop.Request{Method: http.MethodPost, URL: endpoint, Nonce: nonce, IssuedAt: t.now(), ID: rand.Text()})
		}
		if err != nil {
			return err
		}
		err = t.post(ctx, endpoint, form, proof, out)
		var e *Error
		if try > 0 || !errors.As(err, &e) || e.Response.Error != "use_dpop_nonce" {
			return err
		}
	}
}

func (t *Tool) post(ctx context.Context, endpoint string, form url.Values, proof string, out any) (err error) {
	if t.Sent != nil {
		begun := time.Now()
		defer func() { t.Sent(time.Since(begun), err) }()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if proof != "" {
		req.Header.Set("DPoP", proof)
	}
	resp, err := t.Server.HTTP.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if n := resp.Header.Get("DPoP-Nonce"); n != "" {
		t.Server.nonce.Store(&n)
	}
	if resp.StatusCode >= 300 {
		e := &Error{Status: resp.StatusCode}
		_ = json.Unmarshal(body, &e.Response)
		return e
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(body, out)
}

// Person is a signed-in browser.
type Person struct {
	Email, Password string
	HTTP            *http.Client
}

// NewPerson has an empty cookie jar and uses the transport of client.
func NewPerson(email, password string, client *http.Client) (*Person, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	c := *client
	c.Jar = jar
	return &Person{Email: email, Password: password, HTTP: &c}, nil
}

// Login runs the code flow for a client without handshake that takes its code
// by query, and gives the answer of the token endpoint.
func (t *Tool) Login(ctx context.Context, p *Person, redirect, scope, resource string) (oauth.TokenResponse, error) {
	var out oauth.TokenResponse
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	var par oauth.PARResponse
	err := t.Post(ctx, t.Server.Metadata.PAREndpoint, url.Values{
		"client_id": {t.Client}, "response_type": {"code"}, "response_mode": {"query"}, "redirect_uri": {redirect},
		"scope": {scope}, "resource": {resource}, "state": {rand.Text()},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}, &par)
	if err != nil {
		return out, fmt.Errorf("par: %w", err)
	}
	u := t.Server.Metadata.AuthorizationEndpoint + "?" + url.Values{"client_id": {t.Client}, "request_uri": {par.RequestURI}}.Encode()
	back, err := p.Allow(ctx, u)
	if err != nil {
		return out, err
	}
	code := back.Query().Get("code")
	if code == "" {
		return out, fmt.Errorf("no code came back: %s", back.Query().Get("error"))
	}
	err = t.Post(ctx, t.Server.Metadata.TokenEndpoint, url.Values{
		"grant_type": {"authorization_code"}, "client_id": {t.Client}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier},
	}, &out)
	return out, err
}

// Allow goes from an authorization URL to the redirect back, signing in when
// asked and pressing Allow.
func (p *Person) Allow(ctx context.Context, u string) (*url.URL, error) {
	page, err := p.Get(ctx, u)
	for range 6 {
		if err != nil {
			return nil, err
		}
		if page.Back != nil {
			return page.Back, nil
		}
		page, err = p.press(ctx, page)
	}
	return nil, errors.New("the pages go round in circles")
}

// AllowCode enters the user code of a device authorization (RFC 8628) at the page u,
// signs in when asked, and presses Allow.
func (p *Person) AllowCode(ctx context.Context, u, code string) error {
	page, err := p.Get(ctx, u)
	for range 6 {
		if err != nil {
			return err
		}
		enter := slices.IndexFunc(page.Forms, func(f Form) bool { return f.Has("Code") })
		last := slices.ContainsFunc(page.Forms, func(f Form) bool { return f.HasButton("Allow") })
		if enter >= 0 {
			page, err = p.Submit(ctx, page.Forms[enter], "Continue", map[string]string{"Code": code})
		} else {
			page, err = p.press(ctx, page)
		}
		if last {
			return err
		}
	}
	return errors.New("the pages go round in circles")
}

// press sends the page's form as a person would.
func (p *Person) press(ctx context.Context, page *Page) (*Page, error) {
	for _, f := range page.Forms {
		switch {
		case f.Has("Password"):
			return p.Submit(ctx, f, "Sign in", map[string]string{"Email": p.Email, "Password": p.Password})
		case f.HasButton("Allow"):
			return p.Submit(ctx, f, "Allow", nil)
		}
	}
	return nil, fmt.Errorf("nothing to press at %s (%d): %.300s", page.URL.Path, page.Status, page.Text)
}

// Page is a page with its forms, or a redirect to another site.
type Page struct {
	URL    *url.URL
	Status int
	Text   string
	Forms  []Form
	Back   *url.URL // set when the page was a redirect away from the server
}

// Get loads a page, following redirects within the server.
func (p *Person) Get(ctx context.Context, u string) (*Page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	return p.do(req)
}

func (p *Person) do(req *http.Request) (*Page, error) {
	for range 8 {
		resp, err := p.HTTP.Do(req)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return nil, err
		}
		if resp.StatusCode/100 != 3 {
			page := &Page{URL: req.URL, Status: resp.StatusCode, Text: string(body)}
			page.Forms, err = parseForms(req.URL, string(body))
			return page, err
		}
		to, err := resp.Location()
		if err != nil {
			return nil, err
		}
		if to.Host != req.URL.Host {
			return &Page{Back: to}, nil
		}
		if req, err = http.NewRequestWithContext(req.Context(), http.MethodGet, to.String(), nil); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("too many redirects")
}

// Submit sends a form with some fields filled in by their labels and one button
// pressed.
func (p *Person) Submit(ctx context.Context, f Form, button string, fields map[string]string) (*Page, error) {
	form := f.values(button, fields)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, f.Action, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", oauth.Origin(f.page))
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if oauth.Origin(f.page) != oauth.Origin(f.Action) {
		req.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	return p.do(req)
}

// Call makes one GET at a resource server with a token and a proof, and gives
// the status.
func (t *Tool) Call(ctx context.Context, u, token string) (int, error) {
	proof, err := dpop.New(t.Signer, dpop.Request{Method: http.MethodGet, URL: u, AccessToken: token, IssuedAt: t.now(), ID: rand.Text()})
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "DPoP "+token)
	req.Header.Set("DPoP", proof)
	resp, err := t.Server.HTTP.Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, errors.Join(err, resp.Body.Close())
}
