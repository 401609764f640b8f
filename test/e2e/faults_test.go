package e2e

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// TestFaults shows what a person is told when a login goes wrong, and that the
// next one works.
func TestFaults(t *testing.T) {
	var cut atomic.Bool
	st := ownStage(t, stage.Options{NoAPI: true, Between: func(server http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if cut.Load() && r.URL.Path == "/oauth/token" {
				panic(http.ErrAbortHandler)
			}
			server.ServeHTTP(w, r)
		})
	}})
	b := chromium(t, st, browser.Options{})
	allow := func(url string) error { return stage.Allow(t.Context(), b, url) }
	m := machine(t, st)

	t.Run("denied", func(t *testing.T) {
		res := attempt(t, m, func(url string) error {
			return errors.Join(stage.Ask(t.Context(), b, url), stage.Decide(t.Context(), b, "Deny"))
		})
		wantEnd(t, res, 4, "denied", "log in again")
		do(t, b.WaitText(t.Context(), "Not signed in"))
		checkAddressBar(t, b)
	})

	t.Run("the person walks away and cancels", func(t *testing.T) {
		c := m.Command(t.Context(), "login", "--flow", "browser", "--no-browser", "--issuer", st.Issuer)
		link, stderr := startLogin(t, c)
		do(t, c.Process.Signal(os.Interrupt))
		_ = c.Wait()
		if code := c.ProcessState.ExitCode(); code != 1 || !strings.Contains(stderr.String(), "cancelled") {
			t.Errorf("exit code %d, want 1\n%s", code, stderr)
		}
		addr := strings.Split(link, "/")[2]
		eventually(t, "the listener is gone", func() bool {
			conn, err := net.DialTimeout("tcp", addr, time.Second)
			if err == nil {
				conn.Close()
			}
			return err != nil
		})
		keytether(t, m, 3, "token")
	})

	t.Run("the browser cannot be opened", func(t *testing.T) {
		c := m.Command(t.Context(), "login", "--issuer", st.Issuer)
		c.Env = append(c.Env, "BROWSER=/nonexistent/browser")
		link, stderr := startLogin(t, c)
		do(t, allow(link))
		do(t, c.Wait())
		for _, want := range []string{"could not be opened", "/nonexistent/browser"} {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%q is not said:\n%s", want, stderr)
			}
		}
		keytether(t, m, 0, "whoami")
	})

	t.Run("the server is gone before the link is opened", func(t *testing.T) {
		res := attempt(t, m, func(url string) error {
			st.Server.Kill()
			return b.Open(t.Context(), url)
		}, "--profile", "gone")
		do(t, b.WaitText(t.Context(), "Not signed in"))
		wantEnd(t, res, 6, "the login was not finished", "why:")
		keytether(t, m, 6, "login", "--no-browser", "--issuer", st.Issuer, "--profile", "gone")
		do(t, st.StartServer(t.Context()))
	})

	t.Run("the server is gone when the code is redeemed", func(t *testing.T) {
		cut.Store(true)
		defer cut.Store(false)
		res := attempt(t, m, allow, "--profile", "cut")
		wantEnd(t, res, 6, "the login was not finished", "why:")
		do(t, b.WaitText(t.Context(), "Not signed in"))
	})

	t.Run("the agent is killed in the middle", func(t *testing.T) {
		killed := machine(t, st)
		agent, err := killed.StartAgent(t.Context())
		do(t, err)
		res := attempt(t, killed, func(url string) error {
			err := stage.Ask(t.Context(), b, url)
			agent.Kill()
			return err
		})
		wantEnd(t, res, 1, "agent")

		// The next login starts another agent.
		logIn(t, killed, b)
		keytether(t, killed, 0, "whoami")
	})

	t.Run("the agent is killed later", func(t *testing.T) {
		killed := machine(t, st)
		agent, err := killed.StartAgent(t.Context())
		do(t, err)
		logIn(t, killed, b)
		agent.Kill()
		for _, args := range [][]string{{"token"}, {"whoami"}} {
			res := keytether(t, killed, 3, args...)
			if !strings.Contains(res.Stderr, "not logged in") || !strings.Contains(res.Stderr, "keytether login") {
				t.Errorf("%q says\n%s", args, res.Stderr)
			}
		}
		logIn(t, killed, b)
	})
}

// wantEnd wants an exit code and words on stderr.
func wantEnd(t *testing.T, res stage.LoginResult, code int, words ...string) {
	t.Helper()
	if res.Code != code {
		t.Errorf("exit code %d, want %d; the last event was %s", res.Code, code, res.Last().Raw)
	}
	for _, w := range words {
		if !strings.Contains(strings.ToLower(res.Stderr), strings.ToLower(w)) {
			t.Errorf("stderr lacks %q:\n%s", w, res.Stderr)
		}
	}
	if res.Last().Event != "error" {
		t.Errorf("the last event is %s", res.Last().Raw)
	}
}

// eventually waits up to five seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

var startLink = regexp.MustCompile(`http://\S+/start/\S+`)

// startLogin starts a login and gives the link that it prints for a person.
func startLogin(t *testing.T, c *exec.Cmd) (link string, stderr *testkit.Buffer) {
	t.Helper()
	stderr = &testkit.Buffer{}
	c.Stderr, c.Stdout = stderr, &bytes.Buffer{}
	do(t, c.Start())
	context.AfterFunc(t.Context(), func() { _ = c.Process.Kill() })
	eventually(t, "the link is printed", func() bool {
		link = startLink.FindString(stderr.String())
		return link != ""
	})
	return link, stderr
}
