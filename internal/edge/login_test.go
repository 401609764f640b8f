package edge_test

import (
	"net/http"
	"testing"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
)

// TestLogin goes the whole way for every kind of client, over http on loopback
// and over https, and names all that is recorded.
func TestLogin(t *testing.T) {
	for _, https := range []bool{false, true} {
		for _, client := range []string{edgetest.Handshake, edgetest.Plain, edgetest.Bound} {
			name := client
			if https {
				name += " https"
			}
			t.Run(name, func(t *testing.T) {
				s := edgetest.NewServer(t, edgetest.Options{HTTPS: https})
				tool := s.NewTool(client)
				n := s.Size()
				tool.Login()
				want := []event.Name{event.SignInSucceeded, event.RequestOpened, event.RequestApproved}
				if client == edgetest.Handshake {
					want = append(want, event.HandshakeNonce)
				}
				want = append(want, event.CodeIssued, event.CodeRedeemed, event.GrantCreated, event.TokenIssued)
				s.Expect(n, want...)

				kind := "DPoP"
				if client == edgetest.Plain {
					kind = "Bearer"
				}
				if tool.Token.TokenType != kind || tool.Token.Scope != "read" || tool.Token.ExpiresIn != 300 {
					t.Errorf("token response: type %s, scope %s, %d s", tool.Token.TokenType, tool.Token.Scope, tool.Token.ExpiresIn)
				}
				n = s.Size()
				tool.Take(tool.Post(oauth.PathToken, tool.RefreshParams()))
				s.Expect(n, event.TokenIssued)
				res := tool.PostOnce(oauth.PathToken, tool.RefreshParams())
				if res.Status != http.StatusOK || res.Header.Get("DPoP-Nonce") == "" {
					t.Errorf("refresh: %d, nonce %q", res.Status, res.Header.Get("DPoP-Nonce"))
				}
			})
		}
	}
}

// TestLoginsLeaveNoCookies: each request's own cookie goes when the request is
// decided, so that a browser with many logins is not refused for its headers.
func TestLoginsLeaveNoCookies(t *testing.T) {
	for _, client := range []string{edgetest.Handshake, edgetest.Plain, edgetest.Bound} {
		s := edgetest.NewServer(t, edgetest.Options{})
		b := s.NewBrowser()
		for range 3 {
			tool := s.NewTool(client)
			tool.Browser = b
			tool.Login()
		}
		if got := b.Cookies(); len(got) != 1 {
			t.Errorf("%s leaves %d cookies", client, len(got))
		}
	}
}
