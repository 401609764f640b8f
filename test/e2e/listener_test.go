package e2e

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// TestListener sends the login's listener what browsers, scanners and other
// sites send, before and after the person has opened the link, and then lets
// the person finish.
//
// Invariant: LB-1, CF-1c
func TestListener(t *testing.T) {
	for _, place := range places {
		t.Run(place.name, func(t *testing.T) {
			st := place.at.get(t)
			m := machine(t, st)
			b := chromium(t, st, browser.Options{})
			ctx := t.Context()
			res := attempt(t, m, func(link string) error {
				u, err := url.Parse(link)
				if err != nil {
					return err
				}
				onlyLoopback(t, u.Port())
				molest(t, st, u)
				if err := stage.Ask(ctx, b, link); err != nil {
					return err
				}
				molest(t, st, u)
				return stage.Decide(ctx, b, "Allow")
			}, "--resource", st.Resource, "--scope", "read")
			if res.Code != 0 {
				t.Fatalf("exit code %d\n%s", res.Code, res.Stderr)
			}
			wantCall(t, st, "a call", reports(st), headers(t, m, http.MethodGet, reports(st)), http.StatusOK)
		})
	}
}

// stray is a request that must not move a login.
type stray struct {
	name, method, path, body string
	head                     http.Header
	host                     string
	status                   int
}

func molest(t *testing.T, st *stage.Stage, link *url.URL) {
	t.Helper()
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	from := func(origin string) http.Header {
		h := form.Clone()
		h.Set("Origin", origin)
		return h
	}
	nonce := "handshake_nonce=" + strings.Repeat("n", 43) + "&state=wrong&iss=" + url.QueryEscape(st.Issuer)
	for _, s := range []stray{
		{name: "favicon", method: "GET", path: "/favicon.ico", status: 204},
		{name: "HEAD of the link", method: "HEAD", path: link.Path, status: 503},
		{name: "prefetch of the link", method: "GET", path: link.Path, head: http.Header{"Sec-Purpose": {"prefetch;prerender"}}, status: 503},
		{name: "the link as an image", method: "GET", path: link.Path, head: http.Header{"Sec-Fetch-Dest": {"image"}, "Sec-Fetch-Mode": {"no-cors"}}, status: 503},
		{name: "POST of the link", method: "POST", path: link.Path, head: form, status: 405},
		{name: "another link", method: "GET", path: "/start/" + strings.Repeat("x", 43), status: 404},
		{name: "the root", method: "GET", path: "/", status: 404},
		{name: "done too early", method: "GET", path: "/done", status: 404},
		{name: "code by query", method: "GET", path: "/callback?code=ktc_x&state=x&iss=" + url.QueryEscape(st.Issuer), status: 400},
		{name: "error by query", method: "GET", path: "/callback?error=access_denied", status: 400},
		{name: "wrong state", method: "POST", path: "/callback", body: "code=x&state=wrong&iss=" + url.QueryEscape(st.Issuer), head: from(st.Issuer), status: 400},
		{name: "error with a wrong state", method: "POST", path: "/callback", body: "error=access_denied&state=wrong&iss=" + url.QueryEscape(st.Issuer), head: from(st.Issuer), status: 400},
		{name: "nonce with a wrong state", method: "POST", path: "/callback", body: nonce, head: from(st.Issuer), status: 400},
		{name: "another Origin", method: "POST", path: "/callback", body: nonce, head: from("https://evil.test"), status: 400},
		{name: "Origin null", method: "POST", path: "/callback", body: nonce, head: from("null"), status: 400},
		{name: "no Origin", method: "POST", path: "/callback", body: nonce, head: form, status: 400},
		{name: "JSON", method: "POST", path: "/callback", body: `{"code":"x"}`, head: http.Header{"Content-Type": {"application/json"}, "Origin": {st.Issuer}}, status: 415},
		{name: "too large", method: "POST", path: "/callback", body: "code=" + strings.Repeat("x", 1<<20), head: from(st.Issuer), status: 413},
		{name: "foreign Host", method: "GET", path: link.Path, host: "evil.test", status: 421},
		{name: "foreign Host with our port", method: "GET", path: link.Path, host: "evil.test:" + link.Port(), status: 421},
	} {
		req, err := http.NewRequestWithContext(t.Context(), s.method, "http://"+link.Host+s.path, strings.NewReader(s.body))
		do(t, err)
		if s.head != nil {
			req.Header = s.head
		}
		if s.host != "" {
			req.Host = s.host
		}
		resp, err := st.Client().Do(req)
		if err != nil {
			if s.name == "too large" { // the answer may overtake the body
				continue
			}
			t.Fatalf("%s: %v", s.name, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode != s.status {
			t.Errorf("%s: status %d, want %d", s.name, resp.StatusCode, s.status)
		}
		if loc := resp.Header.Get("Location"); loc != "" {
			t.Errorf("%s: sent on to %s", s.name, loc)
		}
	}
	// Somebody who connects and says nothing, and somebody who speaks no HTTP.
	for _, words := range []string{"", "\x16\x03\x01\x02\x00\x01"} {
		conn, err := net.Dial("tcp", link.Host)
		do(t, err)
		_, err = io.WriteString(conn, words)
		do(t, err)
		t.Cleanup(func() { conn.Close() })
	}
}

// onlyLoopback looks at who listens on a port, as the kernel tells it.
func onlyLoopback(t *testing.T, port string) {
	t.Helper()
	n, err := strconv.Atoi(port)
	do(t, err)
	var at []string
	for file, loopback := range map[string]string{
		"/proc/net/tcp":  hexAddress(net.IPv4(127, 0, 0, 1).To4()),
		"/proc/net/tcp6": hexAddress(net.IPv6loopback),
	} {
		f, err := os.Open(file)
		do(t, err)
		defer f.Close()
		for sc := bufio.NewScanner(f); sc.Scan(); {
			fields := strings.Fields(sc.Text())
			if len(fields) < 4 || fields[3] != "0A" || !strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", n)) {
				continue
			}
			at = append(at, file)
			if addr, _, _ := strings.Cut(fields[1], ":"); addr != loopback {
				t.Errorf("somebody listens on port %s at %s in %s", port, addr, file)
			}
		}
	}
	slices.Sort(at)
	if !slices.Equal(at, []string{"/proc/net/tcp", "/proc/net/tcp6"}) {
		t.Errorf("the listeners are in %q, want one on 127.0.0.1 and one on ::1", at)
	}
	addrs, err := net.InterfaceAddrs()
	do(t, err)
	for _, a := range addrs {
		ip, ok := a.(*net.IPNet)
		if !ok || ip.IP.IsLoopback() || ip.IP.IsLinkLocalUnicast() {
			continue
		}
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip.IP.String(), port), time.Second)
		if err == nil {
			conn.Close()
			t.Errorf("the listener answers at %s", ip.IP)
		}
	}
}

// hexAddress writes an address as the kernel does: words of four bytes, each in
// the machine's order, which is little-endian wherever these tests run.
func hexAddress(ip net.IP) string {
	b := slices.Clone([]byte(ip))
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	return strings.ToUpper(hex.EncodeToString(b))
}
