package localproxy

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/secret"
)

// adder stands in for login's RoundTripper: it adds a credential, and tries once more with the
// nonce that the API asks for, if the body can be had again.
type adder struct{ base http.RoundTripper }

func (a adder) RoundTrip(r *http.Request) (*http.Response, error) {
	nonce := ""
	for body := r.Body; ; {
		out := r.Clone(r.Context())
		out.Body = body
		out.Header.Set("Authorization", "DPoP made-up-token")
		out.Header.Set("DPoP", "proof"+nonce)
		res, err := a.base.RoundTrip(out)
		if err != nil || res.StatusCode != http.StatusUnauthorized || nonce != "" {
			return res, err
		}
		if body != nil && body != http.NoBody {
			if r.GetBody == nil {
				return res, nil
			}
			if body, err = r.GetBody(); err != nil {
				return res, nil
			}
		}
		nonce = res.Header.Get("DPoP-Nonce")
		_ = res.Body.Close()
	}
}

// api is one that asks for a nonce at first, and remembers what it got.
type api struct {
	mu   sync.Mutex
	seen []*http.Request
	got  []string
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("DPoP") == "proof" {
		w.Header().Set("DPoP-Nonce", "-n1")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	b, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.seen, a.got = append(a.seen, r), append(a.got, string(b))
	a.mu.Unlock()
	switch {
	case strings.HasSuffix(r.URL.Path, "/inside"):
		w.Header().Set("Location", "/v1/next?a=b%20c")
		w.WriteHeader(http.StatusFound)
	case strings.HasSuffix(r.URL.Path, "/outside"):
		w.Header().Set("Location", "https://elsewhere.example.test/v1/next")
		w.WriteHeader(http.StatusFound)
	case strings.HasSuffix(r.URL.Path, "/beside"):
		w.Header().Set("Location", "/v10/next")
		w.WriteHeader(http.StatusFound)
	case strings.HasSuffix(r.URL.Path, "/stream"):
		for i := range 3 {
			fmt.Fprintf(w, "part %d\n", i)
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	default:
		w.Header().Set("DPoP-Nonce", "-n2")
		fmt.Fprintf(w, "%s %s", r.Method, r.URL.RequestURI())
	}
}

func (a *api) last(t *testing.T) (*http.Request, string) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.seen) == 0 {
		t.Fatal("the API was not asked")
	}
	return a.seen[len(a.seen)-1], a.got[len(a.got)-1]
}

// start runs an API under /v1 and a proxy before it, over TCP with a secret if there is one.
func start(t *testing.T, s secret.Value) (*api, *httptest.Server) {
	t.Helper()
	a := &api{}
	upstream := httptest.NewServer(a)
	t.Cleanup(upstream.Close)
	resource, err := url.Parse(upstream.URL + "/v1")
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewUnstartedServer(nil)
	o := Options{
		Resource: resource, Through: adder{&http.Transport{ExpectContinueTimeout: 5 * time.Second}}, Secret: s,
		Explain: func(_ *http.Request, err error) (int, string) { return http.StatusBadGateway, err.Error() },
	}
	if !s.IsZero() {
		o.Hosts = []string{front.Listener.Addr().String()}
	}
	front.Config.Handler = New(o)
	front.Start()
	t.Cleanup(front.Close)
	return a, front
}

