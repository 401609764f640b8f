package oauth

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func code(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func TestParseParams(t *testing.T) {
	p, err := ParseParams("a=1&b=x%20y+z&empty=&resource=https%3A%2F%2Fa.test&resource=https%3A%2F%2Fb.test&&novalue")
	if err != nil {
		t.Fatal(err)
	}
	if p.Get("a") != "1" || p.Get("b") != "x y z" || p.Get("empty") != "" || p.Get("novalue") != "" {
		t.Errorf("%+v", p)
	}
	if _, err := p.Resource(); code(err) != ResourceSeveral {
		t.Errorf("two resources: %v", err)
	}
	if _, err := p.Need("empty"); code(err) != MissingParameter {
		t.Errorf("an empty value counts as absent: %v", err)
	}
	for in, want := range map[string]Code{
		"a=1&a=2":                               DuplicateParameter,
		"a=1&%61=2":                             DuplicateParameter,
		"a=%zz":                                 BadRequest,
		"=x":                                    BadRequest,
		"a=%00":                                 BadRequest,
		"a=" + strings.Repeat("x", MaxParam+1):  TooLarge,
		strings.Repeat("x", MaxBody+1):          TooLarge,
		strings.Repeat("a&", MaxParams+1) + "b": DuplicateParameter,
	} {
		if _, err := ParseParams(in); code(err) != want {
			t.Errorf("%.40q: %v, want %s", in, err, want)
		}
	}
	var many []string
	for i := range MaxParams + 1 {
		many = append(many, "p"+strconv.Itoa(i)+"=1")
	}
	if _, err := ParseParams(strings.Join(many, "&")); code(err) != TooLarge {
		t.Errorf("too many: %v", err)
	}
}

// A name from outside never reaches an error_description unfit for it (RFC 6749
// §5.2), nor does a value.
func TestErrorNamesOnlyWhatIsFit(t *testing.T) {
	_, err := ParseParams("a%0d%0a%22%5c<b>=1&a%0d%0a%22%5c<b>=2")
	_, body := ResponseOf(err)
	if strings.ContainsAny(body.Description, "\r\n\"\\") {
		t.Errorf("%q", body.Description)
	}
}

func FuzzParseParams(f *testing.F) {
	for _, s := range []string{"a=1&b=2", "resource=x&resource=y", "%", "a=%2", "scope=a+b", "=", "&&&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseParams(s)
		if err != nil {
			return
		}
		std, err := url.ParseQuery(strings.ReplaceAll(s, ";", "%3B"))
		if err != nil {
			t.Fatalf("%q: we read it, net/url does not: %v", s, err)
		}
		for k, v := range p.values {
			if len(std[k]) != 1 || std[k][0] != v {
				t.Fatalf("%q: %s is %q, net/url says %q", s, k, v, std[k])
			}
		}
	})
}

