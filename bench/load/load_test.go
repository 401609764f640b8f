package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/oauth"
)

// load runs the command and reads its report.
func load(t *testing.T, h hooks, args ...string) (report, int) {
	t.Helper()
	if h.started == nil {
		h.started = func(oauth.DeviceResponse) {}
	}
	var out, errs bytes.Buffer
	code := command(t.Context(), append(args, "-json"), &out, &errs, h)
	if code != 0 {
		return report{}, code
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	return r, code
}

func (r report) operation(t *testing.T, name string) operation {
	t.Helper()
	for _, o := range r.Work {
		if o.Name == name {
			return o
		}
	}
	t.Fatalf("no %s in %+v", name, r)
	return operation{}
}

// TestLoadOnOurs: logins of which a person allows every one, refreshed, with
// proofs and without, with and without pushed requests.
func TestLoadOnOurs(t *testing.T) {
	for name, tt := range map[string]struct {
		client string
		args   []string
	}{
		"bearer":         {edgetest.Plain, nil},
		"proofs":         {edgetest.Bound, []string{"-dpop"}},
		"proofs and par": {edgetest.Bound, []string{"-dpop", "-par", "-redirect", edgetest.Redirect}},
	} {
		t.Run(name, func(t *testing.T) {
			s := edgetest.NewServer(t, edgetest.Options{})
			b := s.NewBrowser()
			h := hooks{
				started: func(d oauth.DeviceResponse) { // one tool: one at a time
					b.Open(d.VerificationURI)
					b.Press("Continue", "user_code", d.UserCode)
					if strings.Contains(b.Page.Body, "Sign in</button>") {
						b.SignIn(edgetest.Email, edgetest.Password)
					}
					b.Press("Allow")
				},
				rest: func(ctx context.Context, d time.Duration) bool { s.Clock.Advance(d); return ctx.Err() == nil },
			}
			r, code := load(t, h, append(tt.args, "-issuer", s.Issuer, "-client", tt.client, "-scope", "read",
				"-tools", "1", "-count", "24", "-refreshes", "4", "-time", "1m")...)
			if code != 0 || r.Logins < 3 {
				t.Fatalf("exit code %d, %+v", code, r)
			}
			names := []string{"device_authorization", "poll", "refresh"}
			if slices.Contains(tt.args, "-par") {
				names = append(names, "pushed_authorization")
			}
			var n, again int64
			for _, name := range names {
				o := r.operation(t, name)
				n, again = n+o.Requests, again+o.Errors["use_dpop_nonce"]
				delete(o.Errors, "use_dpop_nonce")
				if len(o.Errors) > 0 || o.P50 <= 0 || o.P99 < o.P50 || o.Max < o.P99 {
					t.Errorf("%+v", o)
				}
			}
			if n-again != 24 || r.Requests != n {
				t.Errorf("%d requests, %d of them again, of 24 that were asked for: %+v", n, again, r)
			}
		})
	}
}

// plainServer is a small server with RFC 8628 and refreshes, and nothing else: no
// proofs, no rotation, OpenID Connect's metadata.
type plainServer struct {
	*httptest.Server
	polls    func(n int) (status int, body string)
	mu       sync.Mutex
	requests int
	seen     []string // grant types
}

func newPlainServer(t *testing.T, polls func(n int) (int, string)) *plainServer {
	s := &plainServer{polls: polls}
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, status int, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		write(w, 200, `{"issuer":"`+s.URL+`","token_endpoint":"`+s.URL+`/t","device_authorization_endpoint":"`+s.URL+`/d"}`)
	})
	n := 0
	handle := func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests++
		if r.Header.Get("DPoP") != "" || r.Header.Get("Prefer") != "" || r.PostFormValue("client_id") != "cli" {
			t.Errorf("asked for by %v with %v", r.PostForm, r.Header)
		}
		s.seen = append(s.seen, r.PostFormValue("grant_type"))
		switch {
		case r.URL.Path == "/d":
			n = 0
			write(w, 200, `{"device_code":"d","user_code":"U","verification_uri":"`+s.URL+`/v","expires_in":60,"interval":1}`)
		case r.PostFormValue("grant_type") == oauth.GrantDeviceCode && r.PostFormValue("device_code") == "d":
			n++
			status, body := s.polls(n)
			write(w, status, body)
		case r.PostFormValue("grant_type") == oauth.GrantRefreshToken && r.PostFormValue("refresh_token") == "r":
			write(w, 200, `{"access_token":"a","token_type":"Bearer"}`)
		default:
			write(w, 400, `{"error":"invalid_request"}`)
		}
	}
	mux.HandleFunc("POST /d", handle)
	mux.HandleFunc("POST /t", handle)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// TestLoadOnAnyServer: polls keep to the server's interval and to slow_down, errors
