//go:build linux

package tools

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
	"github.com/keytether/keytether/internal/testkit/depot"
	"github.com/keytether/keytether/internal/testkit/leak"
	"github.com/keytether/keytether/internal/testkit/stage"
	"github.com/keytether/keytether/verify"
)

// bin is where the programs were built.
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
	return m.Run()
}

// TestTools has every tool do its work, at the same time, and then looks for what they left.
//
// Invariants: HP-1, HP-2, HP-3, LP-3
func TestTools(t *testing.T) {
	w := newWorld(t)
	t.Run("work", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, *world){
			"git": testGit, "docker": testDocker, "kubectl": testKubectl, "aws": testAWS, "pip": testPip,
			"proxy": testProxy, "lent": testLent,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, w)
			})
		}
	})
	t.Run("nothing is left", func(t *testing.T) { nothingLeft(t, w) })
}

// bearer are the resources whose tools cannot prove a key, and plain is one that takes bound tokens
// alone. Each has a login, in the profile of its name.
var bearer = []string{"git", "registry", "cluster", "sts", "pypi"}

const plain = "api"

// world is one server and one person's machine, logged in at every resource.
type world struct {
	st     *stage.Stage
	agent  *testkit.Process
	rec    *leak.Recorder
	person *driver.Person
	url    map[string]string // of each resource
	links  string            // what the person has in front of PATH
	work   string            // where the tools work
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{rec: &leak.Recorder{}, url: map[string]string{}}
	config := guide(t, "yaml", "clients:")
	_, client, _ := strings.Cut(config, "clients:\n")
	resource := strings.ReplaceAll(lineWith(t, config, "id: \"https://git.example.com\""), "api.jwks", "api.jwks.json")
	opt := stage.Options{NoAPI: true, Between: w.rec.Between, Clients: strings.ReplaceAll(client, "\n  ", "\n")[2:] +
		"- {id: proving, name: Proving Tool, grants: [device_code, refresh_token], dpop: required, handshake: none, lifetimes: {access: 30s}}\n"}
	for _, name := range append([]string{plain}, bearer...) {
		addr, err := testkit.FreeLoopback()
		do(t, err)
		w.url[name] = "http://" + addr
		r := strings.TrimSpace(strings.ReplaceAll(resource, "https://git.example.com", w.url[name])) + "\n"
		if name == plain {
			r = strings.ReplaceAll(r, "bearer: allowed", "bearer: refused")
		}
		opt.Resources += r
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
	w.links, w.work = filepath.Join(w.st.Home.Dir, "links"), filepath.Join(w.st.Home.Dir, "work")
	do(t, errors.Join(os.Mkdir(w.links, 0o700), os.Mkdir(w.work, 0o700), os.Symlink(filepath.Join(bin, "keytether"), filepath.Join(w.links, "keytether"))))
	w.agent, err = w.st.StartAgent(t.Context())
	do(t, err)
	w.person, err = driver.NewPerson(stage.Email, stage.Password, w.st.Client())
	do(t, err)
	for name := range w.url {
		client := "tools"
		if name == plain {
			client = "proving"
		}
		w.logIn(t, client, name)
	}
	return w
}

// logIn logs in at a resource by a device code, in the profile of its name.
func (w *world) logIn(t *testing.T, client, name string) {
	t.Helper()
	line := strings.ReplaceAll(guide(t, "sh", "keytether login"), "https://git.example.com", w.url[name])
	line = strings.NewReplacer("keytether login", "", "--client tools", "--client "+client, "--profile git", "--profile "+name).Replace(line)
	res, err := w.st.LoginDevice(t.Context(), func(e stage.Event) error {
		return w.person.AllowCode(t.Context(), e.VerificationURI, e.UserCode)
	}, strings.Fields(line)...)
	if err != nil || res.Code != 0 {
		t.Fatalf("login at %s: %v, code %d\n%s", name, err, res.Code, res.Stderr)
	}
}

// guard makes a verifier for a resource.
func (w *world) guard(t *testing.T, name string, make func(context.Context, verify.Options) (*verify.Verifier, error)) *verify.Verifier {
	t.Helper()
	key, err := verify.LoadKey(filepath.Join(w.st.Dir, "api.key.pem"))
	do(t, err)
	v, err := make(t.Context(), verify.Options{Issuer: w.st.Issuer, Resource: w.url[name], Key: key, RequireNonces: true, Env: map[string]string{}})
	do(t, err)
	t.Cleanup(v.Close)
	do(t, v.WaitReady(t.Context()))
	return v
}

// serve serves a handler at a resource's address.
func (w *world) serve(t *testing.T, name string, h http.Handler) {
	t.Helper()
	l, err := net.Listen("tcp", strings.TrimPrefix(w.url[name], "http://"))
	do(t, err)
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	srv.Start()
	t.Cleanup(srv.Close)
}

// serveBasic serves a resource to those who show a bearer token as the password of Basic, as
// servers of git and of packages want it.
func (w *world) serveBasic(t *testing.T, name string, next http.Handler) {
	t.Helper()
	guarded := depot.Basic(w.guard(t, name, verify.NewAcceptingBearerTokens).Require("use"), next)
	w.serve(t, name, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.rec.Request(r)
		guarded.ServeHTTP(rw, r)
	}))
}

