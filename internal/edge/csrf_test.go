package edge_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/oauth"
)

// TestForgedForms sends every form of ours in every way in which another site,
// another browser or another page could, and then rightly.
//
// Invariant: CF-2c, CF-10
func TestForgedForms(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	victim := s.NewTool(edgetest.Handshake)
	victim.Login()
	b := victim.Browser
	second := s.NewTool(edgetest.Handshake) // another grant of the same computer
	second.Key, second.Browser = victim.Key, b
	second.Login()

	signIn := s.NewTool(edgetest.Handshake)
	signIn.Push()
	signIn.Browser.Open(signIn.AuthorizeURL())
	consent := s.NewTool(edgetest.Plain)
	consent.Browser = b
	consent.Consented()
	consentForm := b.Form("Allow")
	b.Open(s.Issuer + "/me")
	stranger := s.NewBrowser()
	stranger.Open(s.Issuer + "/me")
	foreign := stranger.Form("Sign in").Fields.Get("csrf")
	late := s.NewTool(edgetest.Handshake)
	late.Consented()
	late.Browser.Press("Allow")
	nonce := late.Answer().Get("handshake_nonce")
	s.Clock.Advance(grantHandshakeLate)
	late.Browser.Open(late.HandshakeURL(late.Key, late.HandshakeClaims(nonce)))
	late.Browser.Has(t, http.StatusOK, "Try again")

	signInForm := signIn.Browser.Form("Sign in")
	signInForm.Fields.Set("email", edgetest.Email)
	signInForm.Fields.Set("password", edgetest.Password)
	for _, c := range []struct {
		name string
		b    *edgetest.Browser
		form edgetest.Form
		want int
	}{
		{"sign in", signIn.Browser, signInForm, http.StatusOK},
		{"consent", b, consentForm, 0},
		{"try again", late.Browser, late.Browser.Form("Try again"), http.StatusOK},
		{"revoke", b, b.Form("Revoke"), http.StatusOK},
		{"disown", b, b.Form("This wasn't me"), http.StatusOK},
		{"sign out", b, b.Form("Sign out"), http.StatusOK},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := s.Size()
			refuse := func(why string, b *edgetest.Browser, fields url.Values, site string) {
				t.Helper()
				res := b.Post(c.form.Action, fields, site)
				if b.Outside != "" {
					t.Errorf("%s: sent to %s", why, b.Outside)
				}
				shows(t, res, oauth.CrossSite)
				if t.Failed() {
					t.Fatalf("%s was let through", why)
				}
			}
			refuse("cross-site", c.b, c.form.Fields, "cross-site")
			refuse("same-site", c.b, c.form.Fields, "same-site")
			without := clone(c.form.Fields)
			without.Del("csrf")
			refuse("no token", c.b, without, "same-origin")
			other := clone(c.form.Fields)
			other.Set("csrf", foreign)
			refuse("another browser's token", c.b, other, "same-origin")
			refuse("another browser", stranger, c.form.Fields, "same-origin")
			refuse("no cookie", s.NewBrowser(), c.form.Fields, "same-origin")
			for _, field := range []string{"request_uri", "request", "grant", "installation"} {
				if c.form.Fields.Has(field) {
					moved := clone(c.form.Fields)
					moved.Set(field, "x")
					refuse("a token for another "+field, c.b, moved, "same-origin")
				}
			}
			r := s.FormRequest("", c.form.Fields)
			r.URL, _ = url.Parse(c.form.Action)
			for _, cookie := range c.b.Cookies() {
				r.AddCookie(cookie)
			}
			r.Header.Set("Origin", "https://evil.test") // a browser without Sec-Fetch-Site
			shows(t, s.Do(r), oauth.CrossSite)
			s.Expect(n)

			res := c.b.Post(c.form.Action, c.form.Fields, "same-origin")
			if c.want != 0 && res.Status != c.want {
				t.Errorf("the right form: %d %s", res.Status, res.Body)
			}
			if s.Size() == n {
				t.Error("the right form did nothing")
			}
		})
	}
}

func clone(v url.Values) url.Values {
	out := url.Values{}
	for k, s := range v {
		out[k] = append([]string(nil), s...)
	}
	return out
}

// TestFormsRefuseBadInput sends malformed forms to every page that takes one.
func TestFormsRefuseBadInput(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Plain)
	n := s.Size()
	for _, path := range []string{"/oauth/signin", "/oauth/consent", oauth.PathHandshake, "/me/revoke", "/me/disown", "/me/signout"} {
		for _, c := range wrongForms() {
			code := c.code
			switch {
			case c.name == "empty":
				code = oauth.CrossSite // no token
			case c.name == "GET" && path == oauth.PathHandshake:
				code = oauth.MissingParameter
			}
			res := c.post(s, tool, path, url.Values{"client_id": {tool.Client}})
			shows(t, res, code)
			if code == oauth.BadMethod && res.Header.Get("Allow") == "" {
				t.Error("no Allow")
			}
			if t.Failed() {
				t.Fatalf("%s %s", path, c.name)
			}
		}
	}
	s.Expect(n)
}

// TestConsentRefuses decides what is not there to be decided.
func TestConsentRefuses(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Handshake)
	tool.Consented()
	form := tool.Browser.Form("Allow")
	n := s.Size()
	form.Fields.Set("decision", "maybe")
	shows(t, tool.Browser.Post(form.Action, form.Fields, "same-origin"), oauth.BadRequest)
	form.Fields.Set("decision", "allow")
	form.Fields.Set("client_id", edgetest.Plain)
	shows(t, tool.Browser.Post(form.Action, form.Fields, "same-origin"), oauth.RequestURIUnknown)
	form.Fields.Set("client_id", tool.Client)
	s.Expect(n)
	tool.Browser.Post(form.Action, form.Fields, "same-origin")
	n = s.Size()
	shows(t, tool.Browser.Post(form.Action, form.Fields, "same-origin"), oauth.RequestDecided)
	s.Expect(n)
}
