//go:build linux

package day

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/depot"
	"github.com/keytether/keytether/internal/testkit/leak"
	"github.com/keytether/keytether/internal/testkit/pyenv"
	"github.com/keytether/keytether/internal/testkit/secretservice"
	"github.com/keytether/keytether/internal/testkit/stage"
	"github.com/keytether/keytether/verify"
)

// What TestMain made.
var (
	bin string
	py  pyenv.Env
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := testkit.ShortDir()
	if err == nil {
		defer os.RemoveAll(dir)
		bin = filepath.Join(dir, "bin")
		err = errors.Join(os.Mkdir(bin, 0o700), stage.Binaries(context.Background(), bin))
	}
	if err == nil {
		py, err = pyenv.Build(context.Background(), "../../python", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// tokenLife is the shortest that the server's config takes.
const tokenLife = 30 * time.Second

const clients = `- id: day
  name: Day
  redirect_uris: ["http://127.0.0.1/callback"]
  lifetimes: {access: 30s}
- id: tools
  name: Command-line tools
  grants: [device_code, refresh_token]
  dpop: allowed
  handshake: none
  lifetimes: {access: 30s}
`

// world is a person's machine, whose logins are kept in gnome-keyring, and the servers.
type world struct {
	st      *stage.Stage
	agent   *testkit.Process
	bus     *secretservice.Bus
	browser *browser.Browser
	rec     leak.Recorder
	url     map[string]string // of each resource
	logs    string            // folder of all logs
	work    string            // where the tools work
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{url: map[string]string{}, bus: secretservice.Start(t)}
	opt := stage.Options{NoAPI: true, Between: w.rec.Between, Clients: clients, LogLevel: "debug"}
	for name, bearer := range map[string]string{"api": "refused", "git": "allowed", "pypi": "allowed"} {
		addr, err := testkit.FreeLoopback()
		do(t, err)
		w.url[name] = "http://" + addr
		opt.Resources += fmt.Sprintf("- {id: %q, name: %s, scopes: {use: Use it}, bearer: %s, jwks_file: api.jwks.json}\n", w.url[name], name, bearer)
	}
	var err error
	w.st, err = stage.New(t.Context(), bin, opt)
	do(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := w.st.Close(ctx); err != nil {
			t.Errorf("closing the stage: %v", err)
		}
	})
	home := &w.st.Home
	w.logs, w.work = filepath.Join(home.Dir, "logs"), filepath.Join(home.Dir, "work")
	config := filepath.Join(home.Dir, "home", ".config", "keytether")
	do(t, errors.Join(os.Mkdir(w.logs, 0o700), os.Mkdir(w.work, 0o700), os.MkdirAll(config, 0o700),
		os.WriteFile(filepath.Join(config, "config.yaml"), []byte("store: keychain\n"), 0o600)))
	home.Env = append(home.Env, "DBUS_SESSION_BUS_ADDRESS="+w.bus.Address, "PATH="+bin+":"+filepath.Dir(py.Python)+":/usr/local/bin:/usr/bin:/bin",
		"GIT_TERMINAL_PROMPT=0", "PIP_CONFIG_FILE=/dev/null", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PYTHONDONTWRITEBYTECODE=1")
	w.serve(t)
	w.agent, err = w.st.StartAgent(t.Context())
	do(t, err)
	w.browser, err = w.st.Browser(t.Context(), browser.Options{})
	do(t, err)
	t.Cleanup(func() { _ = w.browser.Close() })
	return w
}

// serve serves the API, the repositories and the packages. Each notes the tokens and proofs that it
// is shown. A nonce of the API's is no secret: http.client shows it in a log, and without a key it
// makes no proof.
func (w *world) serve(t *testing.T) {
	t.Helper()
	root := filepath.Join(w.st.Dir, "repositories")
	do(t, os.Mkdir(root, 0o700))
	git, err := depot.Git(root, "reports.git")
	do(t, err)
	index, err := depot.Index("reports", "1.0")
	do(t, err)
	for name, handler := range map[string]http.Handler{
		"api": w.guard(t, "api", verify.New).Require("use")(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			_, _ = rw.Write([]byte("two reports\n"))
		})),
		"git":  depot.Basic(w.guard(t, "git", verify.NewAcceptingBearerTokens).Require("use"), git),
		"pypi": depot.Basic(w.guard(t, "pypi", verify.NewAcceptingBearerTokens).Require("use"), index),
	} {
		l, err := net.Listen("tcp", strings.TrimPrefix(w.url[name], "http://"))
		do(t, err)
		srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.rec.Request(r)
			handler.ServeHTTP(rw, r)
		})}}
		srv.Start()
		t.Cleanup(srv.Close)
	}
}

// guard makes a verifier that logs all it can.
func (w *world) guard(t *testing.T, name string, make func(context.Context, verify.Options) (*verify.Verifier, error)) *verify.Verifier {
	t.Helper()
	key, err := verify.LoadKey(filepath.Join(w.st.Dir, "api.key.pem"))
	do(t, err)
	log, err := os.Create(filepath.Join(w.logs, name+".log"))
	do(t, err)
	t.Cleanup(func() { log.Close() })
	v, err := make(t.Context(), verify.Options{
		Issuer: w.st.Issuer, Resource: w.url[name], Key: key, RequireNonces: true, Env: map[string]string{},
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	do(t, err)
	t.Cleanup(v.Close)
	do(t, v.WaitReady(t.Context()))
	return v
}

// logIn logs the person in at all resources: with the browser at the API, with codes
// to type at the others.
func (w *world) logIn(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	res, err := w.st.Login(ctx, func(at string) error { return stage.Allow(ctx, w.browser, at) }, "--client", "day", "--resource", w.url["api"])
	if err != nil || res.Code != 0 {
		t.Fatalf("login: %v, code %d\n%s", err, res.Code, res.Stderr)
	}
	person, err := driver.NewPerson(stage.Email, stage.Password, w.st.Client())
	do(t, err)
	for _, name := range []string{"git", "pypi"} {
		res, err := w.st.LoginDevice(ctx, func(e stage.Event) error { return person.AllowCode(ctx, e.VerificationURI, e.UserCode) },
			"--client", "tools", "--resource", w.url[name], "--scope", "use", "--profile", name)
		if err != nil || res.Code != 0 {
			t.Fatalf("login at %s: %v, code %d\n%s", name, err, res.Code, res.Stderr)
		}
	}
}

// command is a program of the person's, in the folder where tools work.
func (w *world) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir, c.Env = w.work, append([]string{}, w.st.Home.Env...)
	return c
}

// sh runs lines of a shell, which must succeed, and gives what they printed.
func (w *world) sh(t *testing.T, script string, env ...string) (stdout, stderr string) {
	t.Helper()
	c := w.command(t.Context(), "/bin/sh", "-euc", script)
	c.Env = append(c.Env, env...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%s: %v\n%s%s", script, err, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// keep writes down what a program said, so that it is searched too.
func (w *world) keep(t *testing.T, name, text string) {
	t.Helper()
	do(t, os.WriteFile(filepath.Join(w.logs, name), []byte(text), 0o600))
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
