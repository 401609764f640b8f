package agent

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

func TestJudge(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, tt := range []struct {
		life, left time.Duration
		want       freshness
	}{
		{5 * time.Minute, 5 * time.Minute, fresh},
		{5 * time.Minute, 61 * time.Second, fresh},
		{5 * time.Minute, 59 * time.Second, aging},
		{5 * time.Minute, 11 * time.Second, aging},
		{5 * time.Minute, 10 * time.Second, dead},
		{5 * time.Minute, 0, dead},
		{5 * time.Minute, -time.Hour, dead},
		{100 * time.Second, 31 * time.Second, fresh},
		{100 * time.Second, 29 * time.Second, aging},
		{time.Hour, 11 * time.Minute, aging},
		{10 * time.Second, 10 * time.Second, fresh}, // a very short life is lived too
		{10 * time.Second, 4 * time.Second, aging},
		{10 * time.Second, 2 * time.Second, dead},
	} {
		got := judge(oauthclient.Tokens{Life: tt.life, ExpiresAt: now.Add(tt.left)}, now)
		if got != tt.want {
			t.Errorf("life %v, left %v: %v, want %v", tt.life, tt.left, got, tt.want)
		}
	}
}

// Fifty processes ask at once for a token that has expired: one renewal.
//
// Invariant: AG-2
func TestStormRenewsOnce(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	// The answer takes its time, so that all fifty come in before it.
	r.server.On("/oauth/token", func(http.ResponseWriter, *http.Request, func() *httptest.ResponseRecorder) bool {
		time.Sleep(100 * time.Millisecond)
		return false
	})
	for round := range 2 {
		r.clock.Advance(6 * time.Minute)
		var wg sync.WaitGroup
		got := make([]agentwire.TokenResponse, 50)
		errs := make([]error, len(got))
		for i := range got {
			wg.Go(func() {
				req := agentwire.TokenRequest{}
				if i%2 == 1 {
					req.Resource, req.Scope = resource, "write read openid email"
				}
				got[i], errs[i] = r.Token(t.Context(), req)
			})
		}
		wg.Wait()
		for i := range got {
			if errs[i] != nil || !got[i].AccessToken.Equal(got[0].AccessToken) {
				t.Fatalf("caller %d: %v", i, errs[i])
			}
		}
		if n := r.server.Count("refresh"); n != round+1 {
			t.Fatalf("round %d: %d refreshes", round, n)
		}
	}
	if r.server.Count("reuse") != 0 {
		t.Error("a refresh token was used twice")
	}
}

// Callers with different scopes share one refresh token, and use it one at a time.
func TestScopesTakeTurns(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			scope := []string{"read", "write", "read write", "openid"}[i%4]
			tok, err := r.Token(t.Context(), agentwire.TokenRequest{Scope: scope})
			if err != nil || len(strings.Fields(tok.Scope)) != len(strings.Fields(scope)) {
				t.Errorf("%s: %q, %v", scope, tok.Scope, err)
			}
		})
	}
	wg.Wait()
	if n := r.server.Count("refresh"); n != 4 || r.server.Count("rotate") != 4 || r.server.Count("reuse") != 0 {
		t.Errorf("%d refreshes, %d rotations, %d reuses", n, r.server.Count("rotate"), r.server.Count("reuse"))
	}
}

func TestScopeIsNeverWider(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	for scope, want := range map[string]error{"admin": agentwire.Scope, "read admin": agentwire.Scope, "read  write": agentwire.Usage, "rea": agentwire.Scope} {
		if _, err := r.Token(t.Context(), agentwire.TokenRequest{Scope: scope}); !errors.Is(err, want) {
			t.Errorf("%q: %v", scope, err)
		}
	}
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{Resource: "https://other.test"}); !errors.Is(err, agentwire.ResourceNotAllowed) {
		t.Errorf("another resource: %v", err)
	}
	if r.server.Count("refresh") != 0 {
		t.Error("the server was asked")
	}
}

