package agent

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/outbound"
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

// TestDeviceLoginAtOurServer is a whole device login at the server that ships.
//
// Invariant: DF-15
func TestDeviceLoginAtOurServer(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	count := new(counted)
	r := newRig(t, oauthclienttest.Keytether(), onHeadless, func(o *Options) {
		o.Clock = s.Clock.Now
		o.HTTP = func(env map[string]string) (oauthclient.HTTP, error) {
			var err error
			count.HTTP, err = oauthclient.NewHTTP(env)
			return count, err
		}
	})
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
