package edge_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/oauth"
)

const framePolicy = "; frame-ancestors 'none'; base-uri 'none'"

// TestPageHeaders looks at what keeps a browser from harm, on every page there
// is.
//
// Invariant: CF-2a, CF-2b
func TestPageHeaders(t *testing.T) {
	for _, https := range []bool{false, true} {
		s := edgetest.NewServer(t, edgetest.Options{HTTPS: https})
		pages := everyPage(t, s)
		for name, res := range pages {
			posts := name == "nonce" || name == "code" || name == "denied" || name == "error to the client"
			want := map[string]string{
				"Cache-Control": "no-store", "Pragma": "no-cache", "X-Content-Type-Options": "nosniff",
				"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
				"Content-Type": "text/html; charset=utf-8", "Access-Control-Allow-Origin": "", "Strict-Transport-Security": "",
			}
			if posts {
				want["Referrer-Policy"] = "origin"
			}
			if https {
				want["Strict-Transport-Security"] = "max-age=31536000"
			}
			for header, value := range want {
				if got := res.Header.Get(header); got != value {
					t.Errorf("%s: %s is %q, want %q", name, header, got, value)
				}
			}
			for header := range res.Header {
				if strings.HasPrefix(header, "Access-Control-") {
					t.Errorf("%s: %s", name, header)
				}
			}
			if !strings.Contains(res.Header.Get("Permissions-Policy"), "camera=()") {
				t.Errorf("%s: Permissions-Policy %q", name, res.Header.Get("Permissions-Policy"))
			}
			csp := "default-src 'none'; style-src 'self'; img-src 'self'; "
			if posts {
				csp += "script-src 'sha256-'; "
			}
			csp += "form-action 'self'"
			if posts || name == "consent" {
				csp += " http://127.0.0.1:43210"
			}
			got := regexp.MustCompile(`sha256-[^']*`).ReplaceAllString(res.Header.Get("Content-Security-Policy"), "sha256-")
			if got != csp+framePolicy {
				t.Errorf("%s: policy %q, want %q", name, got, csp+framePolicy)
			}
			if strings.Contains(res.Body, "<script") != posts {
				t.Errorf("%s: script", name)
			}
			if m := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(res.Body, -1); len(m) == 0 {
				t.Errorf("%s: no style", name)
			} else {
				for _, link := range m {
					if !strings.HasPrefix(link[1], "/") {
						t.Errorf("%s: loads or links %s", name, link[1])
					}
				}
			}
		}
	}
}

// everyPage walks through all of them.
func everyPage(t *testing.T, s *edgetest.Server) map[string]*edgetest.Response {
	t.Helper()
	out := map[string]*edgetest.Response{}
	tool := s.NewTool(edgetest.Handshake)
	b := tool.Browser
	out["landing"] = b.Open(s.Issuer + "/")
	out["nothing here"] = b.Open(s.Issuer + "/nothing/here")
	out["sign in at /me"] = b.Open(s.Issuer + "/me")
	tool.Push()
	out["sign in"] = b.Open(tool.AuthorizeURL())
	out["wrong password"] = b.SignIn(edgetest.Email, "wrong password")
	out["consent"] = b.SignIn(edgetest.Email, edgetest.Password)
	out["nonce"] = b.Press("Allow")
	n := tool.Answer().Get("handshake_nonce")
	s.Clock.Advance(grantHandshakeLate)
	out["try again"] = b.Open(tool.HandshakeURL(tool.Key, tool.HandshakeClaims(n)))
	b.Press("Try again")
	n = tool.Answer().Get("handshake_nonce")
	out["code"] = b.Open(tool.HandshakeURL(tool.Key, tool.HandshakeClaims(n)))
	tool.Code = tool.Answer().Get("code")
	tool.Take(tool.Post(oauth.PathToken, tool.RedeemParams()))
	out["handshake failed"] = b.Open(s.Issuer + oauth.PathHandshake + "?handshake=x")
	out["wrong method"] = s.Do(s.FormRequest("/me", nil))
	out["forged"] = b.Post(s.Issuer+"/me/revoke", url.Values{}, "cross-site")
	out["me"] = b.Open(s.Issuer + "/me")
	denied := s.NewTool(edgetest.Handshake)
	denied.Browser = b
	denied.Consented()
	out["denied"] = b.Press("Deny")
	plain := s.NewTool(edgetest.Plain)
	plain.Mode = "form_post"
	plain.Scope = "rule"
	out["error to the client"] = plain.Browser.Open(plain.AuthorizeURL())
	b.Open(s.Issuer + "/me")
	out["signed out"] = b.Press("Sign out")
	return out
}

