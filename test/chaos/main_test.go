//go:build linux

package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// What every stage of these tests has besides its own.
const (
	client   = "load"
	resource = "https://api.example.test"
	redirect = "http://127.0.0.1:9/callback"
)

// programs is the environment variable with the folder of the built programs.
const programs = "KEYTETHER_TEST_PROGRAMS"

// TestMain builds the programs once, as they are shipped.
func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kt-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	_, err = testkit.Build(context.Background(), dir,
		"github.com/keytether/keytether/cmd/keytether", "github.com/keytether/keytether/cmd/keytether-server")
	if err = errors.Join(err, os.Setenv(programs, dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// newStage starts a server with one client that needs neither browser nor
// handshake.
func newStage(t *testing.T, level string) *stage.Stage {
	t.Helper()
	s, err := stage.New(t.Context(), os.Getenv(programs), stage.Options{
		NoAPI: true, LogLevel: level,
		Resources: "- {id: \"" + resource + "\", name: Example API, scopes: {read: Read reports, write: Change reports}, bearer: refused, jwks_file: api.jwks.json}\n",
		Clients: "- id: " + client + "\n" +
			"  name: Load\n" +
			"  redirect_uris: [\"http://127.0.0.1/callback\"]\n" +
			"  grants: [authorization_code, refresh_token]\n" +
			"  default_resource: " + resource + "\n" +
			"  dpop: required\n" +
			"  handshake: none\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 30*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("closing the stage: %v", err)
		}
		if t.Failed() {
			t.Logf("the server said at last:\n%s", tail(s.Server.Stderr(), 40))
		}
	})
	return s
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// people is a signed-in browser and the server it uses.
type people struct {
	srv    *driver.Server
	person *driver.Person
}

func meet(t *testing.T, s *stage.Stage) people {
	t.Helper()
	c := s.Client()
	t.Cleanup(c.CloseIdleConnections)
	srv, err := driver.Discover(t.Context(), s.Issuer, c)
	if err != nil {
		t.Fatal(err)
	}
	p, err := driver.NewPerson(stage.Email, stage.Password, c)
	if err != nil {
		t.Fatal(err)
	}
	return people{srv, p}
}

// leave closes the connections that nobody uses: a server that stops waits a few
// seconds for those that were opened and have not said anything yet.
func (p people) leave() { p.srv.HTTP.CloseIdleConnections() }

func (p people) tool(t *testing.T) *driver.Tool {
	t.Helper()
	tool, err := driver.NewTool(p.srv, client)
	if err != nil {
		t.Fatal(err)
	}
	return tool
}

// login makes a tool with a grant of its own.
func (p people) login(t *testing.T) (*driver.Tool, oauth.TokenResponse) {
	t.Helper()
	tool := p.tool(t)
	out, err := tool.Login(t.Context(), p.person, redirect, "read", resource)
	if err != nil {
		t.Fatalf("login: %v", err)
	}
	return tool, out
}

// refresh asks for the successor of a refresh token.
func refresh(ctx context.Context, tool *driver.Tool, token string) (out oauth.TokenResponse, err error) {
	err = tool.Post(ctx, tool.Server.Metadata.TokenEndpoint, url.Values{
		"grant_type": {"refresh_token"}, "client_id": {client}, "refresh_token": {token},
	}, &out)
	return out, err
}

// revoke ends a grant by its refresh token (RFC 7009).
func revoke(ctx context.Context, tool *driver.Tool, token string) error {
	return tool.Post(ctx, tool.Server.Metadata.RevocationEndpoint, url.Values{"client_id": {client}, "token": {token}}, nil)
}

// refused is the OAuth error of an answer; false when there was no answer, or a
// good one.
func refused(err error) (*driver.Error, bool) {
	var e *driver.Error
	return e, errors.As(err, &e)
}

// wantRefused fails unless err is an answer with one of the codes.
func wantRefused(t *testing.T, what string, err error, codes ...oauth.Code) {
	t.Helper()
	e, ok := refused(err)
	if ok {
		for _, c := range codes {
			if e.Code == c {
				return
			}
		}
	}
	t.Errorf("%s: got %v, want %v", what, err, codes)
}

// signal sends the server a signal.
func signal(t *testing.T, s *stage.Stage, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(s.Server.PID(), sig); err != nil {
		t.Fatalf("signal %v: %v", sig, err)
	}
}

// stop ends the server in good order and wants exit code 0.
func stop(t *testing.T, s *stage.Stage) {
	t.Helper()
	signal(t, s, syscall.SIGTERM)
	waitEnd(t, s)
}

func waitEnd(t *testing.T, s *stage.Stage) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if code, err := s.Server.Wait(ctx); err != nil || code != 0 {
		t.Fatalf("the server ended with %d, %v", code, err)
	}
}

func start(t *testing.T, s *stage.Stage) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.StartServer(ctx); err != nil {
		t.Fatal(err)
	}
}

// waitSaid waits until the server's log has a text n times.
func waitSaid(t *testing.T, s *stage.Stage, text string, n int) {
	t.Helper()
	for range 1000 {
		if strings.Count(s.Server.Stderr(), text) >= n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the server did not say %q %d times", text, n)
}

// serverCommand runs keytether-server with a subcommand to its end.
func serverCommand(t *testing.T, s *stage.Stage, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), filepath.Join(os.Getenv(programs), "keytether-server"), args...)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, "TZ=UTC"}
	c.Dir = s.Dir
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}
