package login_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/login"
)

func loginEvents() []agentwire.Event {
	return []agentwire.Event{
		{Event: agentwire.EventBrowser, URL: "http://127.0.0.1:40123/start/made-up", Flow: agentwire.FlowBrowser},
		{Event: agentwire.EventWaiting},
		{Event: agentwire.EventDone, Done: &agentwire.Whoami{
			Profile: "default", Issuer: "https://auth.example.test", Subject: "acc_1", Username: "person@example.test",
			ClientID: "keytether", Scope: "read", Flow: agentwire.FlowBrowser,
		}},
	}
}

func fake(t *testing.T) *fakeAgent {
	t.Helper()
	f, err := startFake()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func client(t *testing.T, opt login.Options) *login.Client {
	t.Helper()
	c, err := login.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// seen is what an API was sent.
type seen struct {
	mu   sync.Mutex
	reqs []*http.Request
	body []string
}

func (s *seen) add(r *http.Request) int {
	b, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reqs = append(s.reqs, r)
	s.body = append(s.body, string(b))
	return len(s.reqs)
}

func serve(t *testing.T, h func(n int, w http.ResponseWriter, r *http.Request)) (*httptest.Server, *seen) {
	t.Helper()
	s := &seen{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h(s.add(r), w, r) }))
	t.Cleanup(srv.Close)
	return srv, s
}

func challenge(w http.ResponseWriter, code, nonce string) {
	w.Header().Set("WWW-Authenticate", `DPoP realm="api", error="`+code+`", algs="ES256"`)
	if nonce != "" {
		w.Header().Set("DPoP-Nonce", nonce)
	}
	w.WriteHeader(http.StatusUnauthorized)
}

func TestRoundTripperAuthorizesEachRequestAlone(t *testing.T) {
	f := fake(t)
	api, got := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	c := client(t, login.Options{Profile: "work", Resource: api.URL, Scope: "read", Socket: f.Socket})
	hc := &http.Client{Transport: c.RoundTripper(nil)}
	req, _ := http.NewRequest(http.MethodPost, api.URL+"/a%20b?q=secret#f", strings.NewReader("body"))
	for range 2 {
		req.Body, _ = req.GetBody()
		res, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
	}
	if len(req.Header) != 0 {
		t.Errorf("the caller's request was changed: %v", req.Header)
	}
	want := agentwire.AuthorizeRequest{Profile: "work", Resource: api.URL, Scope: "read", Method: "POST", URL: api.URL + "/a%20b"}
	for _, a := range f.requests() {
		if a != want {
			t.Errorf("asked %+v, want %+v", a, want)
		}
	}
	if len(got.reqs) != 2 || got.reqs[0].Header.Get("DPoP") == got.reqs[1].Header.Get("DPoP") {
		t.Errorf("%d requests; each needs a proof of its own", len(got.reqs))
	}
	for i, r := range got.reqs {
		if r.Header.Get("Authorization") != "DPoP made-up-token" || got.body[i] != "body" || r.URL.RawQuery != "q=secret" {
			t.Errorf("request %d: %v %q", i, r.Header, got.body[i])
		}
	}
}

// TestRoundTripperNeverFollowsWithCredential sends requests by redirects of every kind.
//
// Invariant: AG-5
func TestRoundTripperNeverFollowsWithCredential(t *testing.T) {
	f := fake(t)
	other, stolen := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hm") })
	for _, status := range []int{301, 302, 303, 307, 308} {
		var target string
		api, got := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				http.Redirect(w, r, target, status)
				return
			}
			fmt.Fprint(w, "ok")
		})
		for _, where := range []string{other.URL + "/", api.URL + "/elsewhere"} {
			target = where
			got.mu.Lock()
			got.reqs = nil
			got.mu.Unlock()
			for _, resource := range []string{api.URL, ""} {
				c := client(t, login.Options{Resource: resource, Socket: f.Socket})
				hc := &http.Client{Transport: c.RoundTripper(nil)}
				res, err := hc.Post(api.URL+"/", "text/plain", strings.NewReader("x"))
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				got.mu.Lock()
				if h := got.reqs[0].Header; h.Get("Authorization") == "" || h.Get("DPoP") == "" {
					t.Error("the first request had no credential: the test sees nothing")
				}
				later := append([]*http.Request(nil), got.reqs[1:]...)
				got.reqs = nil
				got.mu.Unlock()
				stolen.mu.Lock()
				later = append(later, stolen.reqs...)
				stolen.reqs = nil
				stolen.mu.Unlock()
				if len(later) != 1 {
					t.Errorf("%d to %s: %d requests after it, want 1", status, where, len(later))
				}
				for _, r := range later {
					if r.Header.Get("Authorization") != "" || r.Header.Get("DPoP") != "" {
						t.Errorf("%d to %s: the credential went along", status, where)
					}
				}
			}
		}
	}
}

