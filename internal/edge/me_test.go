package edge_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
)

// TestMe shows a person's grants by installation, and ends them in each way.
func TestMe(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	laptop := s.NewTool(edgetest.Handshake)
	laptop.Extra = url.Values{"keytether_host": {"mara-laptop"}, "keytether_os_user": {"mara"}}
	laptop.Login()
	b := laptop.Browser
	second := s.NewTool(edgetest.Handshake) // the same key, another grant
	second.Key, second.Browser, second.Scope = laptop.Key, b, "write"
	second.Extra = laptop.Extra
	second.Login()
	plain := s.NewTool(edgetest.Plain)
	plain.Browser = b
	plain.Login()

	b.Open(s.Issuer + "/me")
	for _, want := range []string{"mara-laptop", "mara", "Read reports", "Change reports", "Example API", "Open API", "Plain CLI", "Not bound to a computer", edgetest.Email} {
		b.Has(t, http.StatusOK, want)
	}
	count := func(button string) (n int) {
		for _, f := range b.Forms() {
			if strings.Join(f.Buttons, "") == button {
				n++
			}
		}
		return n
	}
	if count("Revoke") != 3 || count("This wasn't me") != 2 {
		t.Errorf("%d Revoke, %d This wasn't me", count("Revoke"), count("This wasn't me"))
	}

	n := s.Size()
	for _, f := range b.Forms() {
		if f.Fields.Get("grant") == second.Token.GrantID {
			b.Post(s.Issuer+f.Action, f.Fields, "same-origin")
			break
		}
	}
	b.Has(t, http.StatusOK, "Revoked")
	if got := s.Since(n); len(got) != 1 || got[0].Name != event.GrantRevoked || got[0].Grant != second.Token.GrantID || got[0].Reason != event.ReasonPerson {
		t.Errorf("recorded %+v", got)
	}
	n = s.Size()
	for _, f := range b.Forms() {
		if f.Fields.Has("installation") {
			b.Post(s.Issuer+f.Action, f.Fields, "same-origin")
			break
		}
	}
	b.Has(t, http.StatusOK, "has ended")
	if got := s.Since(n); len(got) != 1 || got[0].Grant != laptop.Token.GrantID || got[0].Reason != event.ReasonNotMe {
		t.Errorf("recorded %+v", got)
	}
	n = s.Size()
	b.Press("This wasn't me")
	if got := s.Since(n); len(got) != 1 || got[0].Grant != plain.Token.GrantID || got[0].Reason != event.ReasonNotMe {
		t.Errorf("recorded %+v", got)
	}
	b.Has(t, http.StatusOK, "No tool can act for you")
	refused(t, plain.Post(oauth.PathToken, plain.RefreshParams()), oauth.GrantEnded)
}

// TestMeIsOnesOwn tries to end another person's grant with forms of one's own.
func TestMeIsOnesOwn(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	victim := s.NewTool(edgetest.Handshake)
	victim.Login()
	victim.Browser.Open(s.Issuer + "/me")
	revoke, disown := victim.Browser.Form("Revoke"), victim.Browser.Form("This wasn't me")
	other := s.NewBrowser()
	other.Open(s.Issuer + "/me")
	other.SignIn(edgetest.Other, edgetest.Password)
	other.Has(t, http.StatusOK, "No tool can act for you")
	n := s.Size()
	for _, f := range []edgetest.Form{revoke, disown} {
		shows(t, other.Post(f.Action, f.Fields, "same-origin"), oauth.CrossSite)
	}
	s.Expect(n)
}

// TestSignOut ends the session: its cookie is worth nothing, even if it was kept.
func TestSignOut(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	b := s.NewBrowser()
	b.Open(s.Issuer + "/me")
	b.SignIn(edgetest.Email, edgetest.Password)
	kept := b.Cookies()
	n := s.Size()
	b.Press("Sign out")
	b.Has(t, http.StatusOK, "Signed out")
	s.Expect(n, event.SessionEnded)
	b.Open(s.Issuer + "/me")
	b.Has(t, http.StatusOK, "Sign in")
	for _, c := range kept {
		b.SetCookie(c.Name, c.Value)
	}
	b.Open(s.Issuer + "/me")
	b.Has(t, http.StatusOK, "Sign in")
	b.SetCookie("kt-default-session", "kts_nonsense")
	b.Open(s.Issuer + "/me")
	if got := b.Cookies(); len(got) != 1 || got[0].Value == "kts_nonsense" {
		t.Errorf("a malformed cookie was taken: %v", got)
	}
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Has(t, http.StatusOK, "Your tools")
}
