package config

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/jws"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The design's example, and all that it leaves out.
func TestDesignExampleGolden(t *testing.T) {
	c, err := Load("testdata/design/server.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Accounts[0].Password.Reveal(); got != "correct horse battery" {
		t.Errorf("password %q", got)
	}
	c.Warnings = nil // of the file modes of a checkout
	c.Data = filepath.ToSlash(c.Data)
	got, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const golden = "testdata/design/golden.json"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got %s", got)
	}
}

// dir makes a folder with the files that configs in the tests below name.
func dir(t *testing.T) string {
	t.Helper()
	d := t.TempDir()
	write := func(name, content string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(d, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("pw", "  correct horse battery \n", 0o600)
	write("open.pw", "correct horse battery\n", 0o644)
	write("short.pw", "1234567\n", 0o600)
	write("secret", " 59a0a1e7c6f1b0c4d5a5b6d3f0e1927c\n", 0o600)
	write("ssss.secret", strings.Repeat("s", 40), 0o600)
	write("again.secret", strings.Repeat("correcthorse", 4), 0o600)
	write("spaced.secret", "59a0a1e7c6f1b0c4 d5a5b6d3f0e1927c", 0o600)
	write("long.secret", strings.Repeat("59a0a1e7c6f1b0c4d5a5b6d3f0e1927c", 16)+"!", 0o600)
	write("short.secret", "s", 0o600)
	write("bad.jwks", "{}", 0o600)
	write("private.jwks", `{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}]}`, 0o600)
	write("good.jwks", `{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`, 0o600)
	write("not.pem", "x", 0o600)
	return d
}

const (
	base = "issuer: http://127.0.0.1:8430\n"
	res  = "resources:\n  - {id: 'https://a.test', name: A, scopes: {read: R, write: W}}\n  - {id: 'https://b.test', name: B, scopes: {look: L}}\n"
	cli  = base + res + "clients:\n  - id: c\n    name: C\n    redirect_uris: ['http://127.0.0.1/callback']\n"
)

// Every refusal: what is written, where the error points, a piece of its words.
func TestRefusals(t *testing.T) {
	d := dir(t)
	for _, x := range []struct{ in, where, want string }{
		{"", "", "empty"},
		{"a", "1:1", "keys with values"},
		{"issuer: [\n", "1:9", "not YAML"},
		{"\xff", "", "UTF-8"},
		{strings.Repeat("[", 300), "", "nested"},
		{strings.Repeat("- ", 300), "", "nested"},
		{base + "---\na: b\n", "2:1", "second document"},
		{"listen: 127.0.0.1:1\n", "1:1 issuer", "missing"},
		{base + "isuer: x\n", "2:1 isuer", `Did you mean "issuer"? Allowed here: issuer, listen`},
		{base + "listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", "3:1 listen", "second time, after line 2"},
		{base + "tls: &x {cert_file: a}\n", "", "anchor"},
		{base + "data: 7\n", "2:7 data", "Put it in quotes"},
		{base + "database: postgres://db\n", "2:11 database", "this build has the embedded store only"},
		// issuer
		{"issuer: https://x.test/\n", "1:9 issuer", "without the slash"},
		{"issuer: https://x.test?a=b\n", "1:9 issuer", "no query"},
		{"issuer: https://x.test#f\n", "1:9 issuer", "no fragment"},
		{"issuer: https://u@x.test\n", "1:9 issuer", "user name"},
		{"issuer: https://x.test/t\n", "1:9 issuer", "path"},
		{"issuer: https://X.test\n", "1:9 issuer", "lower case: https://x.test"},
		{"issuer: https://x.test:443\n", "1:9 issuer", "leave out the port"},
		{"issuer: https://x_y.test\n", "1:9 issuer", "not a host name"},
		{"issuer: https://x.test:0\n", "1:9 issuer", "port from 1"},
		{"issuer: http://x.test\n", "1:9 issuer", "loopback only"},
		{"issuer: ftp://x.test\n", "1:9 issuer", "not https"},
		{"issuer: x.test\n", "1:9 issuer", "absolute"},
		// listen, tls, proxies
		{base + "listen: '8430'\n", "2:9 listen", "HOST:PORT"},
		{base + "listen: 127.0.0.1:http\n", "2:9 listen", "port number"},
		{base + "listen: 0.0.0.0:8430\n", "2:9 listen", "loopback"},
		{base + "tls: {cert_file: not.pem, key_file: not.pem}\n", "2:1 tls", "plain http"},
		{"issuer: https://x.test\ntls: {cert_file: not.pem, key_file: not.pem}\n", "2:1 tls", "not make a pair"},
		{"issuer: https://x.test\ntls: {cert_file: gone.pem, key_file: not.pem}\n", "2:18 tls.cert_file", "cannot be read"},
		{"issuer: https://x.test\ntls: {cert_file: not.pem}\n", "2:1 tls.key_file", "missing"},
		{base + "trusted_proxies: [10.0.0.1]\n", "2:19 trusted_proxies[0]", "not a network"},
		{base + "trusted_proxies: [10.0.0.1/8]\n", "2:19 trusted_proxies[0]", "not a network"},
		{base + "trusted_proxies: [0.0.0.0/0]\n", "2:19 trusted_proxies[0]", "trusts everybody"},
		// accounts
		{base + "accounts: {a: b}\n", "2:1 accounts", "a list"},
		{base + "accounts: [{email: a@b.test}]\n", "2:12 accounts[0].password_file", "missing"},
		{base + "accounts: [{email: nobody, password_file: pw}]\n", "2:20 accounts[0].email", "one @"},
		{base + "accounts: [{email: a@b.test, password_file: short.pw}]\n", "2:45 accounts[0].password_file", "at least 8 characters"},
		{base + "accounts: [{email: a@b.test, password_file: nothing.pw}]\n", "", "cannot be read"},
		{base + "accounts: [{email: a@b.test, password_file: .}]\n", "", "not a regular file"},
		{base + "accounts: [{email: a@b.test, password_file: pw, roles: [root]}]\n", "2:57 accounts[0].roles[0]", "Allowed: admin"},
		{base + "accounts:\n  - {email: a@b.test, password_file: pw}\n  - {email: A@B.test, password_file: pw}\n", "4:13 accounts[1].email", "in line 3"},
		// resources
		{base + "resources: [{id: api, name: A, scopes: {r: R}}]\n", "2:18 resources[0].id", "absolute"},
		{base + "resources: [{id: 'https://a.test#f', name: A, scopes: {r: R}}]\n", "", "no fragment"},
		{base + "resources: [{id: 'http://a.test', name: A, scopes: {r: R}}]\n", "", "loopback only"},
		{base + "resources: [{id: 'http://127.0.0.1:8430/api/v1', name: A, scopes: {r: R}}]\n", "", "under the issuer"},
		{base + "resources: [{id: 'https://a.test', name: A}]\n", "2:13 resources[0].scopes", "missing"},
		{base + "resources: [{id: 'https://a.test', name: A, scopes: {}}]\n", "2:45 resources[0].scopes", "at least one"},
		{base + "resources: [{id: 'https://a.test', name: A, scopes: {openid: R}}]\n", "", "of the server itself"},
		{base + "resources: [{id: 'https://a.test', name: A, scopes: {'a b': R}}]\n", "", "cannot be a scope"},
		{base + "resources: [{id: 'https://a.test', name: A, scopes: {r: ''}}]\n", "", "say in words"},
		{base + "resources: [{id: 'https://a.test', name: A, scopes: {r: R, r: S}}]\n", "2:60 resources[0].scopes.r", "second time"},
		{base + "resources: [{id: 'https://a.test', name: \"A\\u202eB\", scopes: {r: R}}]\n", "", "invisible"},
		{base + "resources: [{id: 'https://a.test', name: A, scopes: {r: R}, bearer: yes}]\n", "", "Allowed: refused, allowed"},
		{base + "resources: [{id: 'https://a.test', name: A, scopes: {r: R}, jwks_file: bad.jwks}]\n", "", "no JSON Web Key Set"},
		{base + "resources: [{id: 'https://a.test', name: A, scopes: {r: R}, jwks_file: private.jwks}]\n", "", "private key"},
		{base + res + "  - {id: 'https://a.test', name: A, scopes: {read: R}}\n", "5:10 resources[2].id", "in line 3"},
		// clients
		{base + "clients: [{name: C, redirect_uris: ['http://127.0.0.1/cb']}]\n", "2:11 clients[0].id", "missing"},
		{base + "clients: [{id: c, name: C}]\n", "2:11 clients[0].redirect_uris", "at least one"},
		{cli + "    dpop: maybe\n", "9:11 clients[0].dpop", "Allowed: required, allowed"},
		{cli + "    grants: [password]\n", "", "Allowed: authorization_code, refresh_token, device_code"},
		{cli + "    grants: [refresh_token]\n", "", "nothing to refresh"},
		{cli + "    grants: []\n", "", "the list is empty"},
		{cli + "    dpop: allowed\n", "9:11 clients[0].dpop", "signed with the proof key"},
		{cli + "    par: optional\n", "9:10 clients[0].par", "needs  par: required"},
		{cli + "    response_modes: [form_post, query]\n", "", "form_post only"},
		{cli + "    default_resource: https://c.test\n", "9:23 clients[0].default_resource", "Allowed: https://a.test, https://b.test, http://127.0.0.1:8430/api/v1"},
		{cli + "    resources: ['https://b.test']\n    default_resource: https://a.test\n", "", "not among this client's resources"},
		{cli + "    scopes: [dance]\n", "", "Allowed: account, admin"},
		{cli + "    scopes: [look]\n", "", "none of them is a scope of the default resource"},
		{cli + "    default_scopes: [look]\n", "", "not allowed"},
		{cli + "    id_token_alg: none\n", "", "Allowed: RS256, ES256"},
		{cli + "    lifetimes: {access: 1h}\n", "9:25 clients[0].lifetimes.access", "Allowed: 30s to 15m0s"},
		{cli + "    lifetimes: {idle: 200h}\n", "", "out of bounds"},
		{cli + "    lifetimes: {grant: 1000h}\n", "", "out of bounds"},
		{cli + "    lifetimes: {access: soon}\n", "", "not a duration"},
		{cli + "    lifetimes: {idle: 9h, grant: 8h}\n", "", "idle is longer"},
		{cli + "    device: {other_network: refuse}\n", "9:5 clients[0].device", "has no device logins"},
		{dev + "    device: {elsewhere: refuse}\n", "10:14 clients[0].device.elsewhere", "same_network, other_network, narrow_to, grant"},
		{dev + "    device: {other_network: deny}\n", "10:29 clients[0].device.other_network", "trusted, refuse"},
		{dev + "    device: {other_network: narrow}\n", "10:5 clients[0].device.narrow_to", "missing"},
		{dev + "    device: {narrow_to: [read]}\n", "", "is narrow"},
		{dev + "    device: {other_network: narrow, narrow_to: [dance]}\n", "", "not allowed"},
		{dev + "    device: {grant: 1000h}\n", "", "out of bounds"},
		{cli + "tripwire: {revoke_grant: sometimes}\n", "", "repetition, never, other_network, always"},
		{cli + "tripwire: {revoke: never}\n", "", "revoke_grant"},
		{cli + "    token_endpoint_auth_method: client_secret_basic\n    secret_file: ssss.secret\n", "10:18 clients[0].secret_file", "not random"},
		{cli + "    token_endpoint_auth_method: client_secret_post\n    secret_file: again.secret\n", "", "not random"},
		{cli + "    token_endpoint_auth_method: client_secret_post\n    secret_file: spaced.secret\n", "", "without spaces"},
		{cli + "    token_endpoint_auth_method: client_secret_post\n    secret_file: long.secret\n", "", "at most 512"},
		{cli + "    token_endpoint_auth_method: private_key_jwt\n    jwks_file: private.jwks\n", "", "private key"},
		{cli + "    token_endpoint_auth_method: private_key_jwt\n    secret_file: secret\n    jwks_file: good.jwks\n", "", "does not use it"},
		{cli + "    token_endpoint_auth_method: client_secret_jwt\n", "", "Allowed: none"},
		{cli + "    token_endpoint_auth_method: client_secret_basic\n", "", "needs it"},
		{cli + "    token_endpoint_auth_method: client_secret_post\n    secret_file: short.secret\n", "", "at least 32"},
		{cli + "    token_endpoint_auth_method: private_key_jwt\n    jwks_file: bad.jwks\n", "", "no JSON Web Key Set"},
		{cli + "    secret_file: secret\n", "", "does not use it"},
		{cli + "  - {id: c, name: C, redirect_uris: ['http://127.0.0.1/cb']}\n", "9:10 clients[1].id", "in line 6"},
		{strings.Replace(cli, "id: c", "id: 'a b'", 1), "", "without spaces"},
	} {
		_, err := Parse([]byte(x.in), d)
		if err == nil {
			t.Errorf("accepted:\n%s", x.in)
			continue
		}
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%v is no ErrConfig", err)
		}
		found := false
		for _, p := range err.(Problems) {
			where := strings.TrimSpace(fmt.Sprintf("%d:%d %s", p.Line, p.Column, p.Where))
			found = found || strings.Contains(p.What, x.want) && (x.where == "" || where == x.where)
		}
		if !found {
			t.Errorf("config:\n%swant %q at %q, got:\n%v", x.in, x.want, x.where, err)
		}
	}
}

// TestRedirectURIs registers redirect URIs, good and bad.
//
// Invariant: CF-1b
func TestRedirectURIs(t *testing.T) {
	for s, want := range map[string]string{
		"http://127.0.0.1/callback":   "",
		"http://127.0.0.1:8000/a?b=c": "",
		"http://[::1]/callback":       "",
		"https://app.test/cb":         "",
		"com.example.app:/callback":   "",
		"http://localhost/callback":   "RFC 8252 §8.3",
		"http://a.localhost/callback": "RFC 8252 §8.3",
		"http://app.test/cb":          "loopback",
		"http://127.0.0.1.evil.test/": "loopback",
		"http://127.0.0.1@evil.test/": "user name",
		"https://app.test/cb#f":       "fragment",
		"https://app.test/cb#":        "fragment",
		"https://*.app.test/cb":       "wildcards",
		"https://a b/":                "absolute",
		"https:///cb":                 "names no host",
		"/callback":                   "absolute",
		"myapp:/callback":             "domain of yours",
		"javascript:alert(1)":         "domain of yours",
		"com.example.app://callback":  "one slash",
		"com.example.app:callback":    "one slash",
	} {
		got := checkRedirect(s)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", s, got, want)
		}
	}
}