// TestRoundTripperRefusesOtherOrigins asks for what is not the resource's.
//
// Invariant: AG-5
func TestRoundTripperRefusesOtherOrigins(t *testing.T) {
	f := fake(t)
	base := roundTripFunc(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
	})
	c := client(t, login.Options{Resource: "https://api.example.test/v1", Socket: f.Socket})
	for url, ok := range map[string]bool{
		"https://api.example.test/v1":             true,
		"https://API.example.test:443/v1/x?q=1":   true,
		"https://api.example.test/v1/a%2Fb":       true,
		"http://api.example.test/v1/x":            false,
		"https://api.example.test:8443/v1/x":      false,
		"https://api.example.test/v10":            false,
		"https://api.example.test/":               false,
		"https://api.example.test/v1/../admin":    false,
		"https://api.example.test/v1/%2e%2e/x":    false,
		"https://api.example.test/v1/..%2fadmin":  false,
		"https://api.example.test/v1/..%5cadmin":  false,
		"https://evil.test/v1/x":                  false,
		"https://api.example.test.evil.test/v1/x": false,
	} {
		before := len(f.requests())
		body := &closing{Reader: strings.NewReader("x")}
		req, err := http.NewRequest(http.MethodPost, url, body)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.RoundTripper(base).RoundTrip(req)
		if ok && (err != nil || res.StatusCode != 200) {
			t.Errorf("%s: %v", url, err)
		}
		if !ok && (!errors.Is(err, login.ErrDenied) || len(f.requests()) != before) {
			t.Errorf("%s: %v; the agent was asked: %v", url, err, len(f.requests()) != before)
		}
		if !ok && !body.closed {
			t.Errorf("%s: the body was not closed", url)
		}
	}
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRoundTripperAnswersNonces(t *testing.T) {
	f := fake(t)
	api, got := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		switch {
		case !strings.HasSuffix(r.Header.Get("DPoP"), "nonce=n1") && n < 3:
			challenge(w, "use_dpop_nonce", "n1")
		case n == 2:
			w.Header().Set("DPoP-Nonce", "n2") // RFC 9449 section 8.2: the next one comes with a 200
			fmt.Fprint(w, "ok")
		default:
			fmt.Fprint(w, r.Header.Get("DPoP"))
		}
	})
	hc := &http.Client{Transport: client(t, login.Options{Resource: api.URL, Socket: f.Socket}).RoundTripper(nil)}
	res, err := hc.Post(api.URL+"/", "text/plain", strings.NewReader("body"))
	if err != nil || res.StatusCode != 200 {
		t.Fatal(res, err)
	}
	res.Body.Close()
	if len(got.body) != 2 || got.body[1] != "body" {
		t.Errorf("bodies %q: the second request needs the body too", got.body)
	}
	res, err = hc.Get(api.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if !strings.HasSuffix(string(b), "nonce=n2") {
		t.Errorf("the nonce of the last answer was not used: %s", b)
	}
}

