package outbound

import (
	"net/url"
	"testing"
)

func TestWhichURLsGoThroughTheProxy(t *testing.T) {
	tests := []struct {
		no, url string
		proxied bool
	}{
		{"", "https://auth.test/", true},
		{"", "https://127.0.0.1:8430/", false},
		{"", "https://127.9.9.9/", false},
		{"", "https://[::1]/", false},
		{"", "https://LOCALHOST/", false},
		{"", "https://localhost.evil.test/", true},
		{"", "http://plain.test/", false}, // only HTTPS_PROXY is set
		{"*", "https://auth.test/", false},
		{"auth.test", "https://auth.test/", false},
		{"auth.test", "https://AUTH.test./", false},
		{"auth.test", "https://a.auth.test/", false},
		{"auth.test", "https://notauth.test/", true},
		{".auth.test", "https://a.auth.test/", false},
		{".auth.test", "https://auth.test/", true},
		{"*.auth.test", "https://a.auth.test/", false},
		{"other, auth.test ,", "https://auth.test/", false},
		{"auth.test:8443", "https://auth.test:8443/", false},
		{"auth.test:8443", "https://auth.test/", true},
		{"auth.test:443", "https://auth.test/", false},
		{"10.0.0.0/8", "https://10.1.2.3/", false},
		{"10.0.0.0/8", "https://11.1.2.3/", true},
		{"10.1.2.3", "https://10.1.2.3/", false},
		{"10.1.2.3", "https://10.1.2.33/", true},
		{"2001:db8::1", "https://[2001:db8::1]/", false},
		{"[2001:db8::1]:443", "https://[2001:db8::1]/", false},
		{"2001:db8::/32", "https://[2001:db8::9]/", false},
		{"2001:db8::/32", "https://[2001:db9::9]/", true},
	}
	for _, tt := range tests {
		p, err := newProxies(map[string]string{"HTTPS_PROXY": "proxy.test:3128", "no_proxy": tt.no})
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		got := p.choose(u)
		if (got != nil) != tt.proxied || got != nil && got.String() != "http://proxy.test:3128" {
			t.Errorf("NO_PROXY=%q %s goes through %v", tt.no, tt.url, got)
		}
	}
}

func FuzzProxies(f *testing.F) {
	f.Add("http://user:pw@proxy.test:1", "a.test:1,.b,10.0.0.0/8,[::1]:2,*.c", "https://a.test:1/")
	f.Fuzz(func(t *testing.T, via, no, to string) {
		u, err := url.Parse(to)
		if err != nil {
			return
		}
		p, err := newProxies(map[string]string{"HTTPS_PROXY": via, "NO_PROXY": no})
		if err != nil {
			return
		}
		if got := p.choose(u); got != nil && (via == "" || u.Hostname() == "127.0.0.1") {
			t.Fatalf("%q goes through %v", to, got)
		}
	})
}