// What is left out is the safest.
//
// Invariant: CO-1
func TestSafestDefaults(t *testing.T) {
	c, err := Parse([]byte(cli), dir(t))
	if err != nil {
		t.Fatal(err)
	}
	if r, _ := c.Resource("https://a.test"); r.Bearer != BearerRefused {
		t.Error("bearer tokens are allowed by default")
	}
	want := Client{
		ID: "c", Name: "C", RedirectURIs: []string{"http://127.0.0.1/callback"},
		Grants: []string{GrantCode, GrantRefresh}, DefaultResource: "https://a.test", DefaultScopes: []string{"read"},
		DPoP: Required, Handshake: Required, PAR: Required, ResponseModes: []string{ModeFormPost},
		IDTokenAlg: jws.RS256, AuthMethod: AuthNone, Device: Device{SameNetwork: "allow", OtherNetwork: "confirm"},
	}
	if got, _ := c.Client("c"); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	b, ok := c.Client(BuiltInClient)
	if !ok || b.Handshake != Required || b.DPoP != Required || b.PAR != Required || b.DefaultResource != "https://a.test" {
		t.Errorf("built-in client %+v", b)
	}
	if r := c.Resources[len(c.Resources)-1]; r.ID != "http://127.0.0.1:8430/api/v1" || !r.BuiltIn || !r.HasScope(ScopeAdmin) {
		t.Errorf("built-in resource %+v", r)
	}
	if len(c.TrustedProxies) != 0 || c.TLS != nil || c.Listen != "127.0.0.1:8430" {
		t.Errorf("%+v", c)
	}
}

