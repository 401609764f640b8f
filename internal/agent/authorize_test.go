package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

// checkProof asks for one request's headers and checks them as a resource server
// without nonces would, by its own clock.
func (r *rig) checkProof(tok agentwire.TokenResponse, now time.Time) {
	r.t.Helper()
	s, err := r.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	const at = resource + "/reports?secret=1"
	out, err := r.Authorize(r.t.Context(), agentwire.AuthorizeRequest{Method: "POST", URL: at})
	if err != nil {
		r.t.Fatal(err)
	}
	if out.Authorization.Reveal() != "DPoP "+tok.AccessToken.Reveal() {
		r.t.Error("another token")
	}
	p, err := dpop.Verify(out.DPoP.Reveal(), dpop.Expect{
		Method: "POST", URL: at, AccessToken: tok.AccessToken.Reveal(), Thumbprint: s.Profiles[0].JKT,
		Now: now, MaxAge: time.Minute, Leeway: 5 * time.Second, NonceUse: dpop.NonceIfPresent,
	})
	if err != nil {
		r.t.Errorf("the proof does not hold: %v", err)
	}
	again, err := r.Authorize(r.t.Context(), agentwire.AuthorizeRequest{Method: "POST", URL: at, Nonce: "n-1"})
	if err != nil {
		r.t.Fatal(err)
	}
	q, err := dpop.Verify(again.DPoP.Reveal(), dpop.Expect{
		Method: "POST", URL: at, AccessToken: tok.AccessToken.Reveal(), Thumbprint: s.Profiles[0].JKT,
		Now: now, MaxAge: time.Minute, Leeway: 5 * time.Second, NonceUse: dpop.NonceIfPresent, Nonces: anyNonce{},
	})
	if err != nil || q.ID == p.ID || q.Nonce != "n-1" {
		r.t.Errorf("the second proof: %v, %q", err, q.Nonce)
	}
}

type anyNonce struct{}

func (anyNonce) Check(time.Time, string) (dpop.NonceState, error) { return dpop.NonceState{}, nil }

// TestAuthorize checks the headers as a resource server would.
//
// Invariant: AG-3
func TestAuthorize(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	tok, err := r.Token(t.Context(), agentwire.TokenRequest{})
	if err != nil {
		t.Fatal(err)
	}
	r.checkProof(tok, r.clock.Now())
	// An expired token is renewed on the way.
	r.clock.Advance(6 * time.Minute)
	if _, err := r.Authorize(t.Context(), agentwire.AuthorizeRequest{Method: "GET", URL: resource}); err != nil || r.server.Count("refresh") != 1 {
		t.Error(err)
	}
}

// TestAuthorizeKeepsToTheResource asks for headers for other places.
//
// Invariant: AG-3
func TestAuthorizeKeepsToTheResource(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	r.clock.Advance(6 * time.Minute) // so that a renewal would show
	for _, at := range []string{
		"https://evil.test/v1", "https://api.example.test/v2", "https://api.example.test/v1/../v2", "http://api.example.test/v1",
		r.server.Issuer + "/oauth/token", r.server.Issuer + "/oauth/par", r.server.Issuer + "/",
	} {
		_, err := r.Authorize(t.Context(), agentwire.AuthorizeRequest{Method: "GET", URL: at})
		if !errors.Is(err, agentwire.ResourceNotAllowed) || !strings.Contains(err.Error(), resource) {
			t.Errorf("%s: %v", at, err)
		}
	}
	if _, err := r.Authorize(t.Context(), agentwire.AuthorizeRequest{Method: "GET", URL: "https://evil.test/", Resource: "https://evil.test"}); !errors.Is(err, agentwire.ResourceNotAllowed) {
		t.Errorf("a resource of the caller's own: %v", err)
	}
	if r.server.Count("refresh") != 0 {
		t.Error("a token was renewed for a URL that gets none")
	}
}

func TestAuthorizeAtTheIssuersOwnAPI(t *testing.T) {
	c := oauthclienttest.Keytether()
	r := newRig(t, c)
	api := r.server.Issuer + "/api/v1"
	if _, err := r.logIn(agentwire.LoginRequest{Resource: api}); err != nil {
		t.Fatal(err)
	}
	if out, err := r.Authorize(t.Context(), agentwire.AuthorizeRequest{Method: "GET", URL: api + "/me"}); err != nil || out.DPoP.IsZero() {
		t.Errorf("the API: %v", err)
	}
	if _, err := r.Authorize(t.Context(), agentwire.AuthorizeRequest{Method: "POST", URL: r.server.Issuer + "/oauth/token"}); !errors.Is(err, agentwire.ResourceNotAllowed) {
		t.Errorf("the token endpoint: %v", err)
	}
}

func TestAuthorizeBearer(t *testing.T) {
	r := newRig(t, oauthclienttest.Config{OpenID: true, Subject: "s", PAR: true})
	e, err := r.logIn(agentwire.LoginRequest{Resource: resource, ClientID: "other-cli"})
	if err != nil || !strings.Contains(e.Warning, "bearer token") {
		t.Fatalf("%v, warning %q", err, e.Warning)
	}
	out, err := r.Authorize(t.Context(), agentwire.AuthorizeRequest{Method: "GET", URL: resource + "/x"})
	if err != nil || !out.DPoP.IsZero() || out.TokenType != "Bearer" || !strings.HasPrefix(out.Authorization.Reveal(), "Bearer access-") {
		t.Errorf("%+v %v", out, err)
	}
	if s, _ := r.Status(t.Context()); s.Profiles[0].JKT != "" || s.Profiles[0].ClientID != "other-cli" {
		t.Errorf("%+v", s.Profiles[0])
	}
}