// are counted by name, and the refresh token is kept where the server does.
func TestLoadOnAnyServer(t *testing.T) {
	s := newPlainServer(t, func(n int) (int, string) {
		return 400, []string{`{"error":"authorization_pending"}`, `{"error":"slow_down"}`, `{"error":"authorization_pending"}`, `{"error":"expired_token"}`}[n-1]
	})
	tokens := newPlainServer(t, func(int) (int, string) {
		return 200, `{"access_token":"a","token_type":"Bearer","refresh_token":"r"}`
	})
	var rested []time.Duration
	h := hooks{rest: func(ctx context.Context, d time.Duration) bool { rested = append(rested, d); return true }}
	r, code := load(t, h, "-issuer", s.URL, "-client", "cli", "-tools", "1", "-count", "5")
	want := map[string]int64{"authorization_pending": 2, "slow_down": 1, "expired_token": 1}
	if o := r.operation(t, "poll"); code != 0 || o.Requests != 4 || r.Logins != 0 || !equal(o.Errors, want) {
		t.Errorf("exit code %d, %+v", code, o)
	}
	if want := []time.Duration{time.Second, time.Second, 6 * time.Second, 6 * time.Second, afterRefusal}; !slices.Equal(rested, want) {
		t.Errorf("rested %v, want %v", rested, want)
	}
	r, code = load(t, h, "-issuer", tokens.URL, "-client", "cli", "-tools", "3", "-count", "40", "-refreshes", "2")
	if o := r.operation(t, "refresh"); code != 0 || len(o.Errors) > 0 || r.Requests != 40 || tokens.requests != 40 || r.Logins == 0 {
		t.Errorf("exit code %d, %d requests came, %+v", code, tokens.requests, r)
	}
}

func equal(a, b map[string]int64) bool {
	ja, _ := json.Marshal(a)
	jb, _ := json.Marshal(b)
	return bytes.Equal(ja, jb)
}

// TestLoadEnds by itself when its time is over, though nobody ever decides, and
// says what there was.
func TestLoadEnds(t *testing.T) {
	s := newPlainServer(t, func(int) (int, string) { return 400, `{"error":"authorization_pending"}` })
	begun := time.Now()
	r, code := load(t, hooks{rest: rest}, "-issuer", s.URL, "-client", "cli", "-tools", "2", "-time", "300ms")
	if took := time.Since(begun); code != 0 || r.Requests != 2 || took > 10*time.Second {
		t.Errorf("exit code %d after %v, %+v", code, took, r)
	}
	var out bytes.Buffer
	if err := r.print(&out, false); err != nil || !strings.Contains(out.String(), "device_authorization") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// TestLoadLoopbackAlone: no other address is put under load, wherever it is named,
// and whatever a name resolves to when it is dialled.
func TestLoadLoopbackAlone(t *testing.T) {
	for _, issuer := range []string{"http://192.0.2.1", "https://[2001:db8::1]:8430", "http://0.0.0.0", "nonsense"} {
		if _, code := load(t, hooks{}, "-issuer", issuer, "-client", "cli"); code == 0 {
			t.Errorf("%s was put under load", issuer)
		}
	}
	var s *httptest.Server
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"issuer":"` + s.URL + `","device_authorization_endpoint":"` + s.URL + `/d","token_endpoint":"http://192.0.2.1/t"}`))
	}))
	defer s.Close()
	if _, err := run(t.Context(), options{issuer: s.URL, client: "cli", tools: 1, count: 1, time: time.Second}); !errors.Is(err, errLoopback) {
		t.Errorf("metadata that point elsewhere: %v", err)
	}
	resp, err := client(1).Get("http://192.0.2.1/")
	if err == nil {
		_ = resp.Body.Close()
	}
	if !errors.Is(err, errLoopback) {
		t.Errorf("dialled: %v", err)
	}
}

// TestLoadUsage names what is wrong.
func TestLoadUsage(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"-issuer", "http://127.0.0.1"},
		{"-client", "x"},
		{"-issuer", "http://127.0.0.1", "-client", "x", "-tools", "0"},
		{"-issuer", "http://127.0.0.1", "-client", "x", "-time", "9999h"},
		{"-issuer", "http://127.0.0.1", "-client", "x", "y"},
		{"-nonsense"},
	} {
		if _, code := load(t, hooks{}, args...); code != 2 {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}
