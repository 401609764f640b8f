package edge_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
)

// nonce brings a login with the handshake to its nonce.
func nonce(t *testing.T, s *edgetest.Server) (*edgetest.Tool, string) {
	t.Helper()
	tool := s.NewTool(edgetest.Handshake)
	tool.Consented()
	tool.Browser.Press("Allow")
	got := tool.Answer()
	if got.Get("code") != "" || got.Get("handshake_nonce") == "" || got.Get("iss") != s.Issuer || got.Get("state") != tool.State || len(got) != 3 {
		t.Fatalf("the listener got %v", got)
	}
	return tool, got.Get("handshake_nonce")
}

// TestHandshakeRefuses brings answers that are wrong in one thing. None gets a
// code, nothing is recorded, and the right answer still does.
//
// Invariant: HS-1, HS-5, HS-6
func TestHandshakeRefuses(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{HTTPS: true})
	tool, n := nonce(t, s)
	size := s.Size()
	open := func(b *edgetest.Browser, target string) *edgetest.Response {
		t.Helper()
		res := b.Open(target)
		if strings.Contains(res.Body, "ktc_") || b.Outside != "" {
			t.Errorf("a code was given: %s", res.Body)
		}
		return res
	}
	for claim, value := range map[string]any{
		"iss": edgetest.Plain, "aud": "https://other.test", "redirect_uri": edgetest.Redirect6,
		"nonce_hash": edgetest.Hash("x"),
	} {
		claims := tool.HandshakeClaims(n)
		claims[claim] = value
		shows(t, open(tool.Browser, tool.HandshakeURL(tool.Key, claims)), oauth.HandshakeFailed)
		delete(claims, claim)
		shows(t, open(tool.Browser, tool.HandshakeURL(tool.Key, claims)), oauth.HandshakeFailed)
	}
	claims := tool.HandshakeClaims(n)
	claims["request_uri_hash"] = edgetest.Hash("x")
	shows(t, open(tool.Browser, tool.HandshakeURL(tool.Key, claims)), oauth.RequestURIUnknown)
	right := tool.HandshakeURL(tool.Key, tool.HandshakeClaims(n))
	shows(t, open(tool.Browser, tool.HandshakeURL(edgetest.NewKey(t, ""), tool.HandshakeClaims(n))), oauth.HandshakeFailed)
	shows(t, open(s.NewBrowser(), right), oauth.OtherBrowser)

	// A browser that is signed in as the same person, but did not consent.
	other := s.NewTool(edgetest.Plain)
	other.Login()
	shows(t, open(other.Browser, right), oauth.OtherBrowser)

	// The same, with a cookie of another request under the name of this one's,
	// and with this one's cookie itself.
	request, own := "", ""
	for _, c := range tool.Browser.Cookies() {
		if strings.HasPrefix(c.Name, "__Host-kt-default-r-") {
			request, own = c.Name, c.Value
		}
	}
	for _, c := range other.Browser.Cookies() {
		if strings.HasPrefix(c.Name, "__Host-kt-default-r-") {
			other.Browser.SetCookie(request, c.Value)
		}
	}
	shows(t, open(other.Browser, right), oauth.OtherBrowser)
	other.Browser.SetCookie(request, own)
	shows(t, open(other.Browser, right), oauth.OtherBrowser)

	for query, code := range map[string]oauth.Code{
		"":             oauth.MissingParameter,
		"?handshake=":  oauth.MissingParameter,
		"?handshake=x": oauth.HandshakeFailed,
		"?handshake=" + tool.Proof(http.MethodGet, s.Issuer, "", ""): oauth.HandshakeFailed,
		"?handshake=x&handshake=y":                                   oauth.DuplicateParameter,
		"?handshake=%zz":                                             oauth.BadRequest,
		"?handshake=" + strings.Repeat("x", oauth.MaxParam+1):        oauth.TooLarge,
	} {
		shows(t, open(tool.Browser, s.Issuer+oauth.PathHandshake+query), code)
	}
	u, _ := url.Parse(right)
	head := s.FormRequest("", nil)
	head.Method, head.URL, head.Body, head.ContentLength = http.MethodHead, u, nil, 0
	for _, c := range tool.Browser.Cookies() {
		head.AddCookie(c)
	}
	if res := s.Do(head); res.Status != http.StatusMethodNotAllowed {
		t.Errorf("HEAD: %d", res.Status)
	}
	if got := s.Since(size); len(got) != 7 { // the other login alone
		t.Errorf("recorded %v", s.Events(size))
	}

	size = s.Size()
	tool.Browser.Open(right)
	tool.Code = tool.Answer().Get("code")
	s.Expect(size, event.CodeIssued)
	size = s.Size()
	shows(t, open(tool.Browser, right), oauth.RequestDecided) // once
	s.Expect(size)
	tool.Take(tool.Post(oauth.PathToken, tool.RedeemParams()))
}

// TestHandshakeLate answers after three seconds, and tries again with a new
// nonce. The old one is worth nothing then.
//
// Invariant: HS-3
func TestHandshakeLate(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool, n := nonce(t, s)
	s.Clock.Advance(grantHandshakeLate)
	size := s.Size()
	res := tool.Browser.Open(tool.HandshakeURL(tool.Key, tool.HandshakeClaims(n)))
	tool.Browser.Has(t, http.StatusOK, "That took too long")
	if strings.Contains(res.Body, "ktc_") {
		t.Error("a code was given")
	}
	s.Expect(size)

	form := tool.Browser.Form("Try again")
	other := s.NewTool(edgetest.Plain)
	other.Login()
	size = s.Size()
	other.Browser.Open(tool.HandshakeURL(tool.Key, tool.HandshakeClaims(n)))
	shows(t, other.Browser.Post(form.Action, form.Fields, "same-origin"), oauth.CrossSite)
	s.Expect(size)

	tool.Browser.Press("Try again")
	s.Expect(size, event.HandshakeNonce)
	again := tool.Answer().Get("handshake_nonce")
	if again == "" || again == n {
		t.Fatal("no new nonce")
	}
	size = s.Size()
	shows(t, tool.Browser.Open(tool.HandshakeURL(tool.Key, tool.HandshakeClaims(n))), oauth.HandshakeFailed)
	s.Expect(size)
	s.Clock.Advance(grant.HandshakeLife)
	tool.Browser.Open(tool.HandshakeURL(tool.Key, tool.HandshakeClaims(again)))
	tool.Code = tool.Answer().Get("code")
	tool.Take(tool.Post(oauth.PathToken, tool.RedeemParams()))
}

// TestHandshakeSecretsStayOutOfURLs looks at every URL of a login.
//
// Invariant: HS-2
func TestHandshakeSecretsStayOutOfURLs(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool, n := nonce(t, s)
	if tool.Browser.URL != s.Issuer+"/oauth/consent" || tool.Browser.Outside != "" {
		t.Errorf("the nonce is shown at %s", tool.Browser.URL)
	}
	u := tool.HandshakeURL(tool.Key, tool.HandshakeClaims(n))
	if strings.Contains(u, n) {
		t.Error("the nonce is in a URL")
	}
	tool.Browser.Open(u)
	if code := tool.Answer().Get("code"); code == "" || strings.Contains(tool.Browser.URL, code) || tool.Browser.Outside != "" {
		t.Errorf("the code is shown at %s", tool.Browser.URL)
	}
}