func TestStandardClient(t *testing.T) {
	d := dir(t)
	c, err := Parse([]byte(cli+`    handshake: none
    dpop: allowed
    resources: ["https://b.test", "https://a.test"]
    scopes: [openid, write, look]
    lifetimes: {access: 2m, idle: 1h, grant: 12h}
  - {id: keytether, name: Ours, redirect_uris: ["http://127.0.0.1/callback"], default_scopes: [read, write]}
`), d)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := c.Client("c")
	if got.DefaultResource != "https://b.test" || !reflect.DeepEqual(got.DefaultScopes, []string{"look"}) ||
		got.PAR != Optional || !got.AllowsMode(ModeQuery) || got.Lifetimes.Access != 2*time.Minute {
		t.Errorf("%+v", got)
	}
	a, _ := c.Resource("https://a.test")
	if s := got.DefaultScopesFor(a); !reflect.DeepEqual(s, []string{"write"}) {
		t.Errorf("default at another resource: %v", s)
	}
	if got.AllowsScope("read") || got.AllowsResource("http://127.0.0.1:8430/api/v1") {
		t.Error("more is allowed than was written")
	}
	if len(c.Clients) != 2 || c.Clients[1].Name != "Ours" || c.Clients[1].BuiltIn {
		t.Errorf("the built-in client was not replaced: %+v", c.Clients)
	}
}