// lose lets the server do its work, and loses its answer.
func lose(http.ResponseWriter, *http.Request, func() *httptest.ResponseRecorder) bool {
	panic(http.ErrAbortHandler)
}

func TestLostAnswerRepeatsTheSameToken(t *testing.T) {
	faults := map[string]oauthclienttest.Intercept{
		"the connection breaks": func(w http.ResponseWriter, r *http.Request, next func() *httptest.ResponseRecorder) bool {
			next()
			return lose(w, r, next)
		},
		"a proxy answers 502": func(w http.ResponseWriter, _ *http.Request, next func() *httptest.ResponseRecorder) bool {
			next()
			w.WriteHeader(http.StatusBadGateway)
			return true
		},
		"a sign-in page answers": func(w http.ResponseWriter, _ *http.Request, next func() *httptest.ResponseRecorder) bool {
			next()
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>Welcome"))
			return true
		},
		"half an answer": func(w http.ResponseWriter, _ *http.Request, next func() *httptest.ResponseRecorder) bool {
			b := next().Body.Bytes()
			_, _ = w.Write(b[:len(b)/2])
			return true
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			c := oauthclienttest.Keytether()
			c.Nonces = false // else the first request is only told a nonce
			r := newRig(t, c)
			r.mustLogIn()
			r.clock.Advance(6 * time.Minute)
			r.server.On("/oauth/token", fault)
			if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err == nil || errors.Is(err, agentwire.NotLoggedIn) {
				t.Fatalf("got %v", err)
			}
			if s, err := r.Status(t.Context()); err != nil || len(s.Profiles) != 1 || s.Profiles[0].LastError == nil {
				t.Errorf("status: %+v, %v", s, err)
			}
			r.server.On("/oauth/token", nil)
			if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
				t.Fatal(err)
			}
			if r.server.Count("repeat") == 0 || r.server.Count("reuse") != 0 {
				t.Errorf("%d repeats, %d reuses", r.server.Count("repeat"), r.server.Count("reuse"))
			}
			// The successor works: the chain goes on.
			r.clock.Advance(6 * time.Minute)
			if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
				t.Fatal(err)
			}
			if s, _ := r.Status(t.Context()); s.Profiles[0].LastError != nil {
				t.Error("the old error stays")
			}
		})
	}
}

func TestInvalidGrantEndsTheLogin(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	r.server.EndGrants()
	r.clock.Advance(6 * time.Minute)
	_, err := r.Token(t.Context(), agentwire.TokenRequest{})
	var e *agentwire.Error
	if !errors.As(err, &e) || e.Code != agentwire.NotLoggedIn || !strings.Contains(e.Why, "the server ended this login") || e.Do == "" {
		t.Fatalf("got %v", err)
	}
	for range 3 { // and it stays so, without asking again
		if _, again := r.Token(t.Context(), agentwire.TokenRequest{}); again == nil || again.Error() != err.Error() {
			t.Errorf("then: %v", again)
		}
	}
	if r.server.Count("refresh") != 1 {
		t.Errorf("%d refreshes", r.server.Count("refresh"))
	}
	if names, _ := r.store.Names(t.Context()); len(names) != 0 {
		t.Errorf("left in the store: %v", names)
	}
	r.mustLogIn()
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
		t.Errorf("after another login: %v", err)
	}
}

func TestGrantEndsByItsTime(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	r.clock.Advance(25 * time.Hour)
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); !errors.Is(err, agentwire.NotLoggedIn) || r.server.Count("refresh") != 0 {
		t.Errorf("got %v", err)
	}
	if v, _ := r.Version(t.Context()); v.Grants != 0 {
		t.Errorf("%d grants", v.Grants)
	}
}

