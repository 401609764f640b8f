package edge_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
)

// TestRevoke ends a token of each kind.
//
// Invariant: TK-25a, TK-25b
func TestRevoke(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Handshake)
	tool.Login()
	other := codeFor(s, edgetest.Plain, tool.Browser)
	other.Take(other.Post(oauth.PathToken, other.RedeemParams()))
	form := func(token, client string) url.Values {
		return url.Values{"token": {token}, "client_id": {client}}
	}
	for _, c := range []wrong{
		{name: "no token", form: func(_ *edgetest.Tool, f url.Values) { f.Del("token") }, code: oauth.MissingParameter},
		{name: "no client", form: func(_ *edgetest.Tool, f url.Values) { f.Del("client_id") }, code: oauth.MissingParameter},
		{name: "unknown client", form: func(_ *edgetest.Tool, f url.Values) { f.Set("client_id", "x") }, code: oauth.UnknownClient},
		{name: "other client's refresh token", form: func(_ *edgetest.Tool, f url.Values) { f.Set("token", other.Token.RefreshToken) }, code: oauth.UnauthorizedClient},
		{name: "other client's access token", form: func(_ *edgetest.Tool, f url.Values) { f.Set("token", other.Token.AccessToken) }, code: oauth.UnauthorizedClient},
		{name: "token in the query", form: func(_ *edgetest.Tool, f url.Values) { f.Del("token") }, code: oauth.MissingParameter, send: func(tool *edgetest.Tool, r *http.Request) {
			r.URL.RawQuery = url.Values{"token": {tool.Token.RefreshToken}}.Encode()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := s.Size()
			refused(t, c.post(s, tool, oauth.PathRevoke, form(tool.Token.RefreshToken, edgetest.Handshake)), c.code)
			s.Expect(n)
		})
	}
	for _, c := range wrongForms() {
		t.Run(c.name, func(t *testing.T) {
			n := s.Size()
			refused(t, c.post(s, tool, oauth.PathRevoke, form(tool.Token.RefreshToken, edgetest.Handshake)), c.code)
			s.Expect(n)
		})
	}
	gone := func(token string, want ...event.Name) {
		t.Helper()
		n := s.Size()
		res := s.Do(s.FormRequest(oauth.PathRevoke, form(token, edgetest.Handshake)))
		if res.Status != http.StatusOK || res.Body != "" {
			t.Errorf("%d %q", res.Status, res.Body)
		}
		s.Expect(n, want...)
	}
	gone("nonsense")
	gone("ktr_" + strings.Repeat("0", 98))
	gone(tool.Token.GrantID)
	gone(tool.Token.AccessToken, event.TokenRevoked)
	gone(tool.Token.AccessToken) // a token that is held fills no log
	gone(tool.Token.RefreshToken, event.GrantRevoked)
	gone(tool.Token.RefreshToken)
	refused(t, tool.Post(oauth.PathToken, tool.RefreshParams()), oauth.GrantEnded)
	other.Take(other.Post(oauth.PathToken, other.RefreshParams()))
}