func TestEveryProblemIsToldInOrder(t *testing.T) {
	_, err := Parse([]byte("issuer: http://x.test\nclients:\n  - {id: c, dpop: no}\nlisten: x\nfoo: 1\n"), t.TempDir())
	var p Problems
	if !errors.As(err, &p) || len(p) < 6 {
		t.Fatalf("%v", err)
	}
	for i := 1; i < len(p); i++ {
		if p[i].Line < p[i-1].Line {
			t.Errorf("out of order:\n%v", err)
		}
	}
}

func TestErrorsNameTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server.yaml")
	if err := os.WriteFile(path, []byte("issuer: https://x.test\nfoo: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path)
	if err == nil || !strings.HasPrefix(err.Error(), path+":2:1: foo: ") {
		t.Errorf("%v", err)
	}
	if _, err = Load(path + ".gone"); !errors.Is(err, ErrConfig) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestWarnings(t *testing.T) {
	if runtime.GOOS == "windows" {
		return
	}
	d := dir(t)
	for in, want := range map[string]string{
		base + "accounts: [{email: a@b.test, password_file: open.pw}]\n":                  "mode 0644",
		base + "accounts: [{email: a@b.test, password_file: pw}]\n":                       "",
		"issuer: https://x.test\nlisten: 0.0.0.0:80\ntrusted_proxies: [192.0.2.0/24]\n":   "plain http on a network",
		"issuer: https://x.test\nlisten: 127.0.0.1:80\n":                                  "no device login is known to be started on the network",
		"issuer: https://x.test\nlisten: 127.0.0.1:80\ntrusted_proxies: [127.0.0.1/32]\n": "",
	} {
		c, err := Parse([]byte(in), d)
		if err != nil {
			t.Fatal(err)
		}
		if text := Problems(c.Warnings).Error(); want == "" && text != "" || !strings.Contains(text, want) {
			t.Errorf("%s: %q, want %q", in, text, want)
		}
	}
}

// No secret is ever repeated in an error.
func TestErrorsHoldNoSecret(t *testing.T) {
	d := t.TempDir()
	if err := os.WriteFile(filepath.Join(d, "pw"), []byte("s3cr3t"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Parse([]byte(base+"accounts: [{email: a@b.test, password_file: pw}]\n"), d)
	if err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("%v", err)
	}
}

func TestDefaults(t *testing.T) {
	c, err := Defaults("/d", "127.0.0.1:8430")
	if err != nil {
		t.Fatal(err)
	}
	cl, _ := c.Client(BuiltInClient)
	if c.Issuer != "http://127.0.0.1:8430" || cl.DefaultResource != c.Issuer+APIPath ||
		!reflect.DeepEqual(cl.DefaultScopes, []string{ScopeAccount}) || c.Secure() {
		t.Errorf("%+v", c)
	}
	for _, bad := range []string{"0.0.0.0:8430", ":8430", "8430", "192.0.2.1:80"} {
		if _, err := Defaults("/d", bad); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestDigest(t *testing.T) {
	parse := func(s string) Client {
		c, err := Parse([]byte(s), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		cl, _ := c.Client("c")
		return cl
	}
	a := Digest(parse(cli))
	if a != Digest(parse(cli+"    dpop: required\n")) {
		t.Error("writing down a default changes the digest")
	}
	if a == Digest(parse(cli+"    scopes: [read]\n")) {
		t.Error("a narrower client has the same digest")
	}
	r1, r2 := Resource{ID: "x", Scopes: []Scope{{"a", "A"}}}, Resource{ID: "x", Scopes: []Scope{{"a", "B"}}}
	if Digest(r1) == Digest(r2) {
		t.Error("other words for a scope have the same digest")
	}
	if Digest(Account{Email: "a"}) == Digest(Account{Email: "a", Roles: []string{RoleAdmin}}) {
		t.Error("a new role has the same digest")
	}
}

// docs/config.md has a row for every key, and its example is accepted.
func TestDocsNameEveryKey(t *testing.T) {
	b, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	for kind, list := range keys {
		for _, key := range list {
			if !strings.Contains(doc, "`"+key+"`") {
				t.Errorf("docs/config.md does not name %s of %s", key, kind)
			}
		}
	}
	_, example, _ := strings.Cut(doc, "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	d := dir(t)
	c, err := Parse([]byte(strings.ReplaceAll(example, "person.pw", "pw")), d)
	if err != nil || len(c.Clients) != 2 {
		t.Errorf("the example: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("testdata/design/server.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, s := range []string{cli, base + "tls: {cert_file: a, key_file: b}\n", "? a\n", "a: |\n  b\n", "- - -", "&a a: *a", "<<: {a: b}", "!!binary a: b", "a: [{b: c}]"} {
		f.Add([]byte(s))
	}
	d := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data, d)
		if err != nil {
			var p Problems
			if !errors.As(err, &p) || len(p) == 0 {
				t.Fatalf("%v is not Problems", err)
			}
			return
		}
		if _, bad := checkIssuer(c.Issuer); bad != "" {
			t.Fatalf("issuer %q: %s", c.Issuer, bad)
		}
		for _, cl := range c.Clients {
			r, ok := c.Resource(cl.DefaultResource)
			if !ok || len(cl.DefaultScopes) == 0 {
				t.Fatalf("client without defaults: %+v", cl)
			}
			for _, s := range cl.DefaultScopes {
				if !r.HasScope(s) && s != "openid" && s != "email" && s != "offline_access" {
					t.Fatalf("default scope %q is not of %s", s, r.ID)
				}
			}
			if cl.Handshake == Required && (cl.DPoP != Required || cl.PAR != Required || cl.AllowsMode(ModeQuery)) {
				t.Fatalf("handshake can be got round: %+v", cl)
			}
		}
	})
}

// dev is cli's client with device logins.
const dev = cli + "    grants: [device_code, refresh_token]\n"

func TestDeviceRules(t *testing.T) {
	c, err := Parse([]byte(dev+"    device: {same_network: confirm, other_network: narrow, narrow_to: [read], grant: 1h}\n"), dir(t))
	if err != nil {
		t.Fatal(err)
	}
	want := Device{SameNetwork: "confirm", OtherNetwork: "narrow", NarrowTo: []string{"read"}, Grant: time.Hour}
	if got, _ := c.Client("c"); !reflect.DeepEqual(got.Device, want) {
		t.Errorf("%+v", got.Device)
	}
	if c, err = Parse([]byte(dev+"    device: {other_network: allow}\n"), dir(t)); err != nil || len(c.Warnings) != 1 {
		t.Errorf("%v %+v", err, c)
	}
	if got, _ := c.Client(BuiltInClient); !reflect.DeepEqual(got.Device, Device{SameNetwork: "allow", OtherNetwork: "confirm"}) {
		t.Errorf("%+v", got.Device)
	}
}
