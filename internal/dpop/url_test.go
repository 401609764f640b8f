package dpop

import (
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestNormalise(t *testing.T) {
	for raw, want := range map[string]string{
		"https://a.test":               "https://a.test/",
		"https://a.test/":              "https://a.test/",
		"HTTPS://A.Test:443/X?q=1#f":   "https://a.test/X",
		"https://a.test?x=/../":        "https://a.test/",
		"http://a.test:80/":            "http://a.test/",
		"http://a.test:443/":           "http://a.test:443/",
		"https://a.test:/":             "https://a.test/",
		"https://a.test:0443/":         "https://a.test/",
		"https://a.test/%7euser/%c3":   "https://a.test/~user/%C3",
		"https://a.test/a%2fb":         "https://a.test/a%2Fb",
		"https://a.test/a/./b/../c":    "https://a.test/a/c",
		"https://a.test/a/%2e%2E/c":    "https://a.test/c",
		"https://a.test/..":            "https://a.test/",
		"https://a.test/a/..":          "https://a.test/",
		"https://a.test/a/.":           "https://a.test/a/",
		"https://a.test/a//b":          "https://a.test/a//b",
		"https://a.test/a/...":         "https://a.test/a/...",
		"https://a.test/a;v=1/b,c@:!":  "https://a.test/a;v=1/b,c@:!",
		"https://a.test/a%252e":        "https://a.test/a%252e",
		"http://[::1]:8430/oauth":      "http://[::1]:8430/oauth",
		"http://[0:0:0:0:0:0:0:1]/x":   "http://[::1]/x",
		"http://127.0.0.1:8430/oauth/": "http://127.0.0.1:8430/oauth/",
	} {
		if got, err := normalise(raw); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", raw, got, err, want)
		}
	}
	for _, raw := range []string{
		"", "/", "a.test/x", "//a.test/x", "https:/a.test", "https:a.test", "ftp://a.test/", "https://", "https:///x", "https://:443/",
		"https://u@a.test/", "https://u:p@a.test/", "https://a.test:x/", "https://a.test:123456/", "https://a.test:-1/", "https://a.test:443:1/",
		"https://a test/", "https://a.test/a b", "https://a.test/\x00", "https://a.test/é", "https://é.test/", "https://a.test/%", "https://a.test/%4",
		"https://a.test/%zz", `https://a.test\b`, `https://a.test/\b`, "https://a.test/<b>", "https://[::1/", "https://[::1]x/", "https://[::g]/",
		"https://[::1%25eth0]/", "https://[127.0.0.1]/", "https://a%2etest/", "\thttps://a.test/", "https://a.test/\n", "https://\u212a.test/",
		"https://a.test/" + strings.Repeat("a", maxURL),
	} {
		if got, err := normalise(raw); err == nil {
			t.Errorf("%q becomes %q", raw, got)
		}
	}
}

// reference is another way to normalise, by the standard library, for URLs that
// are known to be good.
func reference(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		panic(err)
	}
	port := strings.TrimLeft(u.Port(), "0")
	scheme := strings.ToLower(u.Scheme)
	if scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		port = ""
	}
	p := u.EscapedPath()
	for _, c := range []string{"a", "."} {
		for _, enc := range []string{"%61", "%2e", "%2E"} {
			if dec, _ := url.PathUnescape(enc); dec == c {
				p = strings.ReplaceAll(p, enc, c)
			}
		}
	}
	p = strings.ReplaceAll(p, "%2f", "%2F")
	slash := strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/..")
	if double := strings.Contains(p, "//"); !double {
		if p = path.Clean("/" + p); slash && p != "/" {
			p += "/"
		}
	}
	return scheme + "|" + strings.ToLower(u.Hostname()) + "|" + port + "|" + p
}

// Normalising twice changes nothing, and what comes out is a URL of the same
// scheme and port to the standard library too.
func FuzzNormalise(f *testing.F) {
	for _, seed := range []string{"https://a.test/%7e/../b?q", "http://[::1]:80", "HTTP://A:0080//.//%2e/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		once, err := normalise(raw)
		if err != nil {
			return
		}
		if twice, err := normalise(once); err != nil || twice != once {
			t.Fatalf("%q becomes %q, then %q, %v", raw, once, twice, err)
		}
		u, err := url.Parse(once)
		if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !u.IsAbs() || u.Host == "" {
			t.Fatalf("%q becomes %q: %+v, %v", raw, once, u, err)
		}
		if v, err := url.Parse(raw); err == nil && !strings.EqualFold(v.Hostname(), u.Hostname()) && !strings.Contains(raw, "[") {
			t.Fatalf("%q is at %q, we say %q", raw, v.Hostname(), u.Hostname())
		}
	})
}