// TestNoRedirectKeepsMethod looks at every redirect after a form: 303, and never
// cached.
//
// Invariant: CF-2c
func TestNoRedirectKeepsMethod(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Plain)
	b := tool.Browser
	check := func(what string, r *http.Request) {
		t.Helper()
		for _, c := range b.Cookies() {
			r.AddCookie(c)
		}
		res := s.Do(r)
		if res.Status != http.StatusSeeOther || res.Header.Get("Cache-Control") != "no-store" || res.Header.Get("Referrer-Policy") != "no-referrer" || res.Body != "" {
			t.Errorf("%s: %d %v %s", what, res.Status, res.Header, res.Body)
		}
	}
	check("authorize", get(t, s, strings.TrimPrefix(tool.AuthorizeURL(), s.Issuer)))
	check("authorize by POST", s.FormRequest(oauth.PathAuthorize, tool.Params()))
	b.Open(tool.AuthorizeURL())
	f := b.Form("Sign in")
	f.Fields.Set("email", edgetest.Email)
	f.Fields.Set("password", edgetest.Password)
	check("sign in", s.FormRequest("/oauth/signin", f.Fields))
	tool.Consented()
	check("consent", s.FormRequest("/oauth/consent", b.Form("Allow").Fields))
	done := s.NewTool(edgetest.Bound)
	done.Browser = b
	done.Login()
	b.Open(s.Issuer + "/me")
	check("revoke", s.FormRequest("/me/revoke", b.Form("Revoke").Fields))
}

// TestDocumentHeaders looks at what programs read: never cached, but what is
// public; never readable by other sites, but what is public.
//
// Invariant: CF-2a
func TestDocumentHeaders(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{HTTPS: true})
	for path, want := range map[string][2]string{
		oauth.WellKnownOAuth:           {"public, max-age=300", "*"},
		oauth.WellKnownOIDC:            {"public, max-age=300", "*"},
		oauth.PathJWKS:                 {"public, max-age=900", "*"},
		"/healthz":                     {"no-store", ""},
		"/readyz":                      {"no-store", ""},
		oauth.PathToken:                {"no-store", ""},
		oauth.PathPAR:                  {"no-store", ""},
		oauth.PathIntrospect:           {"no-store", ""},
		oauth.PathAPI + "/whoami":      {"no-store", ""},
		oauth.PathAPI + "/not/there":   {"no-store", ""},
		"/static/nothing":              {"no-store", ""},
		oauth.PathRevoke + "/too/deep": {"no-store", ""},
	} {
		r := get(t, s, path)
		r.Header.Set("Origin", "https://other.test")
		res := s.Do(r)
		if got := [2]string{res.Header.Get("Cache-Control"), res.Header.Get("Access-Control-Allow-Origin")}; got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
		if res.Header.Get("Strict-Transport-Security") == "" || res.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, res.Header)
		}
		r.Method = http.MethodOptions
		if res := s.Do(r); res.Header.Get("Access-Control-Allow-Methods") != "" || res.Status < 400 {
			t.Errorf("%s: a preflight is answered %d", path, res.Status)
		}
	}
	b := s.NewBrowser()
	b.Open(s.Issuer + "/")
	for _, m := range regexp.MustCompile(`"(/static/[0-9a-f]{20}\.(?:css|svg))"`).FindAllStringSubmatch(b.Page.Body, -1) {
		res := s.Do(get(t, s, m[1]))
		if res.Status != http.StatusOK || res.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
			t.Errorf("%s: %d %v", m[1], res.Status, res.Header)
		}
	}
}

// TestSecondSpellings asks for paths that the mux of the standard library would
// redirect, with a 307 that repeats the form.
//
// Invariant: CF-2c
func TestSecondSpellings(t *testing.T) {
	for _, base := range []string{"", "/t/lab"} {
		s := edgetest.NewServer(t, edgetest.Options{Path: base})
		for _, path := range []string{
			"//oauth/signin", "/oauth//signin", "/oauth/./signin", "/x/../oauth/signin", "/oauth/signin/", "/oauth/token/",
			oauth.PathAPI, oauth.PathAPI + "/", oauth.PathAPI + "//whoami", "/nowhere/", "/static",
		} {
			r := s.FormRequest("/x", url.Values{"password": {"x"}})
			r.URL.Path = base + path
			if res := s.Do(r); res.Status != http.StatusNotFound || res.Header.Get("Location") != "" {
				t.Errorf("%s: %d to %q", base+path, res.Status, res.Header.Get("Location"))
			}
		}
		r := get(t, s, "")
		if res := s.Do(r); res.Status != http.StatusOK {
			t.Errorf("the issuer itself: %d", res.Status)
		}
	}
}
