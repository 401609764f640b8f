package oauthclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/secret"
)

// open discovers a server without a login.
func open(t *testing.T, issuer string, now func() time.Time) (*oauthclient.Client, error) {
	t.Helper()
	reach, err := oauthclient.NewHTTP(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reach.Close)
	return oauthclient.Open(t.Context(), oauthclient.Env{HTTP: reach, Now: now, Random: strings.NewReader(strings.Repeat("r", 1<<16))}, issuer, "example-cli", newKey(t))
}

func TestDiscovery(t *testing.T) {
	tests := []struct {
		name   string
		path   string
		serve  func(issuer string, w http.ResponseWriter, r *http.Request)
		want   error
		within string
	}{
		{"OAuth's place", "", func(issuer string, w http.ResponseWriter, r *http.Request) {
			document(w, r, oauth.WellKnownOAuth, oauth.MetadataFor(issuer, nil))
		}, nil, ""},
		{"OpenID's place alone", "", func(issuer string, w http.ResponseWriter, r *http.Request) {
			document(w, r, oauth.WellKnownOIDC, oauth.MetadataFor(issuer, nil))
		}, nil, ""},
		{"a path is inserted", "/t/acme", func(issuer string, w http.ResponseWriter, r *http.Request) {
			document(w, r, oauth.WellKnownOAuth+"/t/acme", oauth.MetadataFor(issuer, nil))
		}, nil, ""},
		{"a path is appended", "/t/acme", func(issuer string, w http.ResponseWriter, r *http.Request) {
			document(w, r, "/t/acme"+oauth.WellKnownOIDC, oauth.MetadataFor(issuer, nil))
		}, nil, ""},
		{"another issuer is discarded", "", func(issuer string, w http.ResponseWriter, r *http.Request) {
			document(w, r, oauth.WellKnownOAuth, oauth.MetadataFor("https://evil.test", nil))
		}, oauthclient.ErrMetadata, "another issuer"},
		{"the issuer with a slash is another", "", func(issuer string, w http.ResponseWriter, r *http.Request) {
			document(w, r, oauth.WellKnownOAuth, oauth.MetadataFor(issuer+"/", nil))
		}, oauthclient.ErrMetadata, "another issuer and was discarded (its name ends with a slash"},
		{"an issuer that ends with a slash", "/", func(issuer string, w http.ResponseWriter, r *http.Request) {
			document(w, r, oauth.WellKnownOIDC, oauth.MetadataFor(issuer, nil))
		}, nil, ""},
		{"such a one with a path", "/t/acme/", func(issuer string, w http.ResponseWriter, r *http.Request) {
			document(w, r, oauth.WellKnownOAuth+"/t/acme", oauth.MetadataFor(issuer, nil))
		}, nil, ""},
		{"no document", "", func(string, http.ResponseWriter, *http.Request) {}, oauthclient.ErrUnreachable, ""},
		{"not found", "", func(_ string, w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, oauthclient.ErrMetadata, "404"},
		{"a server in trouble", "", func(_ string, w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) }, oauthclient.ErrUnreachable, "503"},
		{"the network's sign-in page", "", func(_ string, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>Welcome to Hotel Wi-Fi")
		}, oauthclient.ErrUnreachable, "sign-in page"},
		{"a redirect elsewhere", "", func(_ string, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://portal.test/login?to=x", http.StatusFound)
		}, oauthclient.ErrUnreachable, "redirects"},
		{"no S256", "", func(issuer string, w http.ResponseWriter, r *http.Request) {
			m := oauth.MetadataFor(issuer, nil)
			m.CodeChallengeMethods, m.DeviceAuthorizationEndpoint = []string{"plain"}, ""
			document(w, r, oauth.WellKnownOAuth, m)
		}, oauthclient.ErrMetadata, "S256"},
		{"the device flow alone", "", func(issuer string, w http.ResponseWriter, r *http.Request) {
			m := oauth.MetadataFor(issuer, nil)
			m.AuthorizationEndpoint, m.ResponseTypesSupported, m.CodeChallengeMethods = "", nil, nil
			document(w, r, oauth.WellKnownOAuth, m)
		}, nil, ""},
		{"no code", "", func(issuer string, w http.ResponseWriter, r *http.Request) {
			m := oauth.MetadataFor(issuer, nil)
			m.ResponseTypesSupported, m.DeviceAuthorizationEndpoint = []string{"token"}, ""
			document(w, r, oauth.WellKnownOAuth, m)
		}, oauthclient.ErrMetadata, "code"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var issuer string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { tt.serve(issuer, w, r) }))
			defer srv.Close()
			issuer = srv.URL + tt.path
			c, err := open(t, issuer, time.Now)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil && c.Metadata().Issuer != issuer {
				t.Error("another document")
			}
			if err != nil && !strings.Contains(err.Error(), tt.within) {
				t.Errorf("%q does not say %q", err, tt.within)
			}
		})
	}
	for _, issuer := range []string{"http://auth.example.test", "https://auth.example.test//", "https://a@b.test", "https://b.test?x", "x", ""} {
		if _, err := open(t, issuer, time.Now); !errors.Is(err, oauthclient.ErrIssuer) {
			t.Errorf("%q: %v", issuer, err)
		}
	}
	srv := httptest.NewServer(nil)
	srv.Close()
	if _, err := open(t, srv.URL, time.Now); !errors.Is(err, oauthclient.ErrUnreachable) {
		t.Errorf("a dead server: %v", err)
	} else if what, why, do, ok := oauthclient.Explain(err); !ok || what == "" || why == "" || do == "" {
		t.Errorf("without words: %q %q %q", what, why, do)
	}
}

