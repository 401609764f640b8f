package e2e

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/stage"
	"github.com/keytether/keytether/verify"
)

// standardClients know neither handshake nor PAR nor form_post nor DPoP; and one
// that proves, for tests that need a client without a browser.
func standardClients(addr string) string {
	var b strings.Builder
	for _, alg := range []string{"RS256", "ES256"} {
		fmt.Fprintf(&b, `- id: standard-%s
  name: Standard Tool
  redirect_uris: ["http://127.0.0.1/callback"]
  grants: [authorization_code, refresh_token]
  default_resource: http://%s
  dpop: allowed
  handshake: none
  id_token_alg: %s
`, alg, addr, alg)
	}
	b.WriteString(`- id: proving
  name: Proving Tool
  redirect_uris: ["http://127.0.0.1/callback"]
  grants: [authorization_code, refresh_token]
  dpop: required
  handshake: none
`)
	return b.String()
}

// standardResource is an API that takes bearer tokens.
func standardResource(addr string) string {
	return fmt.Sprintf("- {id: \"http://%s\", name: Old API, scopes: {read: Read old reports}, bearer: allowed, jwks_file: api.jwks.json}\n", addr)
}

// bearerAPI serves it, guarded by package verify.
func bearerAPI(t *testing.T, st *stage.Stage, addr string) {
	t.Helper()
	key, err := verify.LoadKey(filepath.Join(st.Dir, "api.key.pem"))
	do(t, err)
	env := map[string]string{}
	for _, kv := range st.Home.Env {
		k, v, _ := strings.Cut(kv, "=")
		if k == "HTTPS_PROXY" || k == "SSL_CERT_FILE" {
			env[k] = v
		}
	}
	v, err := verify.NewAcceptingBearerTokens(t.Context(), verify.Options{Issuer: st.Issuer, Resource: "http://" + addr, Key: key, Env: env})
	do(t, err)
	t.Cleanup(v.Close)
	do(t, v.WaitReady(t.Context()))
	l, err := net.Listen("tcp", addr)
	do(t, err)
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: v.Require("read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := verify.From(r.Context())
		_, _ = io.WriteString(w, caller.Subject)
	}))}}
	srv.Start()
	t.Cleanup(srv.Close)
}

// standardTool is a tool made of golang.org/x/oauth2 and coreos/go-oidc.
type standardTool struct {
	conf     oauth2.Config
	verifier *oidc.IDTokenVerifier
	answers  chan url.Values
	http     *http.Client
}

func newStandardTool(t *testing.T, st *stage.Stage, client string) *standardTool {
	t.Helper()
	tool := &standardTool{answers: make(chan url.Values, 1), http: st.Client()}
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			tool.answers <- r.URL.Query()
			_, _ = io.WriteString(w, "<!doctype html><title>tool</title><link rel=icon href=data:,>back at the tool")
		}
	}))
	t.Cleanup(listener.Close)
	provider, err := oidc.NewProvider(tool.context(t.Context()), st.Issuer)
	do(t, err)
	tool.verifier = provider.VerifierContext(tool.context(t.Context()), &oidc.Config{ClientID: client})
	tool.conf = oauth2.Config{
		ClientID: client, Endpoint: provider.Endpoint(), RedirectURL: listener.URL + "/callback",
		Scopes: []string{oidc.ScopeOpenID, "email", oidc.ScopeOfflineAccess, "read"},
	}
	return tool
}

// context has the HTTP client that finds the stage.
func (s *standardTool) context(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, s.http)
}

// ask sends the browser to the server and gives what came back.
func (s *standardTool) ask(t *testing.T, b *browser.Browser, button string, opts ...oauth2.AuthCodeOption) url.Values {
	t.Helper()
	state := rand.Text()
	do(t, stage.Ask(t.Context(), b, s.conf.AuthCodeURL(state, opts...)))
	do(t, b.Click(t.Context(), button))
	do(t, b.WaitText(t.Context(), "back at the tool"))
	back := <-s.answers
	if back.Get("state") != state {
		t.Errorf("state %q came back, want %q", back.Get("state"), state)
	}
	return back
}