// A clock that runs ahead, as that of a machine with two systems until the network sets it, ends no
// login: it is not used, and is there again when the clock is right. One that ended long ago goes.
//
// Invariant: AS-14
func TestAWrongClockEndsNoLogin(t *testing.T) {
	keychain := newFakeStore("keychain", keystore.Machine)
	r, _ := storesRig(t, keychain.kind())
	r.mustLogIn()
	right := r.clock.Now()
	r.clock.Advance(38 * time.Hour)
	n := r.restarted()
	for range 2 {
		if _, err := n.Token(t.Context(), agentwire.TokenRequest{}); !errors.Is(err, agentwire.NotLoggedIn) {
			t.Errorf("past its end: %v", err)
		}
		if s, err := n.Status(t.Context()); err != nil || len(s.Profiles) != 0 {
			t.Errorf("shown: %+v, %v", s.Profiles, err)
		}
	}
	n.clock.Set(right.Add(time.Minute))
	n.renews("")
	n.clock.Advance(49 * time.Hour)
	if _, err := n.Whoami(t.Context(), ""); !errors.Is(err, agentwire.NotLoggedIn) {
		t.Errorf("long past its end: %v", err)
	}
	eventually(t, "it is still in its store", func() bool { return len(keychain.tokens(t)) == 0 })
}

// A token that ages is handed out at once and renewed behind the caller's back.
func TestAgingTokenIsRenewedInTheBackground(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	first, err := r.Token(t.Context(), agentwire.TokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(4*time.Minute + 30*time.Second)
	arrived, let := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.server.On("/oauth/token", func(http.ResponseWriter, *http.Request, func() *httptest.ResponseRecorder) bool {
		once.Do(func() { close(arrived) })
		<-let
		return false
	})
	for range 5 {
		if tok, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil || !tok.AccessToken.Equal(first.AccessToken) {
			t.Fatalf("the caller waited or got another: %v", err)
		}
	}
	<-arrived
	close(let)
	deadline := time.Now().Add(5 * time.Second)
	for {
		tok, err := r.Token(t.Context(), agentwire.TokenRequest{})
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("never renewed: %v", err)
		}
		if !tok.AccessToken.Equal(first.AccessToken) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if n := r.server.Count("refresh"); n != 1 {
		t.Errorf("%d refreshes", n)
	}
}

// One caller who goes away does not take the renewal from the others.
func TestCallerGoesAway(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	r.clock.Advance(6 * time.Minute)
	arrived, let := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.server.On("/oauth/token", func(http.ResponseWriter, *http.Request, func() *httptest.ResponseRecorder) bool {
		once.Do(func() { close(arrived) })
		<-let
		return false
	})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := r.Token(ctx, agentwire.TokenRequest{}); first <- err }()
	<-arrived
	second := make(chan error, 1)
	go func() { _, err := r.Token(t.Context(), agentwire.TokenRequest{}); second <- err }()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("the first: %v", err)
	}
	close(let)
	if err := <-second; err != nil || r.server.Count("refresh") != 1 {
		t.Errorf("the second: %v", err)
	}
}

func TestServerWithoutRefreshTokens(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.server.On("/oauth/token", func(w http.ResponseWriter, _ *http.Request, next func() *httptest.ResponseRecorder) bool {
		rec := next()
		body := rec.Body.String()
		if i := strings.Index(body, `"refresh_token":`); i >= 0 {
			end := i + strings.Index(body[i:], ",") + 1
			body = body[:i] + body[end:]
		}
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write([]byte(body))
		return true
	})
	e, err := r.logIn(agentwire.LoginRequest{})
	if err != nil || !strings.Contains(e.Warning, "no refresh token") {
		t.Fatalf("%v, warning %q", err, e.Warning)
	}
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(6 * time.Minute)
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); !errors.Is(err, agentwire.NotLoggedIn) {
		t.Errorf("got %v", err)
	}
}

