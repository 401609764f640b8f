package oauthclient_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

// stray is one request that some browser, page, scanner or neighbour sends.
type stray struct {
	name   string
	method string
	path   string // START and DONE stand for the real ones
	body   string
	header map[string]string
	status int
}

func strays(issuer string) []stray {
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded", "Origin": issuer}
	with := func(name, value string) map[string]string {
		h := map[string]string{}
		for k, v := range form {
			h[k] = v
		}
		if h[name] = value; value == "" {
			delete(h, name)
		}
		return h
	}
	iss := url.QueryEscape(issuer)
	big := "state=x&code=" + strings.Repeat("a", 40<<10)
	return []stray{
		{"favicon", "GET", "/favicon.ico", "", nil, 204},
		{"the root", "GET", "/", "", nil, 404},
		{"an unknown path", "GET", "/x/../y", "", nil, 404},
		{"well-known of some browser", "GET", "/.well-known/appspecific/com.chrome.devtools.json", "", nil, 404},
		{"HEAD of the callback", "HEAD", "/callback?code=x&state=y", "", nil, 503},
		{"OPTIONS of the callback", "OPTIONS", "/callback", "", map[string]string{"Access-Control-Request-Method": "POST", "Origin": issuer}, 405},
		{"PUT to the callback", "PUT", "/callback", "code=x", form, 405},
		{"GET of the callback", "GET", "/callback?code=x&state=y&iss=" + iss, "", nil, 400},
		{"an empty callback", "POST", "/callback", "", form, 400},
		{"wrong state", "POST", "/callback", "state=x&code=y&iss=" + iss, form, 400},
		{"an error with a wrong state", "POST", "/callback", "state=x&error=access_denied&iss=" + iss, form, 400},
		{"wrong Origin", "POST", "/callback", "state=STATE&code=y&iss=" + iss, with("Origin", "https://evil.test"), 400},
		{"null Origin", "POST", "/callback", "state=STATE&code=y&iss=" + iss, with("Origin", "null"), 400},
		{"no Origin", "POST", "/callback", "state=STATE&code=y&iss=" + iss, with("Origin", ""), 400},
		{"wrong iss", "POST", "/callback", "state=STATE&code=y&iss=https://evil.test", form, 400},
		{"no iss", "POST", "/callback", "state=STATE&code=y", form, 400},
		{"state twice", "POST", "/callback", "state=STATE&state=STATE&code=y&iss=" + iss, form, 400},
		{"broken encoding", "POST", "/callback", "state=%zz", form, 400},
		{"JSON", "POST", "/callback", `{"state":"STATE"}`, with("Content-Type", "application/json"), 415},
		{"multipart", "POST", "/callback", "x", with("Content-Type", "multipart/form-data; boundary=x"), 415},
		{"no content type", "POST", "/callback", "state=STATE&code=y", with("Content-Type", ""), 415},
		{"too much", "POST", "/callback", big, form, 413},
		{"the parameters of a POST in the query", "POST", "/callback?state=STATE&code=y&iss=" + iss, "", form, 400},
		{"HEAD of the start link", "HEAD", "START", "", nil, 503},
		{"OPTIONS of the start link", "OPTIONS", "START", "", nil, 405},
		{"POST to the start link", "POST", "START", "x=y", form, 405},
		{"prefetch of the start link", "GET", "START", "", map[string]string{"Sec-Purpose": "prefetch"}, 503},
		{"prerender of the start link", "GET", "START", "", map[string]string{"Sec-Purpose": "prefetch;prerender"}, 503},
		{"older prefetch", "GET", "START", "", map[string]string{"Purpose": "prefetch"}, 503},
		{"Firefox's prefetch", "GET", "START", "", map[string]string{"X-Moz": "prefetch"}, 503},
		{"the start link as an image", "GET", "START", "", map[string]string{"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 503},
		{"the start link in a frame", "GET", "START", "", map[string]string{"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 503},
		{"a guessed start link", "GET", "/start/" + strings.Repeat("A", 43), "", nil, 404},
		{"a guessed done link", "GET", "/done/" + strings.Repeat("A", 43), "", nil, 404},
		{"another Host", "GET", "START", "", map[string]string{"Host": "evil.test"}, 421},
		{"another Host with our port", "POST", "/callback", "state=STATE&code=y&iss=" + iss, map[string]string{"Host": "evil.test:PORT", "Content-Type": "application/x-www-form-urlencoded", "Origin": issuer}, 421},
		{"our Host without its port", "GET", "START", "", map[string]string{"Host": "127.0.0.1"}, 421},
	}
}

func (s stray) send(t *testing.T, link, state string) *http.Response {
	t.Helper()
	u, _ := url.Parse(link)
	path := strings.ReplaceAll(s.path, "START", u.Path)
	body := strings.ReplaceAll(s.body, "STATE", state)
	req, err := http.NewRequest(s.method, "http://"+u.Host+strings.ReplaceAll(path, "STATE", state), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range s.header {
		v = strings.ReplaceAll(v, "PORT", u.Port())
		if k == "Host" {
			req.Host = v
			continue
		}
		req.Header.Set(k, v)
	}
	c := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       10 * time.Second,
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res
}

// Every stray request, before the link is opened and while the person is at the
// server, with everything right but one thing: answered, and the login goes on.
//
// Invariant: LB-1
func TestListenerAbuse(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	c := newClient(t, s, oauthclient.Env{})
	check := func(t *testing.T, one stray, res *http.Response) {
		t.Helper()
		if res.StatusCode != one.status {
			t.Errorf("status %d, want %d", res.StatusCode, one.status)
		}
		h := res.Header
		if h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" ||
			!strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("headers: %v", h)
		}
	}
	for _, one := range strays(s.Issuer) {
		t.Run(one.name, func(t *testing.T) {
			l := start(t, c, oauthclient.LoginRequest{})
			check(t, one, one.send(t, l.URL(), "x"))
			b := oauthclienttest.NewBrowser()
			p, err := b.Open(l.URL()) // to the page with the nonce
			if err != nil || p.Action == "" {
				t.Fatalf("the link is used up: %v, %s", err, p.Body)
			}
			state := p.Fields.Get("state")
			if one.path != "START" { // which by now is used up
				check(t, one, one.send(t, l.URL(), state))
			}
			for p.Action != "" && err == nil {
				if p, err = b.Submit(p); err == nil && p.Action != "" && one.path != "START" {
					check(t, one, one.send(t, l.URL(), state))
				}
			}
			if _, err := l.Wait(); err != nil {
				t.Errorf("the login ended: %v", err)
			}
		})
	}
}

// A link that was opened is used up, and whoever opens it again changes nothing.
//
// Invariant: LB-1
func TestStartLinkOpensOnce(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	l := start(t, newClient(t, s, oauthclient.Env{}), oauthclient.LoginRequest{})
	b := oauthclienttest.NewBrowser()
	first, err := b.Open(l.URL())
	if err != nil {
		t.Fatal(err)
	}
	pushed := s.Count("/oauth/par")
	again, err := oauthclienttest.NewBrowser().Open(l.URL())
	if err != nil || again.Status != http.StatusGone || !strings.Contains(again.Body, "This link was used") || s.Count("/oauth/par") != pushed {
		t.Errorf("a second opening: %d, %v", again.Status, err)
	}
	for p := first; p.Action != "" && err == nil; {
		p, err = b.Submit(p)
	}
	if _, err := l.Wait(); err != nil {
		t.Error(err)
	}
}

// A nonce that is posted twice is signed once.
//
// Invariant: HS-4
func TestCallbackBodyRepeated(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	l := start(t, newClient(t, s, oauthclient.Env{}), oauthclient.LoginRequest{})
	b := oauthclienttest.NewBrowser()
	nonce, err := b.Open(l.URL())
	if err != nil {
		t.Fatal(err)
	}
	code, err := b.Submit(nonce)
	if err != nil || code.Fields.Get("code") == "" {
		t.Fatal(err, code.Body)
	}
	if p, err := b.Submit(nonce); err != nil || p.Status != http.StatusBadRequest || s.Count("signed") != 1 {
		t.Errorf("the nonce a second time: %d, %v, signed %d", p.Status, err, s.Count("signed"))
	}
	if p, err := b.Submit(code); err != nil || !strings.Contains(p.Body, "Signed in") {
		t.Fatal(err, p.Body)
	}
	if _, err := l.Wait(); err != nil || s.Count("code") != 1 {
		t.Errorf("%v, redeemed %d", err, s.Count("code"))
	}
}

// The old trick: whatever the post says, the handshake goes to the metadata's
// endpoint, and the signature is for this issuer alone.
//
// Invariant: HS-4
func TestHandshakeGoesToThePinnedEndpoint(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	l := start(t, newClient(t, s, oauthclient.Env{}), oauthclient.LoginRequest{})
	b := oauthclienttest.NewBrowser()
	p, err := b.Open(l.URL())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"keytether_handshake_endpoint", "redirect_uri", "handshake_endpoint", "url"} {
		p.Fields.Set(name, "https://evil.test/")
	}
	if p, err = b.Submit(p); err != nil || !strings.HasPrefix(p.URL, s.Issuer+"/oauth/handshake?handshake=") || p.Status != http.StatusOK {
		t.Fatalf("%v: went to %s", err, p.URL)
	}
	if _, err := b.Submit(p); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Wait(); err != nil {
		t.Error(err)
	}
}