// TestStandardClient logs in with two libraries that know nothing of Keytether.
//
// Invariant: CF-7a
func TestStandardClient(t *testing.T) {
	for _, place := range places {
		t.Run(place.name, func(t *testing.T) {
			st := place.at.get(t)
			bearerAPI(t, st, place.at.addr)
			b := chromium(t, st, browser.Options{})
			for _, alg := range []string{"RS256", "ES256"} {
				t.Run(alg, func(t *testing.T) { standardLogin(t, st, b, "standard-"+alg, alg, "http://"+place.at.addr) })
			}
			t.Run("denied", func(t *testing.T) {
				tool := newStandardTool(t, st, "standard-RS256")
				back := tool.ask(t, b, "Deny", oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))
				if back.Get("error") != "access_denied" || back.Get("iss") != st.Issuer || back.Has("code") {
					t.Errorf("denied came back as %q", back)
				}
			})
			if c := b.Console(); len(c) != 0 {
				t.Errorf("the console complains: %q", c)
			}
		})
	}
}

func standardLogin(t *testing.T, st *stage.Stage, b *browser.Browser, client, alg, api string) {
	tool := newStandardTool(t, st, client)
	ctx := tool.context(t.Context())
	verifier, nonce := oauth2.GenerateVerifier(), rand.Text()
	back := tool.ask(t, b, "Allow", oauth2.S256ChallengeOption(verifier), oidc.Nonce(nonce))
	if back.Get("iss") != st.Issuer {
		t.Errorf("iss = %q, want %q", back.Get("iss"), st.Issuer)
	}
	tok, err := tool.conf.Exchange(ctx, back.Get("code"), oauth2.VerifierOption(verifier))
	do(t, err)
	if tok.Type() != "Bearer" || tok.RefreshToken == "" {
		t.Errorf("type %q, refresh token: %t", tok.Type(), tok.RefreshToken != "")
	}

	raw, _ := tok.Extra("id_token").(string)
	id, err := tool.verifier.Verify(ctx, raw)
	do(t, err)
	var claims struct {
		Email string `json:"email"`
	}
	do(t, id.Claims(&claims))
	if id.Nonce != nonce || id.Subject == "" || claims.Email != stage.Email {
		t.Errorf("the ID token has nonce %q (want %q), sub %q, email %q", id.Nonce, nonce, id.Subject, claims.Email)
	}
	if got := algorithm(t, raw); got != alg {
		t.Errorf("the ID token is signed with %s, want %s", got, alg)
	}

	if sub := asBearer(t, ctx, tool, tok, api); sub != id.Subject {
		t.Errorf("the API was called by %q, the ID token names %q", sub, id.Subject)
	}
	old := *tok
	expired := *tok
	expired.Expiry = expired.Expiry.AddDate(0, 0, -1)
	renewed, err := tool.conf.TokenSource(ctx, &expired).Token()
	do(t, err)
	if renewed.AccessToken == old.AccessToken || renewed.RefreshToken == old.RefreshToken || renewed.RefreshToken == "" {
		t.Error("a renewal gave no new access token and refresh token")
	}
	asBearer(t, ctx, tool, renewed, api)
}

// asBearer calls the API and gives what it says.
func asBearer(t *testing.T, ctx context.Context, tool *standardTool, tok *oauth2.Token, api string) string {
	t.Helper()
	resp, err := tool.conf.Client(ctx, tok).Get(api + "/old")
	do(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	do(t, err)
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the API answered %d: %s", resp.StatusCode, body)
	}
	return string(body)
}

// TestHint: the account that is asked for stands in the form, and
// prompt=login asks again although somebody is signed in.
func TestHint(t *testing.T) {
	st := secure.get(t)
	b := chromium(t, st, browser.Options{})
	tool := newStandardTool(t, st, "standard-RS256")
	challenge := oauth2.S256ChallengeOption(oauth2.GenerateVerifier())
	hint := func(prompt string) string {
		opts := []oauth2.AuthCodeOption{challenge, oauth2.SetAuthURLParam("login_hint", "other@example.test")}
		if prompt != "" {
			opts = append(opts, oauth2.SetAuthURLParam("prompt", prompt))
		}
		do(t, b.Open(t.Context(), tool.conf.AuthCodeURL(rand.Text(), opts...)))
		return eval(t, b, `(document.getElementById("email") || {}).value || ""`)
	}
	if got := hint(""); got != "other@example.test" {
		t.Errorf("the form holds %q", got)
	}
	tool.ask(t, b, "Allow", challenge)
	if got := hint(""); got != "" {
		t.Errorf("somebody who is signed in is asked to sign in, as %q", got)
	}
	if got := hint("login"); got != "other@example.test" {
		t.Errorf("prompt=login shows a form with %q", got)
	}
}

// algorithm reads the header of a compact JWS.
func algorithm(t *testing.T, compact string) string {
	t.Helper()
	head, _, _ := strings.Cut(compact, ".")
	b, err := base64.RawURLEncoding.DecodeString(head)
	do(t, err)
	var h struct{ Alg string }
	do(t, json.Unmarshal(b, &h))
	return h.Alg
}