// The clock is an hour off either way, with nonces and without: logins, renewals
// and expiries hold.
func TestClockAnHourOff(t *testing.T) {
	for _, off := range []time.Duration{time.Hour, -time.Hour} {
		for _, nonces := range []bool{true, false} {
			c := oauthclienttest.Keytether()
			c.Nonces = nonces
			server := time.Now()
			elapsed := time.Duration(0)
			var mu sync.Mutex
			c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return server.Add(elapsed) }
			r := newRig(t, c)
			r.clock.Set(server.Add(off))
			r.mustLogIn()
			advance := func(d time.Duration) { mu.Lock(); elapsed += d; mu.Unlock(); r.clock.Advance(d) }
			if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil || r.server.Count("refresh") != 0 {
				t.Fatalf("off %v: %v", off, err)
			}
			advance(6 * time.Minute)
			tok, err := r.Token(t.Context(), agentwire.TokenRequest{})
			if err != nil || r.server.Count("refresh") != 1 {
				t.Fatalf("off %v, nonces %v: %v", off, nonces, err)
			}
			if left := tok.ExpiresAt.Sub(r.clock.Now()); left < 4*time.Minute || left > 5*time.Minute {
				t.Errorf("off %v: expires in %v by the caller's clock", off, left)
			}
			r.checkProof(tok, c.Now())
		}
	}
}

// A login keeps its caller's variables for its renewals.
func TestCallersVariablesStayWithTheLogin(t *testing.T) {
	var mu sync.Mutex
	var seen []map[string]string
	r := newRig(t, oauthclienttest.Keytether(), func(o *Options) {
		o.HTTP = func(env map[string]string) (oauthclient.HTTP, error) {
			mu.Lock()
			seen = append(seen, env)
			mu.Unlock()
			return oauthclient.NewHTTP(nil)
		}
	})
	if _, err := r.logIn(agentwire.LoginRequest{Env: agentwire.Env{"HTTPS_PROXY": "http://proxy.test:3128", "LD_PRELOAD": "x"}}); err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(6 * time.Minute)
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 || seen[0]["HTTPS_PROXY"] == "" || seen[0]["LD_PRELOAD"] != "" {
		t.Errorf("clients were made from %v", seen)
	}
	bad := newRig(t, oauthclienttest.Keytether())
	_, err := bad.logIn(agentwire.LoginRequest{Env: agentwire.Env{"SSL_CERT_FILE": "/nowhere.pem"}})
	if !errors.Is(err, agentwire.Usage) || !strings.Contains(err.Error(), "SSL_CERT_FILE") {
		t.Errorf("got %v", err)
	}
	if s, _ := bad.Version(t.Context()); s.Logins != 0 {
		t.Error("a login that could not begin is still counted")
	}
}

func TestProfilesAreApart(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	for _, p := range []string{"", "work"} {
		if _, err := r.logIn(agentwire.LoginRequest{Profile: p}); err != nil {
			t.Fatal(err)
		}
	}
	a, err := r.Token(t.Context(), agentwire.TokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Token(t.Context(), agentwire.TokenRequest{Profile: "work"})
	if err != nil || a.AccessToken.Equal(b.AccessToken) {
		t.Fatal("one token for two logins", err)
	}
	out, err := r.Logout(t.Context(), agentwire.LogoutRequest{All: true})
	if err != nil || !slices.Equal(out.Profiles, []string{"default", "work"}) || !out.Revoked || r.server.Count("revoked") != 2 {
		t.Errorf("%+v %v", out, err)
	}
}

// A token that an API refused is renewed at once, if it is the one in hand; a
// caller who says so of every token makes no storm.
func TestRejectedTokenIsRenewed(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	get := func(rejected string) string {
		t.Helper()
		tok, err := r.Token(t.Context(), agentwire.TokenRequest{Rejected: rejected})
		if err != nil {
			t.Fatal(err)
		}
		return tok.AccessToken.Reveal()
	}
	name := func(token string) string {
		sum := sha256.Sum256([]byte(token))
		return base64.RawURLEncoding.EncodeToString(sum[:])
	}
	first := get("")
	if get(name("another")) != first {
		t.Error("renewed for a token that is not the one in hand")
	}
	second := get(name(first))
	if second == first {
		t.Error("a token that was refused is given again")
	}
	if get(name(second)) != second {
		t.Error("renewed again at once")
	}
	r.clock.Advance(3 * time.Second)
	if get(name(second)) == second {
		t.Error("not renewed later on")
	}
}