func document(w http.ResponseWriter, r *http.Request, at string, m oauth.Metadata) {
	if r.URL.Path != at {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(m)
}

// loginAt runs a login to its end.
func loginAt(t *testing.T, c *oauthclient.Client, r oauthclient.LoginRequest) (oauthclient.Grant, error) {
	t.Helper()
	l := start(t, c, r)
	if _, err := oauthclienttest.NewBrowser().Finish(l.URL()); err != nil {
		t.Fatal(err)
	}
	return l.Wait()
}

// A laptop whose clock is an hour off logs in, renews and gets tokens whose
// expiry is right on its own clock, whether the server gives nonces or not.
func TestClockAnHourOff(t *testing.T) {
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		for _, nonces := range []bool{true, false} {
			config := oauthclienttest.Keytether()
			config.Nonces = nonces
			s := oauthclienttest.New(t, config)
			here := func() time.Time { return time.Now().Add(off) }
			c := newClient(t, s, oauthclient.Env{Now: here})
			g, err := loginAt(t, c, oauthclient.LoginRequest{})
			if err != nil {
				t.Fatalf("off %v, nonces %v: %v", off, nonces, err)
			}
			if d := c.Offset() + off; d.Abs() > 3*time.Second {
				t.Errorf("off %v: learned %v", off, c.Offset())
			}
			if left := g.ExpiresAt.Sub(here()); left > 5*time.Minute || left < 4*time.Minute {
				t.Errorf("off %v: %v left", off, left)
			}
			if left := g.GrantExpires.Sub(here()); (left - 24*time.Hour).Abs() > time.Minute {
				t.Errorf("off %v: the grant ends in %v", off, left)
			}
			if _, err := c.Refresh(t.Context(), oauthclient.RefreshRequest{Token: g.Refresh}); err != nil {
				t.Errorf("off %v, nonces %v: refresh: %v", off, nonces, err)
			}
		}
	}
}

// The clock is set right, or wrong, while the agent runs: the proof is made anew.
func TestClockThatJumps(t *testing.T) {
	config := oauthclienttest.Keytether()
	config.Nonces = false
	s := oauthclienttest.New(t, config)
	off := time.Duration(0)
	c := newClient(t, s, oauthclient.Env{Now: func() time.Time { return time.Now().Add(off) }})
	g, err := loginAt(t, c, oauthclient.LoginRequest{})
	if err != nil {
		t.Fatal(err)
	}
	off = time.Hour
	if g.Tokens, err = c.Refresh(t.Context(), oauthclient.RefreshRequest{Token: g.Refresh}); err != nil {
		t.Fatal(err)
	}
	off = 100 * 24 * time.Hour
	if _, err = c.Refresh(t.Context(), oauthclient.RefreshRequest{Token: g.Refresh}); !errors.Is(err, oauthclient.ErrClock) {
		t.Errorf("a clock far off: %v", err)
	}
}