// TestIntrospect asks about tokens, rightly and wrongly. It never records
// anything.
//
// Invariant: TK-25c
func TestIntrospect(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Handshake)
	tool.Login()
	foreign := codeFor(s, edgetest.Plain, tool.Browser) // of another resource
	foreign.Take(foreign.Post(oauth.PathToken, foreign.RedeemParams()))
	n := s.Size()
	for name, form := range wrongAssertions(t, s, oauth.PathIntrospect) {
		form.Set("token", tool.Token.AccessToken)
		res := s.Do(s.FormRequest(oauth.PathIntrospect, form))
		if res.Status != http.StatusUnauthorized || res.Header.Get("WWW-Authenticate") == "" || strings.Contains(res.Body, "active") {
			t.Errorf("%s: %d %s", name, res.Status, res.Body)
		}
	}
	ask := func(token string) string {
		t.Helper()
		res := s.Do(s.FormRequest(oauth.PathIntrospect, s.ResourceForm(oauth.PathIntrospect, "token", token)))
		if res.Status != http.StatusOK {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		return res.Body
	}
	var got oauth.Introspection
	if err := json.Unmarshal([]byte(ask(tool.Token.AccessToken)), &got); err != nil {
		t.Fatal(err)
	}
	if !got.Active || got.Aud != edgetest.API || got.ClientID != edgetest.Handshake || got.TokenType != "DPoP" ||
		got.Cnf == nil || got.Cnf.JKT != tool.Key.Public().Thumbprint() || got.SID != tool.Token.GrantID {
		t.Errorf("introspection %+v", got)
	}
	const inactive = `{"active":false}`
	for name, token := range map[string]string{
		"another resource's": foreign.Token.AccessToken, "refresh token": tool.Token.RefreshToken,
		"nonsense": "x", "grant id": tool.Token.GrantID,
	} {
		if got := ask(token); got != inactive {
			t.Errorf("%s: %s", name, got)
		}
	}
	refused(t, s.Do(s.FormRequest(oauth.PathIntrospect, s.ResourceForm(oauth.PathIntrospect))), oauth.MissingParameter)
	for _, c := range wrongForms() {
		if c.name == "empty" {
			continue // who asks comes first
		}
		refused(t, c.post(s, tool, oauth.PathIntrospect, s.ResourceForm(oauth.PathIntrospect)), c.code)
	}
	s.Expect(n)
	s.Clock.Advance(5 * time.Minute)
	if got := ask(tool.Token.AccessToken); got != inactive {
		t.Errorf("expired: %s", got)
	}
}

// wrongAssertions are forms of a caller that does not prove to be the resource
// server API (RFC 7523 §3).
func wrongAssertions(t *testing.T, s *edgetest.Server, path string) map[string]url.Values {
	t.Helper()
	used := s.ResourceForm(path, "token", "x")
	if res := s.Do(s.FormRequest(oauth.PathIntrospect, s.ResourceForm(oauth.PathIntrospect, "token", "x"))); res.Status != http.StatusOK {
		t.Fatalf("a right assertion: %d %s", res.Status, res.Body)
	}
	now := s.Clock.Now().Unix()
	claims := func(change func(map[string]any)) url.Values {
		c := map[string]any{"iss": edgetest.API, "sub": edgetest.API, "aud": s.Issuer, "jti": edgetest.Random(), "exp": now + 60}
		change(c)
		f := s.ResourceForm(path)
		f.Set("client_assertion", s.AssertionBy(s.API, c))
		return f
	}
	forged := s.ResourceForm(path)
	forged.Set("client_assertion", s.AssertionBy(edgetest.NewKey(t, "rs"), map[string]any{
		"iss": edgetest.API, "sub": edgetest.API, "aud": s.Issuer, "jti": edgetest.Random(), "exp": now + 60,
	}))
	typeless := s.ResourceForm(path)
	typeless.Del("client_assertion_type")
	if res := s.Do(s.FormRequest(path, used)); res.Status == http.StatusUnauthorized {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	return map[string]url.Values{
		"no client":        {},
		"a public client":  {"client_id": {edgetest.Handshake}},
		"no type":          typeless,
		"no JWS":           {"client_assertion_type": used["client_assertion_type"], "client_assertion": {"x"}},
		"replayed":         used,
		"another's key":    forged,
		"other sub":        claims(func(c map[string]any) { c["sub"] = edgetest.OpenAPI }),
		"without identity": claims(func(c map[string]any) { c["iss"], c["sub"] = edgetest.OpenAPI, edgetest.OpenAPI }),
		"unknown":          claims(func(c map[string]any) { c["iss"], c["sub"] = "https://x.test", "https://x.test" }),
		"other aud":        claims(func(c map[string]any) { c["aud"] = "https://x.test" }),
		"two auds":         claims(func(c map[string]any) { c["aud"] = []string{s.Issuer, "https://x.test"} }),
		"no aud":           claims(func(c map[string]any) { delete(c, "aud") }),
		"expired":          claims(func(c map[string]any) { c["exp"] = now - 120 }),
		"no exp":           claims(func(c map[string]any) { delete(c, "exp") }),
		"exp far ahead":    claims(func(c map[string]any) { c["exp"] = now + 86400 }),
		"not yet":          claims(func(c map[string]any) { c["nbf"] = now + 600 }),
		"no jti":           claims(func(c map[string]any) { delete(c, "jti") }),
	}
}
