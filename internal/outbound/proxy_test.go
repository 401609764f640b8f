package outbound

import (
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestWhichURLsGoThroughTheProxy says what NO_PROXY means.
//
// Invariant: OB-2
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

// TestProxyWords says whose fault it is, of a proxy with a password that is never said.
//
// Invariant: OB-1, OB-3
func TestProxyWords(t *testing.T) {
	status := http.StatusProxyAuthRequired
	inspects := httptest.NewUnstartedServer(nil)
	inspects.Config.ErrorLog = log.New(io.Discard, "", 0)
	inspects.StartTLS()
	defer inspects.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if w.WriteHeader(status); status != http.StatusOK {
			return
		}
		in, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer in.Close()
		out, err := net.Dial("tcp", inspects.Listener.Addr().String())
		if err != nil {
			return
		}
		defer out.Close()
		go func() { _, _ = io.Copy(out, in) }()
		_, _ = io.Copy(in, out)
	}))
	defer proxy.Close()
	at := strings.TrimPrefix(proxy.URL, "http://")
	for _, tt := range []struct {
		via     string
		status  int
		atProxy bool
		kind    error
		want    []string
	}{
		{"http://" + at, 407, true, ErrUnreachable, []string{"https://example.com cannot be reached: the proxy " + at + " answers 407", "it wants a user name and a password"}},
		{"http://me@" + at, 407, true, ErrUnreachable, []string{"it wants a user name and a password"}},
		{"http://me:s3cret@" + at, 407, true, ErrUnreachable, []string{"it does not take the user name and password that HTTPS_PROXY holds"}},
		{"http://me:s3cret@" + at, 302, true, ErrUnreachable, []string{"answers 302", "sign-in page"}},
		{"http://me:s3cret@" + at, 403, true, ErrUnreachable, []string{"answers 403", "NO_PROXY"}},
		{"http://me:s3cret@" + at, 200, false, ErrTLS, []string{`"Acme Co"`, "the proxy " + at + " may look into TLS", "name its file in SSL_CERT_FILE"}},
		{"http://me:s3cret@127.0.0.1:1", 200, true, ErrRefused, []string{"the proxy 127.0.0.1:1 to https://example.com cannot be reached"}},
	} {
		status = tt.status
		_, err := client(t, Options{Env: map[string]string{"HTTPS_PROXY": tt.via}}).GetMetadata(t.Context(), "https://example.com/")
		if !errors.Is(err, tt.kind) || !errors.Is(err, ErrUnreachable) || errors.Is(err, ErrProxy) != tt.atProxy {
			t.Errorf("%s, status %d: %v", tt.via, tt.status, err)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s, status %d: no %q in %v", tt.via, tt.status, want, err)
			}
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s, status %d: the password is in %v", tt.via, tt.status, err)
		}
	}
}