func TestNonceIsAskedForOnce(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	c := newClient(t, s, oauthclient.Env{})
	g, err := loginAt(t, c, oauthclient.LoginRequest{})
	if err != nil {
		t.Fatal(err)
	}
	before := s.Count("/oauth/token")
	s.On("/oauth/token", func(w http.ResponseWriter, r *http.Request, _ func() *httptest.ResponseRecorder) bool {
		w.Header().Set("DPoP-Nonce", "another")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"use_dpop_nonce"}`)
		return true
	})
	if _, err := c.Refresh(t.Context(), oauthclient.RefreshRequest{Token: g.Refresh}); !errors.Is(err, oauthclient.ErrRefused) {
		t.Errorf("got %v", err)
	}
	if n := s.Count("/oauth/token") - before; n != 2 {
		t.Errorf("asked %d times", n)
	}
}

// answerWith changes the JSON of a path's answer.
func answerWith(s *oauthclienttest.Server, path string, change func(map[string]any)) {
	s.On(path, func(w http.ResponseWriter, _ *http.Request, next func() *httptest.ResponseRecorder) bool {
		rec := next()
		m := map[string]any{}
		_ = json.Unmarshal(rec.Body.Bytes(), &m)
		if rec.Code < 300 {
			change(m)
		}
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_ = json.NewEncoder(w).Encode(m)
		return true
	})
}

func TestTokenAnswers(t *testing.T) {
	tests := []struct {
		name   string
		change func(map[string]any)
		want   error
	}{
		{"a bearer token where a bound one was promised", func(m map[string]any) { m["token_type"] = "Bearer" }, oauthclient.ErrAnswer},
		{"another type", func(m map[string]any) { m["token_type"] = "MAC" }, oauthclient.ErrAnswer},
		{"no type", func(m map[string]any) { delete(m, "token_type") }, oauthclient.ErrAnswer},
		{"no token", func(m map[string]any) { delete(m, "access_token") }, oauthclient.ErrAnswer},
		{"a token with a line break", func(m map[string]any) { m["access_token"] = "a\r\nX: y" }, oauthclient.ErrAnswer},
		{"a huge token", func(m map[string]any) { m["refresh_token"] = strings.Repeat("a", 64<<10) }, oauthclient.ErrAnswer},
		{"a number as token", func(m map[string]any) { m["access_token"] = 7 }, oauthclient.ErrAnswer},
		{"type in other letters", func(m map[string]any) { m["token_type"] = "dpop" }, nil},
		{"no lifetime", func(m map[string]any) { delete(m, "expires_in") }, nil},
		{"a lifetime beyond reason", func(m map[string]any) { m["expires_in"] = int64(1) << 62 }, nil},
		{"no refresh token", func(m map[string]any) { delete(m, "refresh_token") }, nil},
		{"an ID token of somebody's", func(m map[string]any) { m["id_token"] = "eyJhbGciOiJub25lIn0.e30." }, oauthclient.ErrIdentity},
		{"an ID token with another signature", func(m map[string]any) {
			id := m["id_token"].(string)
			i := strings.LastIndexByte(id, '.')
			m["id_token"] = id[:i+1] + strings.Repeat("A", len(id)-i-1)
		}, oauthclient.ErrIdentity},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := oauthclienttest.New(t, oauthclienttest.Keytether())
			answerWith(s, "/oauth/token", tt.change)
			g, err := loginAt(t, newClient(t, s, oauthclient.Env{}), oauthclient.LoginRequest{})
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if err == nil && (g.Life <= 0 || g.ExpiresAt.Before(time.Now())) {
				t.Errorf("life %v", g.Life)
			}
			if errors.Is(err, oauthclient.ErrIdentity) && s.Count("revoked") != 1 {
				t.Error("what was given is not revoked")
			}
			for what, v := range s.Secrets() {
				if err != nil && strings.Contains(err.Error(), v) {
					t.Errorf("the error holds %s", what)
				}
			}
		})
	}
}

func TestIDTokenIsForThisLogin(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	c := newClient(t, s, oauthclient.Env{})
	var first any
	answerWith(s, "/oauth/token", func(m map[string]any) {
		if first == nil {
			first = m["id_token"]
		}
		m["id_token"] = first // of another login: its nonce is not ours
	})
	if _, err := loginAt(t, c, oauthclient.LoginRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := loginAt(t, c, oauthclient.LoginRequest{}); !errors.Is(err, oauthclient.ErrIdentity) || s.Count("revoked") != 1 {
		t.Errorf("got %v", err)
	}
}

// The answer to a code is lost: the login fails, and the code is not sent again,
// since a second use would end what the first one made.
func TestCodeIsRedeemedOnce(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	c := newClient(t, s, oauthclient.Env{})
	s.On("/oauth/token", func(_ http.ResponseWriter, _ *http.Request, next func() *httptest.ResponseRecorder) bool {
		next()
		panic(http.ErrAbortHandler)
	})
	if _, err := loginAt(t, c, oauthclient.LoginRequest{}); !errors.Is(err, oauthclient.ErrUnreachable) || s.Count("code") != 1 {
		t.Errorf("%v, redeemed %d", err, s.Count("code"))
	}
}

func TestRefreshErrors(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	c := newClient(t, s, oauthclient.Env{})
	g, err := loginAt(t, c, oauthclient.LoginRequest{Scope: "read"})
	if err != nil {
		t.Fatal(err)
	}
	refresh := func() error {
		_, err := c.Refresh(t.Context(), oauthclient.RefreshRequest{Token: g.Refresh})
		return err
	}
	if _, err := c.Refresh(t.Context(), oauthclient.RefreshRequest{Token: g.Refresh, Scope: "admin"}); !errors.Is(err, oauthclient.ErrInvalidScope) {
		t.Errorf("wider: %v", err)
	}
	if _, err := c.Refresh(t.Context(), oauthclient.RefreshRequest{Token: secret.New("nothing")}); !errors.Is(err, oauthclient.ErrInvalidGrant) {
		t.Errorf("unknown: %v", err)
	}
	for status, want := range map[int]error{500: oauthclient.ErrUnreachable, 503: oauthclient.ErrUnreachable, 429: oauthclient.ErrUnreachable, 404: oauthclient.ErrAnswer, 204: oauthclient.ErrAnswer, 302: oauthclient.ErrUnreachable} {
		s.On("/oauth/token", func(w http.ResponseWriter, _ *http.Request, _ func() *httptest.ResponseRecorder) bool {
			w.Header().Set("Location", "http://portal.test/")
			w.WriteHeader(status)
			return true
		})
		if err := refresh(); !errors.Is(err, want) || errors.Is(err, oauthclient.ErrInvalidGrant) {
			t.Errorf("%d: %v", status, err)
		}
	}
	s.Close()
	if err := refresh(); !errors.Is(err, oauthclient.ErrUnreachable) {
		t.Errorf("server gone: %v", err)
	}
}

func TestServerThatRefusesTheRequest(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	s.On("/oauth/par", func(w http.ResponseWriter, _ *http.Request, _ func() *httptest.ResponseRecorder) bool {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_scope","error_description":"no such <b>scope</b>."}`)
		return true
	})
	l := start(t, newClient(t, s, oauthclient.Env{}), oauthclient.LoginRequest{})
	p, err := oauthclienttest.NewBrowser().Open(l.URL())
	if err != nil || !strings.Contains(p.Body, "Not signed in") || strings.Contains(p.Body, "<b>") || strings.Contains(p.Body, "..") {
		t.Errorf("%v: %s", err, p.Body)
	}
	if _, err := l.Wait(); !errors.Is(err, oauthclient.ErrInvalidScope) {
		t.Errorf("got %v", err)
	}
}

func TestLoginCalledOff(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	ctx, cancel := context.WithCancel(t.Context())
	l, err := newClient(t, s, oauthclient.Env{}).StartLogin(ctx, oauthclient.LoginRequest{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := l.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-l.Closed()
}

func TestNoRandomnessNoLogin(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	c, err := open(t, s.Issuer, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		l, err := c.StartLogin(t.Context(), oauthclient.LoginRequest{Listen: nil})
		if err != nil {
			return // the reader is empty
		}
		t.Cleanup(func() { <-l.Closed() })
	}
	t.Error("went on without randomness")
}