func TestRoundTripperTriesAgainInBounds(t *testing.T) {
	for _, tt := range []struct {
		name  string
		renew bool // the agent has another token the next time
		code  string
		nonce func(n int) string
		body  io.Reader // nil: a body that can be had again
		want  int       // requests to the API
	}{
		{"the same token refused", false, "invalid_token", nil, nil, 1},
		{"another token", true, "invalid_token", nil, nil, 2},
		{"always another nonce", false, "use_dpop_nonce", func(n int) string { return fmt.Sprint("n", n) }, nil, 2},
		{"a nonce without a value", false, "use_dpop_nonce", func(int) string { return "" }, nil, 1},
		{"a nonce that is too long", false, "use_dpop_nonce", func(int) string { return strings.Repeat("n", 513) }, nil, 1},
		{"a body that is gone", true, "invalid_token", nil, struct{ io.Reader }{strings.NewReader("once")}, 1},
		{"another error", true, "insufficient_scope", nil, nil, 1},
		{"no challenge", true, "", nil, nil, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := fake(t)
			f.renew = tt.renew
			api, got := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
				if n > 5 {
					return // 200: it would never end
				}
				nonce := ""
				if tt.nonce != nil {
					nonce = tt.nonce(n)
				}
				challenge(w, tt.code, nonce)
			})
			body := tt.body
			if body == nil {
				body = strings.NewReader("again")
			}
			hc := &http.Client{Transport: client(t, login.Options{Resource: api.URL, Socket: f.Socket}).RoundTripper(nil)}
			res, err := hc.Post(api.URL+"/", "text/plain", body)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusUnauthorized || len(got.reqs) != tt.want {
				t.Errorf("status %d, %d requests, want 401 and %d", res.StatusCode, len(got.reqs), tt.want)
			}
		})
	}
}

func TestErrorsHaveSentinels(t *testing.T) {
	f := fake(t)
	c := client(t, login.Options{Socket: f.Socket})
	want := map[agentwire.Code]error{
		agentwire.NotLoggedIn: login.ErrNotLoggedIn, agentwire.Denied: login.ErrDenied, agentwire.Scope: login.ErrDenied,
		agentwire.ResourceNotAllowed: login.ErrDenied, agentwire.AccountMismatch: login.ErrDenied, agentwire.Expired: login.ErrExpired,
		agentwire.Unreachable: login.ErrUnreachable, agentwire.Usage: login.ErrUsage,
	}
	for _, code := range agentwire.Codes() {
		f.mu.Lock()
		f.fail = agentwire.NewError(code, "what", "why", "do", nil)
		f.mu.Unlock()
		_, err := c.Token(t.Context())
		sentinel := want[code]
		if sentinel == nil {
			sentinel = login.ErrAgent
		}
		if !errors.Is(err, sentinel) || err.Error() != "what: why. do" {
			t.Errorf("%s: %v is not %v", code, err, sentinel)
		}
		req, _ := http.NewRequest(http.MethodGet, "https://api.example.test/", nil)
		if _, err := c.RoundTripper(nil).RoundTrip(req); !errors.Is(err, sentinel) {
			t.Errorf("%s through the RoundTripper: %v", code, err)
		}
	}
}

func TestLoginGoesOnWithoutABrowser(t *testing.T) {
	f := fake(t)
	f.events = loginEvents()
	c := client(t, login.Options{Socket: f.Socket})
	broken := errors.New("no browser")
	var kinds []login.EventKind
	var told error
	who, err := c.Login(t.Context(), login.LoginOptions{Issuer: "https://auth.example.test", Opener: func(context.Context, string) error { return broken }},
		func(e login.Event) {
			kinds = append(kinds, e.Kind)
			if e.Err != nil {
				told = e.Err
			}
		})
	if err != nil || who.Subject != "acc_1" || !errors.Is(told, broken) {
		t.Errorf("%+v %v, told %v", who, err, told)
	}
	if fmt.Sprint(kinds) != "[browser opened waiting]" {
		t.Errorf("events %v", kinds)
	}
	if f.loginSeen.ClientID != "keytether" || f.loginSeen.Facts.Platform == "" || f.loginSeen.NoBrowser {
		t.Errorf("asked %+v", f.loginSeen)
	}
	f.mu.Lock()
	f.events = []agentwire.Event{{Event: agentwire.EventError, Error: agentwire.NewError(agentwire.Denied, "denied", "", "", nil)}}
	f.mu.Unlock()
	if _, err := c.Login(t.Context(), login.LoginOptions{Issuer: "https://auth.example.test"}, nil); !errors.Is(err, login.ErrDenied) {
		t.Errorf("denied: %v", err)
	}
	if _, err := c.Login(t.Context(), login.LoginOptions{}, nil); !errors.Is(err, login.ErrUsage) {
		t.Errorf("without an issuer: %v", err)
	}
}

