package oauthclient_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/testkit"
)

func newKey(t testing.TB) jws.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jws.NewES256Signer("", key, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newClient discovers the server and makes a client with a key of its own.
func newClient(t testing.TB, s *oauthclienttest.Server, env oauthclient.Env) *oauthclient.Client {
	t.Helper()
	if env.HTTP == nil {
		var err error
		if env.HTTP, err = oauthclient.NewHTTP(nil); err != nil {
			t.Fatal(err)
		}
	}
	if env.Now == nil {
		env.Now = time.Now
	}
	env.Random = rand.Reader
	c, err := oauthclient.Open(t.Context(), env, s.Issuer, "example-cli", newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func start(t testing.TB, c *oauthclient.Client, r oauthclient.LoginRequest) *oauthclient.Login {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	l, err := c.StartLogin(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); <-l.Closed() })
	return l
}

// configs are servers from the plainest to ours.
func configs() map[string]oauthclienttest.Config {
	plain := oauthclienttest.Config{}
	oidc := oauthclienttest.Config{OpenID: true, Subject: "s", Email: "p@example.test", ISS: true}
	post := oidc
	post.FormPost, post.PAR = true, true
	hidden := post
	hidden.ReferrerPolicy = "no-referrer"
	bound := post
	bound.DPoP = true
	direct := bound
	direct.PAR, direct.FormPost = false, false
	path := oauthclienttest.Keytether()
	path.Path = "/t/acme"
	return map[string]oauthclienttest.Config{
		"plain OAuth": plain, "OpenID Connect": oidc, "PAR and form_post": post, "a page that hides its origin": hidden,
		"DPoP without nonces": bound, "DPoP without PAR": direct, "Keytether": oauthclienttest.Keytether(), "Keytether tenant": path,
	}
}

func TestLoginAtAnyServer(t *testing.T) {
	for name, config := range configs() {
		t.Run(name, func(t *testing.T) {
			s := oauthclienttest.New(t, config)
			var log testkit.Buffer
			c := newClient(t, s, oauthclient.Env{Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			l := start(t, c, oauthclient.LoginRequest{Scope: "read", Resource: "https://api.example.test/v1"})
			b := oauthclienttest.NewBrowser()
			page, err := b.Finish(l.URL())
			if err != nil {
				t.Fatal(err)
			}
			g, err := l.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(page.Body, "Signed in") || !strings.Contains(page.URL, "/done/") {
				t.Errorf("the last page is %s: %s", page.URL, page.Body)
			}
			if page.Header.Get("Referrer-Policy") != "no-referrer" || page.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("the last page's headers: %v", page.Header)
			}
			if config.DPoP != (g.Type == oauthclient.TypeDPoP) || g.Access.IsZero() || g.Refresh.IsZero() {
				t.Errorf("got type %q, access %v refresh %v", g.Type, !g.Access.IsZero(), !g.Refresh.IsZero())
			}
			if g.Subject != config.Subject || g.Email != config.Email || g.Resource != "https://api.example.test/v1" {
				t.Errorf("got %+v", g)
			}
			again, err := c.Refresh(t.Context(), oauthclient.RefreshRequest{Token: g.Refresh, Scope: "read"})
			if err != nil || again.Scope != "read" || again.Refresh.Equal(g.Refresh) {
				t.Fatalf("refresh: %v, scope %q", err, again.Scope)
			}
			if err := c.Revoke(t.Context(), again.Refresh, "refresh_token"); err != nil || s.Count("revoked") != 1 {
				t.Errorf("revoke: %v", err)
			}
			for what, v := range s.Secrets() {
				if strings.Contains(log.String(), v) {
					t.Errorf("%s is in the log", what)
				}
				for _, u := range b.Visited {
					if config.PAR && config.FormPost && !strings.HasPrefix(what, "ktu_") && strings.Contains(u, v) {
						t.Errorf("%s stood in the URL bar: %s", what, u)
					}
				}
			}
		})
	}
}

func TestHandshakeLoginShowsTheServerOneSignature(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	c := newClient(t, s, oauthclient.Env{})
	l := start(t, c, oauthclient.LoginRequest{})
	if _, err := oauthclienttest.NewBrowser().Finish(l.URL()); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Wait(); err != nil {
		t.Fatal(err)
	}
	if s.Count("signed") != 1 || s.Count("code") != 1 || s.Count("/oauth/par") > 2 {
		t.Errorf("signed %d, redeemed %d, pushed %d", s.Count("signed"), s.Count("code"), s.Count("/oauth/par"))
	}
}

// A proof for a resource is bound to a token, or is not made.
//
// Invariant: AG-3
func TestProofNeedsItsToken(t *testing.T) {
	c := newClient(t, oauthclienttest.New(t, oauthclienttest.Keytether()), oauthclient.Env{})
	if proof, err := c.Proof(http.MethodGet, "https://api.example.test/v1", "", ""); !errors.Is(err, oauthclient.ErrAnswer) || proof != "" {
		t.Errorf("got %q, %v", proof, err)
	}
}

func TestLoginDenied(t *testing.T) {
	for name, config := range configs() {
		t.Run(name, func(t *testing.T) {
			s := oauthclienttest.New(t, config)
			s.Deny()
			l := start(t, newClient(t, s, oauthclient.Env{}), oauthclient.LoginRequest{})
			page, err := oauthclienttest.NewBrowser().Finish(l.URL())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Wait(); !errors.Is(err, oauthclient.ErrDenied) || !strings.Contains(page.Body, "Not signed in") {
				t.Errorf("%v; page %s", err, page.Body)
			}
		})
	}
}

func TestLoginRefusesAnotherAccountAndRevokes(t *testing.T) {
	for account, ok := range map[string]bool{
		"acc_1": true, "person@example.test": true, "Person@Example.test": true,
		"other@example.test": false, "ACC_1": false, "person@example.te\u017ft": false,
	} {
		t.Run(account, func(t *testing.T) {
			s := oauthclienttest.New(t, oauthclienttest.Keytether())
			l := start(t, newClient(t, s, oauthclient.Env{}), oauthclient.LoginRequest{Account: account})
			page, err := oauthclienttest.NewBrowser().Finish(l.URL())
			if err != nil {
				t.Fatal(err)
			}
			_, err = l.Wait()
			if ok && err != nil {
				t.Fatal(err)
			}
			if !ok && (!errors.Is(err, oauthclient.ErrAccount) || s.Count("revoked") != 1 || !strings.Contains(page.Body, "Not signed in")) {
				t.Errorf("%v, revoked %d; page %s", err, s.Count("revoked"), page.Body)
			}
		})
	}
}

func TestLoginThatNobodyFinishesExpires(t *testing.T) {
	s := oauthclienttest.New(t, oauthclienttest.Keytether())
	c := newClient(t, s, oauthclient.Env{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	l, err := c.StartLogin(ctx, oauthclient.LoginRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Wait(); !errors.Is(err, oauthclient.ErrExpired) {
		t.Errorf("got %v", err)
	}
	<-l.Closed()
	if res, err := http.Get(l.URL()); err == nil {
		_ = res.Body.Close()
		t.Error("the listener is still there")
	}
}
