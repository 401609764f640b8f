//go:build linux

package headless

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
)

// machine is somebody's computer at a place, with a home and an agent of its own.
type machine struct {
	w           *world
	place, host string
	home        testkit.Home
}

func (w *world) machine(t *testing.T, place, host string) *machine {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	// Short: the agent's socket lies below, and its path has a limit.
	dir := filepath.Join(w.dir, fmt.Sprintf("m%d", len(w.machines)))
	do(t, os.Mkdir(dir, 0o700))
	home, err := testkit.NewHome(dir, "SSL_CERT_FILE="+w.caFile)
	do(t, err)
	m := &machine{w, place, host, home}
	w.machines = append(w.machines, m)
	return m
}

// command prepares the keytether command on this machine.
func (m *machine) command(ctx context.Context, args ...string) *exec.Cmd {
	argv := on(m.place, m.host, append([]string{filepath.Join(m.w.dir, "keytether")}, args...)...)
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Env, c.Dir = m.home.Env, m.home.Dir
	return c
}

// run runs a command, wants its exit code and gives what it printed: to stdout,
// and to stderr behind it.
func (m *machine) run(t *testing.T, code int, args ...string) string {
	t.Helper()
	out, got := finish(t, m.command(t.Context(), args...))
	if got != code {
		t.Fatalf("keytether %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return out
}

func finish(t *testing.T, c *exec.Cmd) (string, int) {
	t.Helper()
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String() + errs.String(), c.ProcessState.ExitCode()
}

// loginArgs is a login at our server for reports, by a client of the config.
func loginArgs(client string, more ...string) []string {
	return append([]string{"login", "--issuer", issuer, "--client", client, "--resource", resource, "--scope", "read", "--scope", "write"}, more...)
}

// waiting is a login that has shown its code and waits for a person.
type waiting struct {
	code  string
	shown string // on stderr, up to the code
	out   *testkit.Buffer
	errs  *testkit.Buffer
	done  chan struct{}
	cmd   *exec.Cmd
}

var codePattern = regexp.MustCompile(`enter the code\s+([A-Z]{4}-[A-Z]{4})`)

// startLogin runs a login and returns when it has shown a code.
func startLogin(t *testing.T, c *exec.Cmd) *waiting {
	t.Helper()
	l := &waiting{out: &testkit.Buffer{}, errs: &testkit.Buffer{}, done: make(chan struct{}), cmd: c}
	c.Stdout, c.Stderr = l.out, l.errs
	c.WaitDelay = time.Second // the agent that it started keeps nothing of it open, but ssh may
	do(t, c.Start())
	go func() {
		_ = c.Wait()
		close(l.done)
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill()
		<-l.done
	})
	for begun := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		l.shown = l.errs.String()
		if found := codePattern.FindStringSubmatch(l.shown); found != nil {
			l.code = found[1]
			return l
		}
		select {
		case <-l.done:
			t.Fatalf("the login ended with no code: %s%s", l.out, l.errs)
		default:
		}
		if time.Since(begun) > 20*time.Second {
			t.Fatalf("the login shows no code: %s%s", l.out, l.errs)
		}
	}
}

// end waits until the login has ended, wants its exit code and gives all that it
// printed.
func (l *waiting) end(t *testing.T, code int) string {
	t.Helper()
	select {
	case <-l.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("the login does not end: %s%s", l.out, l.errs)
	}
	out := l.out.String() + l.errs.String()
	if got := l.cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("the login ended with exit code %d, want %d\n%s", got, code, out)
	}
	return out
}

// contains wants every text, with any white space.
func contains(t *testing.T, what, text string, want ...string) {
	t.Helper()
	squashed := strings.Join(strings.Fields(text), " ")
	for _, s := range want {
		if !strings.Contains(squashed, s) {
			t.Errorf("%s does not say %q:\n%s", what, s, text)
		}
	}
}
