package edge_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/store"
)

// removable starts a server whose config names the person, and gives what takes
// that entry away.
func removable(t *testing.T) (*edgetest.Server, func()) {
	t.Helper()
	s := edgetest.NewServer(t, edgetest.Options{})
	seed := func(named ...authserver.Named) {
		t.Helper()
		if err := s.Auth.Seed(t.Context(), named, nil); err != nil {
			t.Fatal(err)
		}
	}
	seed(authserver.Named{Kind: store.EntryAccount, ID: edgetest.Email})
	return s, func() { seed() }
}

// TestNoGrantForADisabledAccount: what a person had allowed before the account
// was disabled gives nothing after it.
func TestNoGrantForADisabledAccount(t *testing.T) {
	t.Run("with the code in hand", func(t *testing.T) {
		s, remove := removable(t)
		tool := s.NewTool(edgetest.Handshake)
		tool.Consented()
		tool.Allow()
		remove()
		n := s.Size()
		refused(t, tool.Post(oauth.PathToken, tool.RedeemParams()), oauth.GrantEnded)
		s.Expect(n)
	})
	t.Run("before the handshake", func(t *testing.T) {
		s, remove := removable(t)
		tool := s.NewTool(edgetest.Handshake)
		tool.Consented()
		tool.Browser.Press("Allow")
		nonce := tool.Answer().Get("handshake_nonce")
		remove()
		n := s.Size()
		tool.Browser.Open(tool.HandshakeURL(tool.Key, tool.HandshakeClaims(nonce)))
		tool.Browser.Has(t, http.StatusBadRequest, string(oauth.GrantEnded))
		s.Expect(n)
	})
	t.Run("at a second try", func(t *testing.T) {
		s, remove := removable(t)
		tool := s.NewTool(edgetest.Handshake)
		tool.Consented()
		tool.Browser.Press("Allow")
		nonce := tool.Answer().Get("handshake_nonce")
		s.Clock.Advance(grantHandshakeLate)
		tool.Browser.Open(tool.HandshakeURL(tool.Key, tool.HandshakeClaims(nonce)))
		remove()
		n := s.Size()
		tool.Browser.Press("Try again")
		tool.Browser.Has(t, http.StatusBadRequest, string(oauth.GrantEnded))
		s.Expect(n)
	})
	t.Run("with a device code", func(t *testing.T) {
		s, remove := removable(t)
		d := startDevice(t, s, edgetest.Handshake)
		d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
		remove()
		n := s.Size()
		refused(t, d.tool.Post(oauth.PathToken, d.params()), oauth.GrantEnded)
		s.Expect(n)
	})
}

// TestBearerForbiddenLater: a grant that is bound to no key gives no token once
// the client must prove a key, or the resource takes bound tokens alone.
func TestBearerForbiddenLater(t *testing.T) {
	for name, change := range map[string]func(*authserver.Client, *authserver.Resource){
		"the client":   func(c *authserver.Client, _ *authserver.Resource) { c.DPoPRequired = true },
		"the resource": func(_ *authserver.Client, r *authserver.Resource) { r.Bearer = false },
	} {
		t.Run(name, func(t *testing.T) {
			s := edgetest.NewServer(t, edgetest.Options{})
			tool := s.NewTool(edgetest.Plain)
			tool.Login()
			c, err := s.Auth.Registry().Client(edgetest.Plain)
			if err != nil {
				t.Fatal(err)
			}
			r, err := s.Auth.Registry().Resource(edgetest.OpenAPI)
			if err != nil {
				t.Fatal(err)
			}
			client, resource := *c, *r
			change(&client, &resource)
			s.Auth.UseRegistry(authserver.NewRegistry([]*authserver.Client{&client}, []*authserver.Resource{&resource}))
			tool.Key = edgetest.NewKey(t, "")
			s.Clock.Advance(time.Second)
			refused(t, tool.Post(oauth.PathToken, tool.RefreshParams()), oauth.GrantEnded)
		})
	}
}

// TestEnabledAgainSignsInAgain: a browser session of before an account was
// disabled is over, also when the account is enabled again.
func TestEnabledAgainSignsInAgain(t *testing.T) {
	s, remove := removable(t)
	b := s.NewBrowser()
	b.Open(s.Issuer + "/me")
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Has(t, http.StatusOK, "Sign out")
	remove()
	s.Clock.Advance(time.Second)
	again := authserver.SeedAccount{Email: edgetest.Email, Roles: []string{authserver.RoleAdmin}}
	if err := s.Auth.Seed(t.Context(), nil, []authserver.SeedAccount{again}); err != nil {
		t.Fatal(err)
	}
	b.Open(s.Issuer + "/me")
	b.Has(t, http.StatusOK, "Password")
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Has(t, http.StatusOK, "Sign out")
}
