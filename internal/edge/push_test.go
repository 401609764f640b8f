package edge_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/oauth"
)

// TestPushRefuses sends one wrong thing at a time in a pushed authorization
// request.
//
// Invariant: CF-1a, CF-3a, CF-8a, DP-18d, DP-18e, TK-21a
func TestPushRefuses(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	set := func(name, value string) func(*edgetest.Tool, url.Values) {
		return func(_ *edgetest.Tool, f url.Values) { f.Set(name, value) }
	}
	drop := func(name string) func(*edgetest.Tool, url.Values) {
		return func(_ *edgetest.Tool, f url.Values) { f.Del(name) }
	}
	cases := append(wrongForms(), wrongProofs(s, oauth.PathPAR)...)
	cases = append(cases, []wrong{
		{name: "no client", form: drop("client_id"), code: oauth.MissingParameter},
		{name: "unknown client", form: set("client_id", "nobody"), code: oauth.UnknownClient},
		{name: "Basic", send: func(_ *edgetest.Tool, r *http.Request) { r.SetBasicAuth(edgetest.Handshake, "x") }, code: oauth.ClientAuthentication},
		{name: "client_assertion", form: set("client_assertion", "x"), code: oauth.ClientAuthentication},
		{name: "request_uri", form: set("request_uri", "urn:ietf:params:oauth:request_uri:x"), code: oauth.RequestURIRefused},
		{name: "request object", form: set("request", "x"), code: oauth.UnsupportedRequestJWTs},
		{name: "no redirect_uri", form: drop("redirect_uri"), code: oauth.RedirectMismatch},
		{name: "other path", form: set("redirect_uri", "http://127.0.0.1:43210/other"), code: oauth.RedirectMismatch},
		{name: "other loopback address", form: set("redirect_uri", "http://127.0.0.2:43210/callback"), code: oauth.RedirectMismatch},
		{name: "localhost", form: set("redirect_uri", "http://localhost:43210/callback"), code: oauth.RedirectMismatch},
		{name: "https on loopback", form: set("redirect_uri", "https://127.0.0.1:43210/callback"), code: oauth.RedirectMismatch},
		{name: "plain http elsewhere", form: set("redirect_uri", "http://tool.example.test/callback"), code: oauth.RedirectMismatch},
		{name: "loopback as user", form: set("redirect_uri", "http://127.0.0.1:80@evil.test/callback"), code: oauth.RedirectMismatch},
		{name: "query added", form: set("redirect_uri", edgetest.Redirect+"?x=1"), code: oauth.RedirectMismatch},
		{name: "fragment added", form: set("redirect_uri", edgetest.Redirect+"#x"), code: oauth.RedirectMismatch},
		{name: "no response_type", form: drop("response_type"), code: oauth.MissingParameter},
		{name: "response_type token", form: set("response_type", "token"), code: oauth.UnsupportedResponse},
		{name: "response_type code id_token", form: set("response_type", "code id_token"), code: oauth.UnsupportedResponse},
		{name: "response_mode query", form: set("response_mode", "query"), code: oauth.UnsupportedMode},
		{name: "response_mode fragment", form: set("response_mode", "fragment"), code: oauth.UnsupportedMode},
		{name: "no challenge", form: drop("code_challenge"), code: oauth.ChallengeRequired},
		{name: "plain", form: set("code_challenge_method", "plain"), code: oauth.ChallengeMethod},
		{name: "no method", form: drop("code_challenge_method"), code: oauth.ChallengeMethod},
		{name: "short challenge", form: set("code_challenge", "abc"), code: oauth.ChallengeMethod},
		{name: "unknown scope", form: set("scope", "rule"), code: oauth.ScopeUnknown},
		{name: "malformed scope", form: set("scope", `re"ad`), code: oauth.ScopeUnknown},
		{name: "oversized scope", form: set("scope", strings.Repeat("x", oauth.MaxScope+1)), code: oauth.TooLarge},
		{name: "oversized state", form: set("state", strings.Repeat("x", oauth.MaxState+1)), code: oauth.TooLarge},
		{name: "unknown resource", form: set("resource", "https://nowhere.example.test"), code: oauth.ResourceUnknown},
		{name: "two resources", form: func(_ *edgetest.Tool, f url.Values) { f["resource"] = []string{edgetest.API, edgetest.OpenAPI} }, code: oauth.ResourceSeveral},
		{name: "resource with fragment", form: set("resource", edgetest.API+"#x"), code: oauth.ResourceUnknown},
		{name: "relative resource", form: set("resource", "api"), code: oauth.ResourceUnknown},
		{name: "unknown prompt", form: set("prompt", "select_account"), code: oauth.PromptUnsupported},
		{name: "max_age", form: set("max_age", "-1"), code: oauth.BadRequest},
		{name: "dpop_jkt of another key", form: set("dpop_jkt", edgetest.Random()), code: oauth.ProofInvalid},
	}...)
	tool := s.NewTool(edgetest.Handshake)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tool.Nonce = s.Auth.Nonce()
			n := s.Size()
			res := c.post(s, tool, oauth.PathPAR, tool.Params())
			refused(t, res, c.code)
			s.Expect(n)
			if res.Header.Get("DPoP-Nonce") == "" && c.code != oauth.BadMethod {
				t.Error("no DPoP-Nonce")
			}
			if strings.Contains(res.Body, "urn:ietf:params:oauth:request_uri:ktu_") {
				t.Error("a request_uri was given")
			}
		})
	}
}

// TestPush looks at what is answered, and that nothing is recorded before a
// person opens it.
//
// Invariant: CF-8c
func TestPush(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Handshake)
	n := s.Size()
	res := tool.Push()
	if res.Status != http.StatusCreated || !strings.HasPrefix(tool.RequestURI, "urn:ietf:params:oauth:request_uri:ktu_") || !strings.Contains(res.Body, `"expires_in":600`) {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if res.Header.Get("DPoP-Nonce") == "" || res.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", res.Header)
	}
	tool.Browser.Open(tool.AuthorizeURL())
	tool.Browser.Open(tool.AuthorizeURL()) // reloads, prefetches and scanners change nothing
	tool.Browser.Has(t, http.StatusOK, "Sign in")
	s.Expect(n)
	for _, redirect := range []string{edgetest.Redirect6, "http://127.0.0.1:1/callback", "http://127.0.0.1/callback"} {
		tool.Redirect = redirect
		if res := tool.Push(); res.Status != http.StatusCreated {
			t.Errorf("%s: %d %s", redirect, res.Status, res.Body)
		}
	}
}