var client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func do(t *testing.T, r *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func request(t *testing.T, method, url string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAddsCredentials: what the tool said about who it is goes nowhere, path and query go on below
// the resource, and the API's nonce stays here.
//
// Invariant: LP-1
func TestAddsCredentials(t *testing.T) {
	a, front := start(t, secret.Value{})
	r := request(t, "PUT", front.URL+"/reports/a%2Fb?x=1", strings.NewReader("hello"))
	r.Host = "api"
	for k, v := range map[string]string{"Authorization": "Bearer the-tool's", "DPoP": "the-tool's", "X-Forwarded-For": "192.0.2.1", "X-Own": "stays"} {
		r.Header.Set(k, v)
	}
	res, body := do(t, r)
	if res.StatusCode != http.StatusOK || body != "PUT /v1/reports/a%2Fb?x=1" || res.Header.Get("DPoP-Nonce") != "" {
		t.Errorf("%d %q %v", res.StatusCode, body, res.Header)
	}
	seen, got := a.last(t)
	if got != "hello" || seen.Header.Get("Authorization") != "DPoP made-up-token" || seen.Header.Get("DPoP") != "proof-n1" || seen.Header.Get("X-Own") != "stays" || seen.Header.Get("X-Forwarded-For") != "" || seen.Host == "api" {
		t.Errorf("the API got %q, %v, %s", got, seen.Header, seen.Host)
	}
}

// TestLargeBodies waits for the API's word before it sends what it could not send twice.
func TestLargeBodies(t *testing.T) {
	a, front := start(t, secret.Value{})
	large := bytes.Repeat([]byte("0123456789abcdef"), maxReplay/8)
	for name, body := range map[string]io.Reader{
		"of known length": bytes.NewReader(large),
		"streamed":        struct{ io.Reader }{bytes.NewReader(large)},
	} {
		if res, _ := do(t, request(t, "POST", front.URL+"/upload", body)); res.StatusCode != http.StatusOK {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
		if _, got := a.last(t); got != string(large) {
			t.Errorf("%s: %d bytes of %d came", name, len(got), len(large))
		}
	}
}

func TestStreams(t *testing.T) {
	_, front := start(t, secret.Value{})
	res, err := client.Do(request(t, "GET", front.URL+"/stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	begin := time.Now()
	lines.Scan()
	first := time.Since(begin)
	for lines.Scan() {
	}
	if all := time.Since(begin); lines.Err() != nil || first > all/2+10*time.Millisecond {
		t.Errorf("the first part came after %v of %v, %v", first, all, lines.Err())
	}
}

// TestRedirects leads what stays within the resource back through the proxy, and leaves what does
// not to the tool.
//
// Invariant: LP-1
func TestRedirects(t *testing.T) {
	_, front := start(t, secret.Value{})
	for path, want := range map[string]string{
		"/inside":  "/next?a=b%20c",
		"/outside": "https://elsewhere.example.test/v1/next",
		"/beside":  "/v10/next",
	} {
		if res, _ := do(t, request(t, "GET", front.URL+path, nil)); res.StatusCode != http.StatusFound || res.Header.Get("Location") != want {
			t.Errorf("%s: %d, %q", path, res.StatusCode, res.Header.Get("Location"))
		}
	}
}

// TestWhoMayAsk over TCP: another process without the secret, a page of another site, a name that
// was made to point here, a tool that takes us for a forward proxy.
//
// Invariant: LP-2
func TestWhoMayAsk(t *testing.T) {
	s := secret.Mint(secret.Proxy, [32]byte{1})
	a, front := start(t, s)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("anybody:"+s.Reveal()))
	for _, tt := range []struct {
		name   string
		host   string
		header map[string]string
		want   int
	}{
		{"Bearer", "", map[string]string{"Authorization": "Bearer " + s.Reveal()}, 200},
		{"Basic", "", map[string]string{"Authorization": basic}, 200},
		{"from our own page", "", map[string]string{"Authorization": basic, "Origin": front.URL, "Sec-Fetch-Site": "same-origin"}, 200},
		{"no secret", "", nil, 401},
		{"another run's", "", map[string]string{"Authorization": "Bearer " + secret.Mint(secret.Proxy, [32]byte{2}).Reveal()}, 401},
		{"another name", "evil.example.test", map[string]string{"Authorization": basic}, 421},
		{"another port's name", "127.0.0.1:1", map[string]string{"Authorization": basic}, 421},
		{"another site's page", "", map[string]string{"Authorization": basic, "Origin": "https://evil.example.test"}, 403},
		{"another site's image", "", map[string]string{"Authorization": basic, "Sec-Fetch-Site": "cross-site"}, 403},
		{"another port's page", "", map[string]string{"Authorization": basic, "Sec-Fetch-Site": "same-site"}, 403},
	} {
		before := len(a.got)
		r := request(t, "GET", front.URL+"/x", nil)
		if tt.host != "" {
			r.Host = tt.host
		}
		for k, v := range tt.header {
			r.Header.Set(k, v)
		}
		res, body := do(t, r)
		if res.StatusCode != tt.want || strings.Contains(body, s.Reveal()) {
			t.Errorf("%s: %d %q", tt.name, res.StatusCode, body)
		}
		if asked := len(a.got) > before; asked != (tt.want == 200) {
			t.Errorf("%s: the API was asked: %t", tt.name, asked)
		}
	}
	seen, _ := a.last(t)
	if strings.Contains(fmt.Sprint(seen.Header), s.Reveal()) {
		t.Error("the secret went on to the API")
	}

	through, err := url.Parse(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	forward := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(through)}}
	res, err := forward.Get("http://api.example.test/x")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusBadRequest || !strings.Contains(string(b), "no forward proxy") {
		t.Errorf("as a forward proxy: %d %s", res.StatusCode, b)
	}
}

type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("not logged in. Run `keytether login`")
}

func TestFailure(t *testing.T) {
	u, err := url.Parse("https://api.example.test")
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	New(Options{Resource: u, Through: broken{}, Explain: func(_ *http.Request, err error) (int, string) { return 502, err.Error() }}).ServeHTTP(w, httptest.NewRequest("GET", "/x", nil))
	if w.Code != http.StatusBadGateway || !strings.Contains(w.Body.String(), "keytether login") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestLaterAttempts: of a body that is sent a second time nothing gets lost, however late the first
// attempt lets go of it; and once somebody has read of it there is no other attempt.
//
// Invariant: LP-3
func TestLaterAttempts(t *testing.T) {
	closed := false
	l := &later{body: body{strings.NewReader("the whole body"), func() { closed = true }}}
	first := &attempt{of: l}
	second, err := l.again()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := first.Read(make([]byte, 3)); n != 0 || err == nil {
		t.Errorf("the first attempt reads %d bytes, %v", n, err)
	}
	b := make([]byte, 3)
	if n, err := second.Read(b); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if first.Close() != nil || closed {
		t.Error("the first attempt closed what the second one reads")
	}
	if rest, err := io.ReadAll(second); string(b)+string(rest) != "the whole body" {
		t.Errorf("%q, %v", string(b)+string(rest), err)
	}
	if third, err := l.again(); third != nil || err == nil {
		t.Error("a body that was read can be had again")
	}
	if second.Close() != nil || !closed {
		t.Error("nobody closes it")
	}
}

type body struct {
	io.Reader
	close func()
}

// Close closes.
func (b body) Close() error { b.close(); return nil }

// TestQueryAsItIs: the API gets the query that the tool wrote, also where Go would read another.
func TestQueryAsItIs(t *testing.T) {
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.RequestURI }))
	t.Cleanup(s.Close)
	u, _ := url.Parse(s.URL + "/v1")
	h := New(Options{Resource: u, Through: http.DefaultTransport})
	for _, q := range []string{"a=1&b=2", "q=a;b&c", "p=%zz", "b=2&a=1&a=+", "", "x=%2F&y=/"} {
		want := strings.TrimSuffix("/v1/x?"+q, "?")
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", strings.TrimPrefix(want, "/v1"), nil))
		if got != want {
			t.Errorf("%q became %q", want, got)
		}
	}
}

// TestUpgrade: a connection that changes its protocol goes both ways.
func TestUpgrade(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_ = rw.Flush()
		line, _ := rw.ReadString('\n')
		_, _ = rw.WriteString("echo " + line)
		_ = rw.Flush()
	}))
	t.Cleanup(s.Close)
	u, _ := url.Parse(s.URL)
	front := httptest.NewServer(New(Options{Resource: u, Through: adder{http.DefaultTransport}}))
	t.Cleanup(front.Close)
	conn, err := net.DialTimeout("tcp", front.Listener.Addr().String(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: api\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	if res, err := http.ReadResponse(in, nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v, %v", res, err)
	}
	_, _ = io.WriteString(conn, "hello\n")
	if line, err := in.ReadString('\n'); line != "echo hello\n" {
		t.Errorf("%q, %v", line, err)
	}
}