func TestLoginWithACode(t *testing.T) {
	f := fake(t)
	f.events = loginEvents()
	ends := time.Date(2100, 1, 2, 3, 4, 0, 0, time.UTC)
	f.events[0] = agentwire.Event{
		Event: agentwire.EventDeviceCode, UserCode: "WDJB-MJHT", VerificationURI: "https://auth.example.test/device",
		ExpiresAt: ends, Interval: 5, Flow: agentwire.FlowDevice, Reason: "this is an SSH session",
	}
	c := client(t, login.Options{Socket: f.Socket})
	var got login.Event
	opened := func(context.Context, string) error { t.Error("a browser was opened"); return nil }
	if _, err := c.Login(t.Context(), login.LoginOptions{Issuer: "https://auth.example.test", Flow: login.FlowAuto, Opener: opened}, func(e login.Event) {
		if e.Kind == login.EventDeviceCode {
			got = e
		}
	}); err != nil || f.loginSeen.Flow != agentwire.FlowAuto {
		t.Errorf("%v, asked for flow %q", err, f.loginSeen.Flow)
	}
	want := login.Event{
		Kind: login.EventDeviceCode, URL: "https://auth.example.test/device", UserCode: "WDJB-MJHT", ExpiresAt: ends, Reason: "this is an SSH session",
	}
	if got != want {
		t.Errorf("told %+v", got)
	}
}

func TestLogoutSaysWhenNothingWasRevoked(t *testing.T) {
	c := client(t, login.Options{Socket: fake(t).Socket})
	if err := c.Logout(t.Context()); !errors.Is(err, login.ErrUnreachable) {
		t.Errorf("%v", err)
	}
}

// TestTokenRedactsItself prints a token in every way Go has.
func TestTokenRedactsItself(t *testing.T) {
	c := client(t, login.Options{Socket: fake(t).Socket})
	tok, err := c.Token(t.Context())
	if err != nil || tok.Access.Reveal() != "made-up-token" {
		t.Fatal(tok, err)
	}
	var b bytes.Buffer
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "t", tok, "a", tok.Access)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "t", tok, "a", tok.Access)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&b, verb+verb, tok, tok.Access)
	}
	j, _ := json.Marshal(tok)
	b.Write(j)
	if strings.Contains(b.String(), "made-up") || strings.Contains(b.String(), fmt.Sprintf("%x", "made-up")) {
		t.Errorf("the token shows in %s", b.String())
	}
	if n := strings.Count(b.String(), "[redacted]"); n != 19 {
		t.Errorf("%d masks in %s", n, b.String())
	}
}

func TestNewRefusesWrongResources(t *testing.T) {
	for _, r := range []string{"api", "/v1", "https://api.example.test/#x", "https://api.example.test/#", "https://u:p@api.example.test"} {
		if _, err := login.New(login.Options{Resource: r, Socket: "/x"}); !errors.Is(err, login.ErrUsage) {
			t.Errorf("%s: %v", r, err)
		}
	}
}

// When an API refuses the token, the agent is told which one it was.
func TestRoundTripperSaysWhichTokenWasRefused(t *testing.T) {
	f := fake(t)
	f.renew = true
	api, _ := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 1 {
			challenge(w, "invalid_token", "")
		}
	})
	hc := &http.Client{Transport: client(t, login.Options{Resource: api.URL, Socket: f.Socket}).RoundTripper(nil)}
	res, err := hc.Get(api.URL + "/")
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(res, err)
	}
	res.Body.Close()
	sum := sha256.Sum256([]byte(f.token + "-1"))
	if len(f.asked) != 2 || f.asked[0].Rejected != "" || f.asked[1].Rejected != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("asked the agent %+v", f.asked)
	}
}
