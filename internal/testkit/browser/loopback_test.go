package browser_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/leak"
)

// TestPostToLoopback shows what the loopback handshake rests on, in this
// Chromium and with the flags of this package: a page at an https issuer posts
// to a plain-http loopback listener, which sees the issuer as Origin and sends
// the browser back with a 303, and the Lax __Host- cookie comes along.
func TestPostToLoopback(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, fmt.Sprintf(format, args...))
	}
	listener := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			note("%s /callback from %s with %s", r.Method, r.Header.Get("Origin"), r.PostFormValue("handshake_nonce"))
			http.Redirect(w, r, "https://auth.test/back", http.StatusSeeOther)
		}
	}))
	defer listener.Close()

	issuer := http.NewServeMux()
	issuer.HandleFunc("GET /nonce", func(w http.ResponseWriter, _ *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "__Host-kt-request", Value: "mine", Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
		w.Header().Set("Referrer-Policy", "origin")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'unsafe-inline'; form-action 'self' "+listener.URL)
		fmt.Fprintf(w, `<!doctype html><form method=post action="%s/callback"><input type=hidden name=handshake_nonce value=abc><button>Continue</button></form><script>document.forms[0].submit()</script>`, listener.URL)
	})
	issuer.HandleFunc("GET /back", func(w http.ResponseWriter, r *http.Request) {
		c, err := r.Cookie("__Host-kt-request")
		if err != nil {
			fmt.Fprint(w, "no cookie came along")
			return
		}
		note("back with the cookie %s", c.Value)
		fmt.Fprint(w, "all is well")
	})
	addr, ca := serveTLS(t, issuer, "auth.test")

	b := browser.Start(t, browser.Options{Hosts: map[string]string{"auth.test": addr}, CA: ca})
	if err := b.Open(t.Context(), "https://auth.test/nonce"); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitText(t.Context(), "all is well"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	want := []string{"POST /callback from https://auth.test with abc", "back with the cookie mine"}
	if !slices.Equal(seen, want) {
		t.Errorf("seen %q, want %q", seen, want)
	}
	if !slices.Contains(b.Requests(), "POST "+listener.URL+"/callback") {
		t.Errorf("Requests = %q lack the post", b.Requests())
	}
	if got := b.Console(); len(got) != 0 {
		t.Errorf("the console complains: %q", got)
	}
}

// TestHistoryIsOnDisk is the counterpart of every test that finds nothing in a
// profile: what is in the history would be found.
func TestHistoryIsOnDisk(t *testing.T) {
	srv := httptest.NewServer(pages())
	defer srv.Close()
	b, err := browser.Launch(t.Context(), browser.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	const secret = "code-0123456789abcdefghij"
	if err := b.Open(t.Context(), srv.URL+"/done?code="+secret); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	hits, err := leak.Scan([]string{b.Profile()}, nil, map[string]string{"code": secret})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(hits, func(h leak.Hit) bool { return strings.Contains(h.Where, "History") }) {
		t.Errorf("the history is not among %v", hits)
	}
}

// serveTLS serves h with a certificate of an authority of its own, and returns
// the address and the authority's certificate.
func serveTLS(t *testing.T, h http.Handler, names ...string) (addr string, ca []byte) {
	t.Helper()
	authority, err := testkit.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	conf, err := authority.TLS(names...)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: tls.NewListener(l, conf), Config: &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}}
	srv.Start()
	t.Cleanup(srv.Close)
	return l.Addr().String(), authority.PEM()
}
