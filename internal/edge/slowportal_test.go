package edge_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/oauth"
)

// TestSlowPortal: between the link and Allow stands a company's portal that takes
// ten minutes and sends the browser back and forth three times. Whether it stands
// before our first page, before the sign-in or before the consent, the login goes
// through, and its code is as short-lived as ever.
//
// Invariant: CF-12
func TestSlowPortal(t *testing.T) {
	for _, where := range []string{"before the first page", "before the sign-in", "before the consent"} {
		t.Run(where, func(t *testing.T) {
			s := edgetest.NewServer(t, edgetest.Options{})
			tool := s.NewTool(edgetest.Handshake)
			if res := tool.Push(); res.Status != http.StatusCreated {
				t.Fatalf("%d %s", res.Status, res.Body)
			}
			portal := func(here string) {
				if here != where {
					return
				}
				for i := range 3 {
					s.Clock.Advance(200 * time.Second)
					if i < 2 && where != "before the first page" {
						tool.Browser.Open(tool.AuthorizeURL()) // comes back, and is sent away again
					}
				}
			}
			portal("before the first page")
			tool.Browser.Open(tool.AuthorizeURL())
			portal("before the sign-in")
			tool.Browser.Open(tool.AuthorizeURL())
			tool.Browser.SignIn(edgetest.Email, edgetest.Password)
			portal("before the consent")
			tool.Browser.Open(tool.AuthorizeURL())
			tool.Allow()
			tool.Take(tool.Post(oauth.PathToken, tool.RedeemParams()))
		})
	}
}

// TestSlowPortalOfDevice: the code was typed in time, and the portal behind it is
// slow.
//
// Invariant: CF-12
func TestSlowPortalOfDevice(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	d := startDevice(t, s, edgetest.Handshake)
	b := s.NewBrowser()
	s.Clock.Advance(4 * time.Minute)
	b.Open(d.VerificationURI)
	b.Press("Continue", "user_code", d.UserCode)
	for range 3 {
		s.Clock.Advance(200 * time.Second)
		if got := d.poll(t); got != "authorization_pending" {
			t.Fatalf("meanwhile: %s", got)
		}
	}
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Has(t, http.StatusOK, "build-7")
	b.Press("Allow")
	s.Clock.Advance(5 * time.Second)
	if got := d.poll(t); got != "" {
		t.Fatalf("after Allow: %s", got)
	}
}