// env is the environment of a program of the person's, and what comes more wins.
func (w *world) env(more ...string) []string {
	return append(append([]string{}, w.st.Home.Env...), append([]string{"PATH=" + w.links + ":/usr/local/bin:/usr/bin:/bin", "GIT_TERMINAL_PROMPT=0"}, more...)...)
}

// result is how a program ended.
type result struct {
	out, errs string
	code      int
}

// runs runs a program. That it cannot be started fails the test.
func runs(t *testing.T, c *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v (scripts/setup installs what the tests need)", c.Path, err)
	}
	return result{out.String(), errs.String(), c.ProcessState.ExitCode()}
}

// command is a program of the person's.
func (w *world) command(t *testing.T, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	if name == "keytether" {
		name = filepath.Join(w.links, name)
	}
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir, c.Env = dir, w.env()
	return c
}

// sh runs lines of a shell in the person's environment, which must succeed.
func (w *world) sh(t *testing.T, dir, script string, env ...string) result {
	t.Helper()
	c := w.command(t, dir, "/bin/sh", "-euc", script)
	c.Env = append(c.Env, env...)
	r := runs(t, c)
	if r.code != 0 {
		t.Fatalf("%s: code %d\n%s%s", script, r.code, r.out, r.errs)
	}
	return r
}

// folder is a new one for a tool to work in.
func (w *world) folder(t *testing.T, name string) string {
	t.Helper()
	dir := filepath.Join(w.work, name)
	do(t, os.Mkdir(dir, 0o700))
	return dir
}

// guide gives the block of code in the guide that is of a language and has some words.
func guide(t *testing.T, language, words string) string {
	t.Helper()
	md, err := os.ReadFile("../../docs/guides/tools.md")
	do(t, err)
	for _, part := range strings.Split(string(md), "\n```"+language+"\n")[1:] {
		block, _, _ := strings.Cut(part, "\n```")
		if strings.Contains(block, words) {
			return block + "\n"
		}
	}
	t.Fatalf("the guide has no %s block with %q", language, words)
	return ""
}

// lineWith gives the line of a text that has some words.
func lineWith(t *testing.T, text, words string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.Contains(line, words) {
			return line
		}
	}
	t.Fatalf("no line has %q:\n%s", words, text)
	return ""
}

// replaced puts a resource of this run where the guide has an example, whole or its host alone.
func (w *world) replaced(t *testing.T, text, name, example string) string {
	t.Helper()
	host := strings.TrimPrefix(example, "https://")
	if !strings.Contains(text, host) {
		t.Fatalf("the guide's lines do not speak of %s:\n%s", host, text)
	}
	return strings.NewReplacer(example, w.url[name], host, strings.TrimPrefix(w.url[name], "http://")).Replace(text)
}

// revoke ends an access token, as whoever finds a copy of it does.
func (w *world) revoke(t *testing.T, client, token string) {
	t.Helper()
	resp, err := w.st.Client().PostForm(w.st.Issuer+"/oauth/revoke", map[string][]string{"client_id": {client}, "token": {token}, "token_type_hint": {"access_token"}})
	do(t, err)
	do(t, resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("revoke: %s", resp.Status)
	}
}

// do fails the test if a step of it went wrong.
func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
