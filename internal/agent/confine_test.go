package agent

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/oauth"
	"pgregory.net/rapid"
)

// TestConfine spells a URL in the ways that readers disagree about.
//
// Invariant: AG-3
func TestConfine(t *testing.T) {
	const res = "https://api.example.test/v1"
	meta := oauth.MetadataFor("https://auth.example.test", nil)
	foreign := meta
	foreign.HandshakeEndpoint = ""
	tests := []struct {
		resource, url string
		meta          oauth.Metadata
		want          error
	}{
		{res, "https://api.example.test/v1", meta, nil},
		{res, "https://api.example.test/v1/", meta, nil},
		{res, "https://api.example.test/v1/x?y=/../#z", meta, nil},
		{res, "HTTPS://API.example.test:443/v1/x", meta, nil},
		{res, "https://api.example.test/v1/group%2Fproject", meta, nil},
		{res, "https://api.example.test/v1/...", meta, nil},
		{res + "/", "https://api.example.test/v1", meta, nil},
		{"https://api.example.test", "https://api.example.test/anything", meta, nil},
		{"https://api.example.test", "https://api.example.test", meta, nil},
		{"http://127.0.0.1:8080", "http://127.0.0.1:8080/x", meta, nil},
		{"https://[2001:db8::1]", "https://[2001:DB8:0::1]:443/x", meta, nil},

		{res, "https://api.example.test/v1x", meta, errOutside},
		{res, "https://api.example.test/v", meta, errOutside},
		{res, "https://api.example.test/", meta, errOutside},
		{res, "https://api.example.test/V1/x", meta, errOutside},
		{res, "http://api.example.test/v1", meta, errOutside},
		{res, "https://api.example.test:8443/v1", meta, errOutside},
		{res, "https://evil.test/v1", meta, errOutside},
		{res, "https://api.example.test.evil.test/v1", meta, errOutside},
		{res, "https://api.example.test%2Fv1", meta, errSpelling},
		{res, "https://api.example.test./v1", meta, errSpelling},
		{res, "https://api.example.test/v1%2Fx", meta, errOutside},
		{res, "https://api.example.test/v1/../x", meta, errSpelling},
		{res, "https://api.example.test/v1/%2e%2e/x", meta, errSpelling},
		{res, "https://api.example.test/v1/.%2E/x", meta, errSpelling},
		{res, "https://api.example.test/v1/..%2fx", meta, errSpelling},
		{res, "https://api.example.test/v1/%252e%252e/x", meta, errSpelling},
		{res, "https://api.example.test/v1/..;a=b/x", meta, errSpelling},
		{res, "https://api.example.test/v1/x%5c..%5c..%5cy", meta, errSpelling},
		{res, `https://api.example.test/v1\..\x`, meta, errSpelling},
		{res, `https://evil.test\@api.example.test/v1`, meta, errSpelling},
		{res, "https://api.example.test@evil.test/v1", meta, errSpelling},
		{res, "https://evil.test@api.example.test/v1", meta, errSpelling},
		{res, "https://api.example.test/v1/%", meta, errSpelling},
		{res, "https://api.example.test/v1/%0d%0aX", meta, errSpelling},
		{res, "https://api.example.test/v1/ x", meta, errSpelling},
		{res, "https:api.example.test/v1", meta, errSpelling},
		{res, "//api.example.test/v1", meta, errSpelling},
		{res, "ftp://api.example.test/v1", meta, errSpelling},
		{"urn:example:api", "https://api.example.test/v1", meta, errResource},
		{"", "https://api.example.test/v1", meta, errResource},

		// The issuer is nobody's resource, but for its own API.
		{"https://auth.example.test/api/v1", "https://auth.example.test/api/v1/me", meta, nil},
		{"https://auth.example.test/api/v1", "https://auth.example.test/oauth/token", meta, errOutside},
		{"https://auth.example.test", "https://auth.example.test/oauth/token", meta, errIssuer},
		{"https://auth.example.test", "https://auth.example.test/OAUTH/%74oken", meta, errIssuer},
		{"https://auth.example.test", "https://auth.example.test//oauth//token", meta, errIssuer},
		{"https://auth.example.test", "https://auth.example.test/oauth;x/token", meta, errIssuer},
		{"https://auth.example.test", "https://auth.example.test/oauth%2ftoken", meta, errIssuer},
		{"https://auth.example.test", "https://auth.example.test/oauth/anything", meta, errIssuer},
		{"https://auth.example.test", "https://auth.example.test/burn", meta, errIssuer},
		{"https://auth.example.test", "https://auth.example.test/.well-known/x", meta, errIssuer},
		{"https://auth.example.test/oauth", "https://auth.example.test/oauth/par", meta, errIssuer},
		{"https://auth.example.test", "https://auth.example.test/oauth/revoke/x", foreign, errIssuer},
		{"https://auth.example.test", "https://auth.example.test/oauth/other", foreign, nil},
	}
	for _, tt := range tests {
		if got := confine(tt.resource, tt.url, tt.meta); got != tt.want {
			t.Errorf("confine(%s, %s) = %v, want %v", tt.resource, tt.url, got, tt.want)
		}
	}
}

