package outbound

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// site is an https server for auth.test with a private CA that is valid in the given time.
func site(t *testing.T, from, to time.Time, h http.HandlerFunc) (ca string, dial func(context.Context, string, string) (net.Conn, error)) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: from, NotAfter: to,
		DNSNames: []string{"auth.test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return ca, func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", s.Listener.Addr().String())
	}
}

func client(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func post(t *testing.T, c *Client, to string) (*Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader("a=b"))
	if err != nil {
		t.Fatal(err)
	}
	return c.Do(req)
}

func TestPrivateCAOnAuthTest(t *testing.T) {
	now := time.Now()
	ok := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{}`) }
	tests := []struct {
		name     string
		from, to time.Time
		noCA     bool
		url      string
		want     []error
		words    string
	}{
		{"known CA", now.Add(-time.Hour), now.Add(time.Hour), false, "https://auth.test/", nil, ""},
		{"unknown CA", now.Add(-time.Hour), now.Add(time.Hour), true, "https://auth.test/", []error{ErrTLS, ErrUnreachable}, "SSL_CERT_FILE"},
		{"expired", now.Add(-2 * time.Hour), now.Add(-time.Hour), false, "https://auth.test/", []error{ErrClock, ErrTLS, ErrUnreachable}, "has expired on"},
		{"not yet valid", now.Add(time.Hour), now.Add(2 * time.Hour), false, "https://auth.test/", []error{ErrClock, ErrUnreachable}, "yet to come. Check this machine's date"},
		{"other name", now.Add(-time.Hour), now.Add(time.Hour), false, "https://other.test/", []error{ErrTLS, ErrUnreachable}, "not for other.test"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ca, dial := site(t, tt.from, tt.to, ok)
			env := map[string]string{"SSL_CERT_FILE": ca}
			if tt.noCA {
				env = nil
			}
			_, err := client(t, Options{Env: env, DialContext: dial}).GetMetadata(t.Context(), tt.url)
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			for _, w := range tt.want {
				if !errors.Is(err, w) {
					t.Errorf("want %v, got %v", w, err)
				}
			}
			if err == nil || !strings.Contains(err.Error(), tt.words) {
				t.Errorf("the words are %v", err)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	now := time.Now()
	hits := map[string]int{}
	ca, dial := site(t, now.Add(-time.Hour), now.Add(time.Hour), func(w http.ResponseWriter, r *http.Request) {
		hits[r.URL.Path]++
		switch r.URL.Path {
		case "/end":
			_, _ = io.WriteString(w, `{"ok":true}`)
		case "/near":
			http.Redirect(w, r, "/end", http.StatusFound)
		case "/plain":
			http.Redirect(w, r, "http://auth.test/end", http.StatusFound)
		case "/far":
			http.Redirect(w, r, "https://evil.test/end?code=s3cret", http.StatusTemporaryRedirect)
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		}
	})
	c := client(t, Options{Env: map[string]string{"SSL_CERT_FILE": ca}, DialContext: dial})
	if r, err := c.GetMetadata(t.Context(), "https://auth.test/near"); err != nil || string(r.Body) != `{"ok":true}` {
		t.Errorf("within the origin: %v", err)
	}
	for _, p := range []string{"/plain", "/far", "/loop"} {
		if _, err := c.GetMetadata(t.Context(), "https://auth.test"+p); !errors.Is(err, ErrRedirect) || errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", p, err)
		}
	}
	clear(hits)
	_, err := post(t, c, "https://auth.test/near")
	if !errors.Is(err, ErrRedirect) || hits["/end"] != 0 {
		t.Errorf("a POST was sent on: %v %v", err, hits)
	}
	_, err = post(t, c, "https://auth.test/far")
	if err == nil || !strings.Contains(err.Error(), "https://evil.test/end") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("want where it points without the query: %v", err)
	}
}

func TestWhatIsNoAnswer(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/html":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<!doctype html>Sign in to the WLAN")
		case "/text":
			_, _ = io.WriteString(w, "hello")
		case "/large":
			_, _ = io.WriteString(w, `"`+strings.Repeat("a", 200)+`"`)
		case "/slow":
			<-release
		case "/cut":
			panic(http.ErrAbortHandler)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer s.Close()
	defer close(release)
	tests := []struct {
		name, url   string
		want        error
		unreachable bool
	}{
		{"refused", gone.URL, ErrRefused, true},
		{"unknown name", "http://name.invalid/", ErrDNS, true},
		{"captive portal", s.URL + "/html", ErrNotJSON, false},
		{"no JSON", s.URL + "/text", ErrNotJSON, false},
		{"too large", s.URL + "/large", ErrTooLarge, false},
		{"too slow", s.URL + "/slow", ErrTimeout, true},
		{"cut off", s.URL + "/cut", ErrUnreachable, true},
		{"no TLS there", strings.Replace(s.URL, "http:", "https:", 1), ErrTLS, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{MaxBody: 100, Timeout: 300 * time.Millisecond}
			if tt.want == ErrDNS { // no resolver is asked in tests
				o.DialContext = func(context.Context, string, string) (net.Conn, error) {
					return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "name.invalid", IsNotFound: true}}
				}
			}
			_, err := client(t, o).GetMetadata(t.Context(), tt.url+"?code=s3cret")
			if !errors.Is(err, tt.want) || errors.Is(err, ErrUnreachable) != tt.unreachable {
				t.Fatalf("got %v", err)
			}
			e, ok := errors.AsType[*Error](err)
			if !ok || e.What == "" || e.Why == "" || e.Do == "" || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the words are %v", err)
			}
		})
	}
}

func TestProxyComesFromTheMapOnly(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.Host)
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, `{}`)
	}))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	c := client(t, Options{Env: map[string]string{"HTTP_PROXY": proxy.URL, "https_proxy": strings.Replace(proxy.URL, "//", "//user:pw@", 1), "NO_PROXY": "direct.test"}})
	if _, err := c.GetMetadata(t.Context(), "http://plain.test/"); err != nil {
		t.Error(err)
	}
	_, err := c.GetMetadata(t.Context(), "https://auth.test/")
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "https://auth.test cannot be reached: the proxy ") || !strings.Contains(err.Error(), "answers 502") || strings.Contains(err.Error(), "pw") {
		t.Errorf("got %v", err)
	}
	if got := strings.Join(asked, ","); got != "GET plain.test,CONNECT auth.test:443" {
		t.Errorf("the proxy saw %s", got)
	}
	direct := client(t, Options{
		Env: map[string]string{"HTTP_PROXY": proxy.URL, "NO_PROXY": "direct.test"},
		DialContext: func(_ context.Context, _, addr string) (net.Conn, error) {
			if addr != "direct.test:80" {
				t.Errorf("dialed %s", addr)
			}
			return nil, &net.DNSError{Name: addr}
		},
	})
	_, _ = direct.GetMetadata(t.Context(), "http://direct.test/")
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, env := range []map[string]string{
		{"SSL_CERT_FILE": empty},
		{"SSL_CERT_FILE": empty + ".missing"},
		{"HTTPS_PROXY": "http://user:s3cret@%zz"},
	} {
		if _, err := New(Options{Env: env}); !errors.Is(err, ErrConfig) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%v", err)
		}
	}
}

func TestStatusIsAnAnswer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant"}`)
	}))
	defer s.Close()
	r, err := post(t, client(t, Options{}), s.URL)
	if err != nil || r.Status != 400 || !strings.Contains(string(r.Body), "invalid_grant") {
		t.Errorf("%v %v", r, err)
	}
}

func TestCallerWhoGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client(t, Options{}).GetMetadata(ctx, "http://127.0.0.1:1/"); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

func TestTLS11IsRefused(t *testing.T) {
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	defer s.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c := client(t, Options{Env: map[string]string{"SSL_CERT_FILE": ca}})
	if _, err := c.GetMetadata(t.Context(), s.URL); !errors.Is(err, ErrTLS) {
		t.Errorf("got %v", err)
	}
}
