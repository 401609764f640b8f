package python

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// tokenLife is the shortest that the server's config takes.
const tokenLife = 30 * time.Second

// clients are two with short tokens, so that their renewals can be told apart.
const clients = `- id: reports
  name: Reports
  redirect_uris: ["http://127.0.0.1/callback"]
  lifetimes: {access: 30s}
- id: storm
  name: Storm
  redirect_uris: ["http://127.0.0.1/callback"]
  lifetimes: {access: 30s}
`

// renewals counts what the token endpoint is asked, by client.
type renewals struct {
	mu    sync.Mutex
	count map[string]int
}

func (n *renewals) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth/token" {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			if form, err := url.ParseQuery(string(body)); err == nil && form.Get("grant_type") == "refresh_token" {
				n.mu.Lock()
				n.count[form.Get("client_id")]++
				n.mu.Unlock()
			}
			r.Body = io.NopCloser(strings.NewReader(string(body)))
		}
		next.ServeHTTP(w, r)
	})
}

func (n *renewals) of(client string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.count[client]
}

// world is a server, its sample API, and what counts renewals between.
func world(t *testing.T) (*stage.Stage, *renewals) {
	t.Helper()
	n := &renewals{count: map[string]int{}}
	st, err := stage.New(t.Context(), bin, stage.Options{Clients: clients, Between: n.wrap})
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
	return st, n
}

func chromium(t *testing.T, st *stage.Stage) *browser.Browser {
	t.Helper()
	b, err := st.Browser(t.Context(), browser.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("closing the browser: %v", err)
		}
	})
	return b
}

// tool prepares Python on the person's machine, where keytether is in PATH and the
// browser that it can open does nothing: the test opens its own.
func tool(t *testing.T, m *stage.Machine, args ...string) *exec.Cmd {
	t.Helper()
	c := exec.CommandContext(t.Context(), python, args...)
	c.Env = append([]string{}, m.Home.Env...)
	for i, kv := range c.Env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			c.Env[i] = "PATH=" + bin + ":" + path
		}
	}
	c.Env = append(c.Env, "BROWSER=true", "PYTHONDONTWRITEBYTECODE=1")
	c.Dir = m.Home.Dir
	return c
}

var link = regexp.MustCompile(`http://127\.0\.0\.1:\d+/start/\S+`)

// play runs a tool that logs its person in: the link that it shows on standard error
// is opened in b, and Allow is pressed. It gives both outputs.
func play(t *testing.T, c *exec.Cmd, b *browser.Browser) (stdout, stderr string) {
	t.Helper()
	var out, errs testkit.Buffer
	c.Stdout = &out
	pipe, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var clicks sync.WaitGroup
	seen := map[string]bool{}
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		_, _ = errs.Write(append(lines.Bytes(), '\n'))
		if at := link.FindString(lines.Text()); at != "" && !seen[at] {
			seen[at] = true
			clicks.Go(func() {
				if err := stage.Allow(t.Context(), b, at); err != nil {
					t.Errorf("pressing Allow: %v", err)
				}
			})
		}
	}
	clicks.Wait()
	if err := c.Wait(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// TestReports runs the sample tool across three lives of its tokens: it logs the
// person in, reads on while the agent renews, and logs out. Nothing that it says, at
// its most talkative, holds a secret.
//
// Invariants: PY-3, PY-6
func TestReports(t *testing.T) {
	t.Parallel()
	st, n := world(t)
	sample, err := filepath.Abs("../../examples/python/reports/reports.py")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	out, errs := play(t, tool(t, st.Machine, sample, "-v", "--issuer", st.Issuer, "--client", "reports",
		"--resource", st.Resource, "--every", "3", "--times", "32"), chromium(t, st))
	if took := time.Since(begin); took < 3*tokenLife {
		t.Errorf("it took %s, which is less than three lives", took)
	}
	if got := strings.Count(out, `"reports":`); got != 32 {
		t.Errorf("%d reports of 32:\n%s", got, out)
	}
	if got := n.of("reports"); got < 3 {
		t.Errorf("%d renewals in three lives", got)
	}
	if !strings.Contains(errs, "Logged in as "+stage.Email) || !strings.Contains(errs, "GET /reports") {
		t.Errorf("it said:\n%s", errs)
	}
	for _, secret := range []string{"eyJ", "ktr_", "ktc_", "request_uri"} {
		if strings.Contains(strings.ReplaceAll(out+errs, secret+"[redacted]", ""), secret) {
			t.Errorf("it said a secret (%s):\n%s", secret, errs)
		}
	}
	if out, err := tool(t, st.Machine, sample, "--logout").CombinedOutput(); err != nil || len(out) != 0 {
		t.Errorf("logout: %v, %s", err, out)
	}
	c := tool(t, st.Machine, sample, "--resource", st.Resource)
	if out, _ := c.CombinedOutput(); c.ProcessState.ExitCode() != 3 || !strings.Contains(string(out), "keytether login") {
		t.Errorf("after the logout: exit code %d, %s", c.ProcessState.ExitCode(), out)
	}
}

// TestStorm has fifty threads in each of four forked processes ask at the moment
// when the token has expired: the server is asked once, and everybody is served.
//
// Invariant: PY-6
func TestStorm(t *testing.T) {
	t.Parallel()
	st, n := world(t)
	login(t, st, chromium(t, st), "--client", "storm", "--resource", st.Resource)
	time.Sleep(tokenLife) // nobody asks meanwhile, so nothing is renewed
	out, err := tool(t, st.Machine, script(t, "storm.py"), st.Resource).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "200 answers, 1 token" {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := n.of("storm"); got != 1 {
		t.Errorf("the server was asked %d times", got)
	}
}

// TestNonces calls the server's own API, which wants nonces, by every way of calling,
// and a resource that no login is for.
func TestNonces(t *testing.T) {
	t.Parallel()
	st, _ := world(t)
	api := st.Issuer + "/api/v1"
	login(t, st, chromium(t, st), "--resource", api)
	out, err := tool(t, st.Machine, script(t, "nonces.py"), api, st.Resource).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// login logs the person in by the command.
func login(t *testing.T, st *stage.Stage, b *browser.Browser, args ...string) {
	t.Helper()
	res, err := st.Login(t.Context(), func(at string) error { return stage.Allow(t.Context(), b, at) }, args...)
	if err != nil || res.Code != 0 {
		t.Fatalf("login: %v, exit code %d\n%s", err, res.Code, res.Stderr)
	}
}

func script(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestGuide does all that docs/guides/quickstart-python.md shows, against the real
// server.
func TestGuide(t *testing.T) {
	t.Parallel()
	st, _ := world(t)
	folder := t.TempDir()
	for _, name := range []string{"quickstart.py", "more.py"} {
		text, err := os.ReadFile(filepath.Join("../../examples/python/quickstart", name))
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("http://127.0.0.1:8431"), []byte(st.Resource))
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, errs := play(t, tool(t, st.Machine, script(t, "guide.py"), st.Issuer, folder), chromium(t, st))
	if strings.Count(errs, "Hello "+stage.Email) != 2 || !strings.Contains(errs, "Sign in here: http://127.0.0.1:") {
		t.Errorf("it said:\n%s", errs)
	}
}
