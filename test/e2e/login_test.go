package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/testkit/browser"
)

// TestLogin walks the whole way: login, a call with token and proof, a copied
// token, renewal, logout.
//
// Invariant: HS-2
func TestLogin(t *testing.T) {
	for _, place := range places {
		t.Run(place.name, func(t *testing.T) {
			st := place.at.get(t)
			m := machine(t, st)
			b := chromium(t, st, browser.Options{})
			done := logIn(t, m, b, "--resource", st.Resource, "--scope", "read", "--scope", "write")

			if text, err := b.Text(t.Context()); err != nil || !strings.Contains(text, "You are signed in") {
				t.Errorf("the last page says %q (%v)", text, err)
			}
			if c := b.Console(); len(c) != 0 {
				t.Errorf("the console complains: %q", c)
			}
			checkAddressBar(t, b)

			u := reports(st)
			h := headers(t, m, http.MethodGet, u)
			_, token, _ := strings.Cut(h.Get("Authorization"), " ")
			wantCall(t, st, "token and proof", u, h, http.StatusOK)
			wantCall(t, st, "the same two again", u, h, http.StatusUnauthorized)
			wantCall(t, st, "the token alone", u, http.Header{"Authorization": {"DPoP " + token}}, http.StatusUnauthorized)
			wantCall(t, st, "the token as Bearer", u, http.Header{"Authorization": {"Bearer " + token}}, http.StatusUnauthorized)
			wantCall(t, st, "the token with another key's proof", u, http.Header{
				"Authorization": {"DPoP " + token}, "Dpop": {strangersProof(t, u, token)},
			}, http.StatusUnauthorized)
			wantCall(t, st, "a proof for another method", u, headers(t, m, http.MethodPost, u), http.StatusUnauthorized)

			// Less scope than the token in hand has makes the agent renew at once.
			var less struct {
				AccessToken string `json:"access_token"`
				Scope       string `json:"scope"`
			}
			do(t, json.Unmarshal([]byte(keytether(t, m, 0, "token", "--json", "--scope", "read").Stdout), &less))
			if less.AccessToken == token || less.Scope != "read" {
				t.Errorf("a token for less has scope %q, and is new: %t", less.Scope, less.AccessToken != token)
			}
			wantCall(t, st, "the renewed token", u, headers(t, m, http.MethodGet, u, "--scope", "read"), http.StatusOK)
			if who := keytether(t, m, 0, "whoami", "--json").Stdout; !strings.Contains(who, done.GrantID) {
				t.Errorf("whoami says %s, the login said %s", who, done.GrantID)
			}

			unused := headers(t, m, http.MethodGet, u)
			keytether(t, m, 0, "logout")
			keytether(t, m, 3, "token")
			keytether(t, m, 3, "whoami")
			refusedSoon(t, func() bool {
				status, _ := call(t, st, http.MethodGet, u, unused)
				return status != http.StatusOK
			}, time.Now())
		})
	}
}

// checkAddressBar wants no parameter in any URL that the address bar showed but
// the handle of the request and the listener's signed answer.
func checkAddressBar(t *testing.T, b *browser.Browser) {
	t.Helper()
	shown := b.Shown()
	if len(shown) < 4 {
		t.Errorf("the address bar showed %q: that is too little to be the whole login", shown)
	}
	for _, u := range shown {
		for _, name := range query(t, u) {
			if !slices.Contains([]string{"client_id", "request_uri", "handshake"}, name) {
				t.Errorf("the address bar showed %s, with %s in it", u, name)
			}
		}
	}
}

// refusedSoon wants refused to say true within a second of since.
func refusedSoon(t *testing.T, refused func() bool, since time.Time) {
	t.Helper()
	for !refused() {
		if time.Since(since) > time.Second {
			t.Errorf("still answered a second after the grant was revoked")
			return
		}
	}
}

// strangersProof is a proof by a key that the token is not bound to.
func strangersProof(t *testing.T, u, token string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	do(t, err)
	s, err := jws.NewES256Signer("", key, rand.Reader)
	do(t, err)
	proof, err := dpop.New(s, dpop.Request{Method: http.MethodGet, URL: u, AccessToken: token, IssuedAt: time.Now(), ID: rand.Text()})
	do(t, err)
	return proof
}
