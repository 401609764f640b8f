package agent

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/outbound"
	"github.com/keytether/keytether/internal/secret"
)

// counted counts the requests to the token endpoint.
type counted struct {
	oauthclient.HTTP
	tokens atomic.Int64
}

func (c *counted) Do(r *http.Request) (*outbound.Response, error) {
	if strings.HasSuffix(r.URL.Path, oauth.PathToken) {
		c.tokens.Add(1)
	}
	return c.HTTP.Do(r)
}

// newCountedRig is an agent without a browser that logs in at s.
func newCountedRig(t *testing.T, s *edgetest.Server) (*rig, *counted) {
	count := new(counted)
	return newRig(t, oauthclienttest.Keytether(), onHeadless, func(o *Options) {
		o.Clock = s.Clock.Now
		o.HTTP = func(env map[string]string) (oauthclient.HTTP, error) {
			var err error
			count.HTTP, err = oauthclient.NewHTTP(env)
			return count, err
		}
	}), count
}

// TestDeviceLoginAtOurServer is a whole device login at the server that ships.
//
// Invariant: DF-15
func TestDeviceLoginAtOurServer(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	r, count := newCountedRig(t, s)
	n := s.Size()
	e, err := r.follow(t.Context(), agentwire.LoginRequest{Issuer: s.Issuer, Scope: "read", LoginHint: edgetest.Email}, func(e agentwire.Event) {
		if e.Event != agentwire.EventDeviceCode {
			return
		}
		b := s.NewBrowser()
		b.Open(e.VerificationURI)
		b.Press("Continue", "user_code", strings.ToLower(e.UserCode))
		b.SignIn(edgetest.Email, edgetest.Password)
		b.Has(t, http.StatusOK, "laptop")
		b.Press("Allow")
	})
	if err != nil || e.Done.Flow != "device" || e.Done.Username != edgetest.Email || e.Done.Issuer != s.Issuer {
		t.Fatalf("%v %+v", err, e)
	}
	if got := count.tokens.Load(); got > 3 {
		t.Errorf("%d token requests", got)
	}
	got := s.Events(n)
	if got[0] != event.DeviceStarted || got[len(got)-1] != event.IDTokenIssued {
		t.Errorf("recorded %v", got)
	}
	if tok, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil || tok.TokenType != "DPoP" {
		t.Errorf("%v %v", tok, err)
	}
	if out, err := r.Logout(t.Context(), agentwire.LogoutRequest{}); err != nil || !out.Revoked {
		t.Errorf("%+v %v", out, err)
	}
}

// TestRegistersAtOurServer: with an initial access token the agent gets a client
// of its own at the server that ships, bound and with the handshake, and logs in
// with it.
func TestRegistersAtOurServer(t *testing.T) {
	initial := secret.Mint(secret.Initial, [32]byte{1})
	s := edgetest.NewServer(t, edgetest.Options{Registration: &authserver.Registration{
		Tokens: []authserver.InitialToken{{Name: "lab", Hash: initial.Hash()}},
		Like:   authserver.Client{Resources: []string{edgetest.API}, DefaultResource: edgetest.API, Lifetimes: grant.DefaultLifetimes()},
	}})
	r := newRig(t, oauthclienttest.Keytether(), onHeadless, func(o *Options) { o.Clock = s.Clock.Now })
	e, err := r.follow(t.Context(), agentwire.LoginRequest{
		Issuer: s.Issuer, Scope: "read", RegistrationToken: agentwire.NewSecret(initial.Reveal()),
	}, func(e agentwire.Event) {
		if e.Event != agentwire.EventDeviceCode {
			return
		}
		b := s.NewBrowser()
		b.Open(e.VerificationURI)
		b.Press("Continue", "user_code", e.UserCode)
		b.SignIn(edgetest.Email, edgetest.Password)
		b.Has(t, http.StatusOK, "Keytether agent")
		b.Press("Allow")
	})
	if err != nil || !e.Done.ClientRegistered || !strings.HasPrefix(e.Done.ClientID, "cli_") {
		t.Fatalf("%v %+v", err, e)
	}
	if st, err := r.Status(t.Context()); err != nil || st.Profiles[0].TokenType != "DPoP" || st.Profiles[0].Missing != nil {
		t.Errorf("%+v %v", st, err)
	}
	if strings.Contains(r.log.String(), initial.Reveal()) {
		t.Error("the initial access token is in the log")
	}
}

// TestUnboundTokens: for a program that cannot prove a key there is a token bound to none where the
// server allows it, kept apart from the login's own; elsewhere a refusal in words, and the login
// is as well as before.
//
// Invariant: DP-18g
func TestUnboundTokens(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	r, count := newCountedRig(t, s)
	logIn := func(client, resource string) {
		_, err := r.follow(t.Context(), agentwire.LoginRequest{Profile: client, Issuer: s.Issuer, ClientID: client, Resource: resource, Scope: "read"}, func(e agentwire.Event) {
			if e.Event != agentwire.EventDeviceCode {
				return
			}
			b := s.NewBrowser()
			b.Open(e.VerificationURI)
			b.Press("Continue", "user_code", e.UserCode)
			b.SignIn(edgetest.Email, edgetest.Password)
			b.Press("Allow")
		})
		if err != nil {
			t.Fatalf("%s: %v", client, err)
		}
	}
	logIn(edgetest.Plain, edgetest.OpenAPI)
	bearer := agentwire.TokenRequest{Profile: edgetest.Plain, TokenType: agentwire.TypeBearer}
	first, err := r.Token(t.Context(), bearer)
	if err != nil || first.TokenType != agentwire.TypeBearer {
		t.Fatalf("%v %v", first, err)
	}
	n := count.tokens.Load()
	bound, err := r.Token(t.Context(), agentwire.TokenRequest{Profile: edgetest.Plain})
	if err != nil || bound.TokenType != agentwire.TypeDPoP {
		t.Errorf("%v %v", bound, err)
	}
	again, err := r.Token(t.Context(), bearer)
	if err != nil || !again.AccessToken.Equal(first.AccessToken) || count.tokens.Load() != n {
		t.Errorf("a second time: %v, after %d requests", err, count.tokens.Load()-n)
	}

	logIn("keytether", edgetest.API)
	if tok, err := r.Token(t.Context(), agentwire.TokenRequest{Profile: "keytether", TokenType: agentwire.TypeBearer}); !errors.Is(err, agentwire.Denied) {
		t.Errorf("%v %v", tok, err)
	}
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{Profile: "keytether"}); err != nil {
		t.Errorf("the login itself: %v", err)
	}
	status, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range status.Profiles {
		if p.LastError != nil || p.TokenType != agentwire.TypeDPoP {
			t.Errorf("%s: %v, %s", p.Profile, p.LastError, p.TokenType)
		}
	}
}