func TestParseScope(t *testing.T) {
	got, err := ParseScope("read write read")
	if err != nil || !slices.Equal(got, []string{"read", "write"}) {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{" read", "read ", "a  b", "a\tb", `a"b`, `a\b`, "ä", strings.Repeat("a", MaxScope+1)} {
		if _, err := ParseScope(bad); err == nil {
			t.Errorf("%.20q accepted", bad)
		}
	}
}

// RFC 7636 appendix B, and the bounds of §4.1 and §4.2.
//
// Invariant: CF-3a
// Invariant: CF-3b
func TestPKCE(t *testing.T) {
	const verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	if got, err := Challenge(verifier); err != nil || got != challenge {
		t.Errorf("%s %v", got, err)
	}
	for _, bad := range []string{"", strings.Repeat("a", 42), strings.Repeat("a", 129), strings.Repeat("a", 42) + "+", strings.Repeat("a", 42) + "ä"} {
		if _, err := Challenge(bad); err == nil {
			t.Errorf("verifier %.10q of %d accepted", bad, len(bad))
		}
	}
	if err := CheckChallenge(challenge, "S256"); err != nil {
		t.Error(err)
	}
	for _, c := range []struct{ challenge, method string }{
		{"", "S256"},
		{challenge, ""},
		{challenge, "plain"},
		{challenge, "s256"},
		{challenge[:42], "S256"},
		{challenge + "a", "S256"},
		{strings.Repeat("=", 43), "S256"},
		{challenge[:42] + "N", "S256"}, // not canonical
	} {
		if CheckChallenge(c.challenge, c.method) == nil {
			t.Errorf("%q by %q accepted", c.challenge, c.method)
		}
	}
	if m := MetadataFor("https://auth.test", nil); !slices.Equal(m.CodeChallengeMethods, []string{"S256"}) {
		t.Errorf("metadata: %v", m.CodeChallengeMethods)
	}
}

// Invariant: CF-1a
func TestMatchRedirect(t *testing.T) {
	const v4, v6, web, app = "http://127.0.0.1/callback", "http://[::1]/callback", "https://tool.test/cb", "com.example.tool:/cb"
	for _, c := range []struct {
		registered, given string
		want              bool
	}{
		{v4, v4, true},
		{v4, "http://127.0.0.1:1/callback", true},
		{v4, "http://127.0.0.1:65535/callback", true},
		{v6, "http://[::1]:49152/callback", true},
		{"http://127.0.0.1:8000/callback", "http://127.0.0.1:9000/callback", true},
		{v4, "http://127.0.0.1:/callback", false},
		{v4, "http://127.0.0.1:080/callback", false},
		{v4, "http://127.0.0.1:123456/callback", false},
		{v4, "http://127.0.0.1:65536/callback", false},
		{v4, "http://127.0.0.1:80@evil.test/callback", false},
		{v4, "http://127.0.0.1@evil.test/callback", false},
		{v4, "http://127.0.0.1.evil.test/callback", false},
		{v4, "http://127.0.0.1:1/callback/", false},
		{v4, "http://127.0.0.1:1/callback?x=1", false},
		{v4, "http://127.0.0.1:1/callback#x", false},
		{v4, "http://127.0.0.1:1/Callback", false},
		{v4, "http://127.0.0.1:1/%63allback", false},
		{v4, "https://127.0.0.1:1/callback", false},
		{v4, "http://127.0.0.2:1/callback", false},
		{v4, "http://localhost:1/callback", false},
		{v4, "http://[::1]:1/callback", false},
		{v6, v4, false},
		{v6, "http://[0:0:0:0:0:0:0:1]:1/callback", false},
		{v4, "HTTP://127.0.0.1:1/callback", false},
		{web, web, true},
		{web, "https://tool.test:443/cb", false},
		{web, "https://tool.test/cb?x", false},
		{app, app, true},
		{app, "com.example.tool:/cb2", false},
	} {
		if got := MatchRedirect(c.registered, c.given); got != c.want {
			t.Errorf("%s for %s: %t", c.given, c.registered, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		given := rapid.StringMatching(`https?://(127\.0\.0\.1|\[::1\]|localhost)(:[0-9]{0,6})?[/?#@.a-z]{0,12}`).Draw(t, "given")
		if !MatchRedirect(v4, given) {
			return
		}
		u, err := url.Parse(given)
		if err != nil || u.Scheme != "http" || u.Hostname() != "127.0.0.1" || u.Path != "/callback" || u.RawQuery != "" || u.User != nil {
			t.Fatalf("%q matched", given)
		}
	})
}

// Invariant: CF-1b
func TestCheckRedirect(t *testing.T) {
	for _, ok := range []string{"http://127.0.0.1/callback", "http://[::1]/cb", "https://tool.test/cb", "com.example.tool:/cb"} {
		if err := CheckRedirect(ok); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "/cb", "http://tool.test/cb", "http://localhost/cb", "https://tool.test/cb#x", "https:///cb", "tool:/cb", "javascript:alert(1)", "https://u@tool.test/cb", "https://tool.test/" + strings.Repeat("a", MaxURI)} {
		if CheckRedirect(bad) == nil {
			t.Errorf("%.40s accepted", bad)
		}
	}
}

// Invariant: TK-21a
func TestResource(t *testing.T) {
	for _, c := range []struct {
		query string
		want  Code
	}{
		{"", ""},
		{"resource=https%3A%2F%2Fapi.test%2Fv1", ""},
		{"resource=urn%3Aexample%3Aapi", ""},
		{"resource=https%3A%2F%2Fapi.test%23x", ResourceUnknown},
		{"resource=https%3A%2F%2Fapi.test%23", ResourceUnknown},
		{"resource=%2Fapi", ResourceUnknown},
		{"resource=api.test", ResourceUnknown},
		{"resource=https%3A%2F%2Fa.test&resource=https%3A%2F%2Fb.test", ResourceSeveral},
	} {
		p, err := ParseParams(c.query)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Resource()
		if code(err) != c.want {
			t.Errorf("%s: %v, want %s", c.query, err, c.want)
		}
		if err != nil {
			if pr, _ := ProblemOf(err); pr.Error != "invalid_target" {
				t.Errorf("%s is answered %s", c.query, pr.Error)
			}
		}
	}
}

// Invariant: CF-9
func TestDecodeMetadata(t *testing.T) {
	good := MetadataFor("https://auth.test", []string{"read"})
	raw, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := DecodeMetadata("https://auth.test", raw); err != nil || m.TokenEndpoint != good.TokenEndpoint {
		t.Errorf("%v %v", m, err)
	}
	for _, other := range []string{"https://auth.test/", "https://AUTH.test", "http://auth.test", "https://auth.test/t/x", ""} {
		if _, err := DecodeMetadata(other, raw); err == nil {
			t.Errorf("accepted for %q", other)
		}
	}
	for name, change := range map[string]func(*Metadata){
		"token endpoint over http":    func(m *Metadata) { m.TokenEndpoint = "http://auth.test/t" },
		"handshake at another origin": func(m *Metadata) { m.HandshakeEndpoint = "https://evil.test/h" },
		"feed at another port":        func(m *Metadata) { m.RevocationFeedEndpoint = "https://auth.test:444/r" },
		"endpoint with fragment":      func(m *Metadata) { m.AuthorizationEndpoint += "#x" },
		"endpoint without host":       func(m *Metadata) { m.JWKSURI = "https:///jwks" },
	} {
		m := good
		change(&m)
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeMetadata("https://auth.test", raw); err == nil {
			t.Error(name + " accepted")
		}
	}
}

func FuzzDecodeMetadata(f *testing.F) {
	raw, err := json.Marshal(MetadataFor("https://auth.test", nil))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := DecodeMetadata("https://auth.test", b); err == nil && m.Issuer != "https://auth.test" {
			t.Fatal("another issuer")
		}
	})
}

