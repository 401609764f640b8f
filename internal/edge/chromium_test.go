package edge_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/testkit/browser"
)

// listener is a tool's loopback listener: it answers a nonce and keeps what it
// gets.
type listener struct {
	redirect string

	mu      sync.Mutex
	got     []url.Values
	origins []string
}

func listen(t *testing.T, addr string, answer func(url.Values) string) *listener {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{redirect: "http://" + ln.Addr().String() + "/callback"}
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/callback" {
				_, _ = io.WriteString(w, "<!doctype html><title>done</title>You are logged in")
				return
			}
			if err := r.ParseForm(); err != nil {
				t.Error(err)
			}
			l.mu.Lock()
			l.got, l.origins = append(l.got, r.Form), append(l.origins, r.Header.Get("Origin"))
			l.mu.Unlock()
			http.Redirect(w, r, answer(r.Form), http.StatusSeeOther)
		}),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	return l
}

func (l *listener) all() ([]url.Values, []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]url.Values(nil), l.got...), append([]string(nil), l.origins...)
}

// TestChromium logs in through a real browser at https://auth.test: with the
// handshake, with a redirect, and with a form, on both loopback addresses, with
// and without scripts. Chromium holds every form and every redirect after one
// against the pages' own policies, and has nothing to complain of.
//
// Invariant: CF-2c, HS-2, HS-6
func TestChromium(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{HTTPS: true})
	for _, c := range []struct {
		name, client, mode, addr string
		noScript                 bool
	}{
		{name: "handshake", client: edgetest.Handshake, mode: "form_post", addr: "127.0.0.1:0"},
		{name: "handshake without scripts", client: edgetest.Handshake, mode: "form_post", addr: "127.0.0.1:0", noScript: true},
		{name: "handshake IPv6", client: edgetest.Handshake, mode: "form_post", addr: "[::1]:0"},
		{name: "query", client: edgetest.Plain, mode: "query", addr: "127.0.0.1:0"},
		{name: "query IPv6", client: edgetest.Plain, mode: "query", addr: "[::1]:0"},
		{name: "form_post", client: edgetest.Plain, mode: "form_post", addr: "127.0.0.1:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tool := s.NewTool(c.client)
			tool.Mode = c.mode
			l := listen(t, c.addr, func(f url.Values) string {
				if n := f.Get("handshake_nonce"); n != "" {
					return tool.HandshakeURL(tool.Key, tool.HandshakeClaims(n))
				}
				return "/done"
			})
			tool.Redirect = l.redirect
			if c.client == edgetest.Handshake {
				tool.Push()
			}
			hosts := map[string]string{"auth.test": s.Addr}
			if u, err := url.Parse(l.redirect); err == nil && u.Hostname() == "::1" {
				hosts["::1"] = u.Host
			}
			b := browser.Start(t, browser.Options{Hosts: hosts, CA: s.CA.PEM(), NoScript: c.noScript})
			ctx := t.Context()
			do := func(err error) {
				t.Helper()
				if err != nil {
					text, _ := b.Text(ctx)
					t.Fatalf("%v\nat %v: %s\nconsole %q", err, b.URLs(), text, b.Console())
				}
			}
			do(b.Open(ctx, tool.AuthorizeURL()))
			do(b.Fill(ctx, "Email", edgetest.Email))
			do(b.Fill(ctx, "Password", edgetest.Password))
			do(b.Click(ctx, "Sign in"))
			do(b.Click(ctx, "Allow"))
			if c.noScript {
				do(b.WaitText(ctx, "whether it started this login"))
				do(b.Click(ctx, "Continue"))
				do(b.WaitText(ctx, "that you allowed it"))
				do(b.Click(ctx, "Continue"))
			}
			do(b.WaitText(ctx, "You are logged in"))
			got, origins := l.all()
			last := got[len(got)-1]
			if last.Get("iss") != s.Issuer || last.Get("state") != tool.State || last.Get("code") == "" {
				t.Errorf("the listener got %v", last)
			}
			if c.mode == "form_post" {
				for _, o := range origins {
					if o != s.Issuer {
						t.Errorf("Origin %q", o)
					}
				}
				for _, u := range b.Shown() {
					if strings.Contains(u, last.Get("code")) || strings.Contains(u, got[0].Get("handshake_nonce")) && c.client == edgetest.Handshake {
						t.Errorf("a secret stood in the address bar: %s", u)
					}
				}
			}
			if said := b.Console(); len(said) != 0 {
				t.Errorf("the console complains: %q", said)
			}
			tool.Code = last.Get("code")
			tool.Take(tool.Post(oauth.PathToken, tool.RedeemParams()))
		})
	}
}