// Whatever is let through, Go's own client sends to the resource's host, and
// neither a path cleaner nor one that decodes first gets out of its folder.
func checkConfined(t interface{ Fatalf(string, ...any) }, resource, raw string) {
	meta := oauth.MetadataFor("https://api.example.test", nil)
	if confine(resource, raw, meta) != nil {
		return
	}
	req, err := http.NewRequest(http.MethodGet, raw, nil)
	if err != nil {
		t.Fatalf("%q was let through and is no URL: %v", raw, err)
	}
	base, _ := url.Parse(strings.TrimSuffix(resource, "/"))
	if !strings.EqualFold(req.URL.Hostname(), base.Hostname()) || req.URL.Scheme != base.Scheme || req.URL.User != nil {
		t.Fatalf("%q was let through and goes to %s", raw, req.URL.Host)
	}
	for _, p := range []string{req.URL.Path, req.URL.EscapedPath(), strings.ReplaceAll(req.URL.Path, `\`, "/")} {
		clean := path.Clean("/" + p)
		if clean != base.Path && !strings.HasPrefix(clean, base.Path+"/") {
			t.Fatalf("%q was let through and is read as %s", raw, clean)
		}
		if strings.HasPrefix(clean, "/oauth/") || clean == "/oauth" {
			t.Fatalf("%q was let through and is an endpoint", raw)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/oauth/", func(http.ResponseWriter, *http.Request) {
		t.Fatalf("%q was let through and was served as an endpoint", raw)
	})
	mux.ServeHTTP(httptest.NewRecorder(), req)
}

// TestConfineProperty puts URLs together at random.
//
// Invariant: AG-3
func TestConfineProperty(t *testing.T) {
	parts := []string{
		"https://", "http://", "api.example.test", "evil.test", "/", "//", "\\", "v1", "oauth", "token", "..", ".", "%2e", "%2E%2e",
		"%2f", "%5c", "%25", "252e", ";", "@", ":", "443", "?", "#", "x", "OAuth", "%6fauth", " ", "[::1]",
	}
	rapid.Check(t, func(t *rapid.T) {
		raw := ""
		if rapid.Bool().Draw(t, "under") {
			raw = "https://api.example.test/v1/"
		}
		raw += strings.Join(rapid.SliceOfN(rapid.SampledFrom(parts), 0, 10).Draw(t, "parts"), "")
		resource := rapid.SampledFrom([]string{"https://api.example.test/v1", "https://api.example.test", "https://api.example.test/v1/"}).Draw(t, "resource")
		checkConfined(t, resource, raw)
	})
}

func FuzzConfine(f *testing.F) {
	for _, s := range []string{
		"https://api.example.test/v1/x", "https://api.example.test/v1/..%2f", "https://api.example.test/%6fauth/token",
		"https://api.example.test:443/v1;/..", "https://a@api.example.test/", "https://api.example.test/v1/%252e%252e%252f",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		checkConfined(t, "https://api.example.test/v1", raw)
		checkConfined(t, "https://api.example.test", raw)
	})
}