func TestMetadataURL(t *testing.T) {
	for _, c := range []struct{ issuer, kind, want string }{
		{"https://auth.test", WellKnownOAuth, "https://auth.test/.well-known/oauth-authorization-server"},
		{"https://auth.test/t/x", WellKnownOAuth, "https://auth.test/.well-known/oauth-authorization-server/t/x"},
		{"https://auth.test/t/x", WellKnownOIDC, "https://auth.test/t/x/.well-known/openid-configuration"},
	} {
		if got := MetadataURL(c.issuer, c.kind); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// No password grant and no implicit grant are offered (RFC 9700 §2.4, §2.1.2).
//
// Invariant: CF-5a
func TestMetadataOffersNoWeakGrant(t *testing.T) {
	m := MetadataFor("https://auth.test", nil)
	if !slices.Equal(m.ResponseTypesSupported, []string{"code"}) || !slices.Equal(m.GrantTypesSupported, []string{"authorization_code", "refresh_token", GrantDeviceCode}) {
		t.Errorf("%v %v", m.ResponseTypesSupported, m.GrantTypesSupported)
	}
}

func TestCheckIssuer(t *testing.T) {
	for _, ok := range []string{"https://auth.test", "https://auth.test:8443/t/x", "http://127.0.0.1:8430", "http://[::1]:8430"} {
		if err := CheckIssuer(ok); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "auth.test", "http://auth.test", "http://localhost:1", "https://auth.test/", "https://auth.test?x", "https://auth.test#", "https://u@auth.test", "ftp://auth.test"} {
		if CheckIssuer(bad) == nil {
			t.Errorf("%s accepted", bad)
		}
	}
}

func TestOrigin(t *testing.T) {
	for in, want := range map[string]string{
		"https://Auth.test:443/x?y": "https://auth.test",
		"http://127.0.0.1:80/":      "http://127.0.0.1",
		"http://[::1]:7/cb":         "http://[::1]:7",
		"com.example:/cb":           "",
		"%":                         "",
	} {
		if got := Origin(in); got != want {
			t.Errorf("Origin(%s) = %s", in, got)
		}
	}
}

// The catalogue is closed: every declared code has one row, with words.
func TestCatalogueIsTheDeclaredList(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[Code]int{}
	for _, p := range Catalogue() {
		rows[p.Code]++
		if p.Error == "" || p.Status < 400 || p.Exit < 1 || p.Exit > 7 || p.What == "" || p.Do == "" {
			t.Errorf("row %s is not whole", p.Code)
		}
		for _, s := range []string{p.Error, p.What, p.Do} {
			if strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) || strings.HasSuffix(s, ".") {
				t.Errorf("%s: %q does not fit into error_description", p.Code, s)
			}
		}
	}
	declared := 0
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Code" {
			declared++
			s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			if rows[Code(s)] != 1 {
				t.Errorf("%s has %d rows", s, rows[Code(s)])
			}
		}
		return true
	})
	if declared != len(rows) {
		t.Errorf("%d codes, %d rows", declared, len(rows))
	}
}

func TestErrorsAreMatchedByCode(t *testing.T) {
	cause := errors.New("inner")
	err := error(FailParam(CodeReused, "code").Because(cause))
	if !errors.Is(err, Fail(CodeReused)) || errors.Is(err, Fail(CodeForeign)) || !errors.Is(err, cause) {
		t.Error(err)
	}
	if status, body := ResponseOf(cause); status != 500 || body.Error != "server_error" || strings.Contains(body.Description, "inner") {
		t.Errorf("%d %+v", status, body)
	}
}
