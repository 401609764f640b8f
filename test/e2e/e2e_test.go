// Package e2e tests logins from end to end: the built programs, a real Chromium
// that presses the real buttons, at plain http on loopback and at
// https://auth.test with a private certificate authority.
//
// Both places are there because on 127.0.0.1 ports share a site, so that every
// rule about cookies and forms looks fine; and because https is where mixed
// content and __Host- cookies begin.
package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// bin is where the programs were built, once for all tests.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := testkit.ShortDir()
	if err == nil {
		bin = dir
		defer os.RemoveAll(dir)
		err = stage.Binaries(context.Background(), dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := errors.Join(plain.close(), secure.close()); err != nil {
		fmt.Fprintln(os.Stderr, "closing the stages:", err)
		code = 1
	}
	return code
}

// shared is a stage that several tests use, one after another.
type shared struct {
	tls   bool
	once  sync.Once
	stage *stage.Stage
	err   error
	addr  string // where the API for bearer tokens is to listen
}

var (
	plain  = &shared{}
	secure = &shared{tls: true}
)

// places are where a login is tried.
var places = []struct {
	name string
	at   *shared
}{{"http", plain}, {"https", secure}}

func (s *shared) get(t *testing.T) *stage.Stage {
	t.Helper()
	s.once.Do(func() {
		if s.addr, s.err = testkit.FreeLoopback(); s.err != nil {
			return
		}
		s.stage, s.err = stage.New(context.Background(), bin, stage.Options{
			TLS: s.tls, Clients: standardClients(s.addr), Resources: standardResource(s.addr),
		})
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.stage
}

func (s *shared) close() error {
	if s.stage == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return s.stage.Close(ctx)
}

// ownStage is a stage for one test.
func ownStage(t *testing.T, opt stage.Options) *stage.Stage {
	t.Helper()
	st, err := stage.New(t.Context(), bin, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := st.Close(ctx); err != nil {
			t.Errorf("closing the stage: %v", err)
		}
	})
	return st
}

// machine is a computer that nobody used before.
func machine(t *testing.T, st *stage.Stage) *stage.Machine {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, t.Name())
	// Short: the agent's socket lies below, and its path has a limit.
	m, err := st.NewMachine(fmt.Sprintf("%.12s%d", name, time.Now().UnixNano()%1e6))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// chromium is a browser with an empty profile. On failure it tells what it saw.
func chromium(t *testing.T, st *stage.Stage, opt browser.Options) *browser.Browser {
	t.Helper()
	b, err := st.Browser(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the address bar showed %q", b.Shown())
			t.Logf("the console says %q", b.Console())
			if u, err := b.URL(context.Background()); err == nil {
				text, _ := b.Text(context.Background())
				t.Logf("it is at %s, which says %q", u, text)
			}
		}
		if err := b.Close(); err != nil {
			t.Errorf("closing the browser: %v", err)
		}
	})
	return b
}

// logIn logs in on m with b, pressing Allow.
func logIn(t *testing.T, m *stage.Machine, b *browser.Browser, args ...string) stage.Event {
	t.Helper()
	res := attempt(t, m, func(url string) error { return stage.Allow(t.Context(), b, url) }, args...)
	last := res.Last()
	if res.Code != 0 || last.Event != "done" || last.GrantID == "" || last.Subject == "" {
		t.Fatalf("login ended with code %d and %s\n%s", res.Code, last.Raw, res.Stderr)
	}
	return last
}

// attempt is a login whose link is opened by open. It fails the test if that
// fails, not if the login does.
func attempt(t *testing.T, m *stage.Machine, open func(link string) error, args ...string) stage.LoginResult {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := m.Login(ctx, open, args...)
	if err != nil {
		t.Fatalf("login: %v\n%s", err, res.Stderr)
	}
	return res
}

// keytether runs a command and wants its exit code.
func keytether(t *testing.T, m *stage.Machine, code int, args ...string) stage.Result {
	t.Helper()
	res, err := m.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	if res.Code != code {
		t.Fatalf("keytether %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), res.Code, code, res.Stdout, res.Stderr)
	}
	return res
}

// headers are what the agent gives for one request.
func headers(t *testing.T, m *stage.Machine, method, u string, more ...string) http.Header {
	t.Helper()
	out := keytether(t, m, 0, append([]string{"token", "--json", "--proof", method, u}, more...)...).Stdout
	var h struct{ Authorization, DPoP string }
	if err := json.Unmarshal([]byte(out), &h); err != nil {
		t.Fatalf("token --proof printed %q: %v", out, err)
	}
	return http.Header{"Authorization": {h.Authorization}, "Dpop": {h.DPoP}}
}

// call makes a request and gives its status and challenge.
func call(t *testing.T, st *stage.Stage, method, u string, h http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = h
	resp, err := st.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Header.Get("WWW-Authenticate")
}

// wantCall is call that must be answered with a status.
func wantCall(t *testing.T, st *stage.Stage, what, u string, h http.Header, status int) {
	t.Helper()
	if got, challenge := call(t, st, http.MethodGet, u, h); got != status {
		t.Errorf("%s: status %d, want %d (%s)", what, got, status, challenge)
	}
}

// reports is what the sample API serves to those who may read.
func reports(st *stage.Stage) string { return st.Resource + "/reports" }

// do fails the test if a step of it went wrong.
func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eval runs an expression in the page.
func eval(t *testing.T, b *browser.Browser, expression string) string {
	t.Helper()
	s, err := b.Eval(t.Context(), expression)
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return s
}

// query gives the names of the parameters in a URL's query and fragment.
func query(t *testing.T, raw string) []string {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatalf("the address bar showed %q: %v", raw, err)
	}
	var names []string
	for name := range u.Query() {
		names = append(names, name)
	}
	if u.Fragment != "" {
		names = append(names, "#"+u.Fragment)
	}
	return names
}
