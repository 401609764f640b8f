package authserver

import (
	"slices"
	"testing"
)

// TestScopesThatAreMeant says what a request for no scope of the resource means:
// the client's default for an agent and for a client with the handshake, and a
// plain sign-in for any other that asks for openid.
func TestScopesThatAreMeant(t *testing.T) {
	res := &Resource{ID: "https://api.example.test", Scopes: []Scope{{Name: "read"}, {Name: "write"}}}
	both := []string{"read", "write"}
	for _, c := range []struct {
		name          string
		client        Client
		agent         bool
		asked, wanted []string
	}{
		{"standard, openid", Client{}, false, []string{"openid", "email"}, []string{"openid", "email"}},
		{"standard, nothing", Client{}, false, nil, []string{"read"}},
		{"standard, email", Client{}, false, []string{"email"}, []string{"email", "read"}},
		{"handshake, openid", Client{Handshake: true}, false, []string{"openid"}, []string{"openid", "read"}},
		{"agent, openid", Client{}, true, []string{"openid", "email"}, []string{"openid", "email", "read"}},
		{"agent, a default of its own", Client{DefaultScopes: both, DefaultResource: res.ID}, true, []string{"openid"}, []string{"openid", "read", "write"}},
		{"agent, not the default resource", Client{DefaultScopes: both, DefaultResource: "https://other.example.test"}, true, []string{"openid"}, []string{"openid", "read"}},
		{"agent, write", Client{}, true, []string{"write", "openid"}, []string{"write", "openid"}},
		{"agent, may write alone", Client{Scopes: []string{"write"}}, true, []string{"openid"}, []string{"openid", "write"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.client.scopes(res, c.asked, c.agent)
			if err != nil || !slices.Equal(got, c.wanted) {
				t.Errorf("%q, %v; want %q", got, err, c.wanted)
			}
		})
	}
}
