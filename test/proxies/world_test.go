//go:build linux

package proxies

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/realproxy"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// world is what all tests share: a server and the proxies.
type world struct {
	dir    string
	ca     *testkit.CA
	caFile string
	server *testkit.Process
	squid  *realproxy.Squid
	mitm   *realproxy.Mitm // looks into TLS
	socks  *realproxy.Mitm

	mu       sync.Mutex
	machines []*machine
}

var theWorld = &world{}

func play(m *testing.M) int {
	theWorld.dir = os.Getenv(envFolder)
	err := theWorld.build()
	code := 1
	if err == nil {
		code = m.Run()
	}
	if err := errors.Join(err, theWorld.close()); err != nil {
		fmt.Fprintln(os.Stderr, "test/proxies:", err)
		code = 1
	}
	return code
}

func (w *world) folder(name string) string { return filepath.Join(w.dir, name) }

func (w *world) build() error {
	for _, name := range []string{"squid", "mitm", "socks"} {
		if err := os.Mkdir(w.folder(name), 0o700); err != nil {
			return err
		}
	}
	var err error
	if w.ca, err = testkit.NewCA(); err != nil {
		return err
	}
	files, err := w.ca.WriteFiles(w.dir, "auth.test", "127.0.0.1")
	if err != nil {
		return err
	}
	w.caFile = files.CA
	if err := os.Chmod(w.dir, 0o711); err != nil { // squid gives up its rights
		return err
	}
	errs := make([]error, 4)
	var all sync.WaitGroup
	all.Go(func() { errs[0] = w.startServer() })
	all.Go(func() { w.squid, errs[1] = realproxy.StartSquid(w.folder("squid"), files) })
	all.Go(func() {
		w.mitm, errs[2] = realproxy.StartMitm(w.folder("mitm"), realproxy.MitmOptions{UpstreamCA: w.caFile})
	})
	all.Go(func() { w.socks, errs[3] = realproxy.StartMitm(w.folder("socks"), realproxy.MitmOptions{SOCKS: true}) })
	all.Wait()
	return errors.Join(errs...)
}

func (w *world) startServer() error {
	conf := fmt.Sprintf("issuer: %s\nlisten: %s:443\ndata: ./data\ntls: {cert_file: cert.pem, key_file: key.pem}\n"+
		"accounts:\n  - {email: %s, password_file: password}\n"+
		"resources:\n  - {id: %q, name: Sample API, scopes: {read: Read reports, write: Change reports}, bearer: refused}\n"+
		"clients:\n  - id: tool\n    name: Tool\n    redirect_uris: [\"http://127.0.0.1/callback\", \"http://[::1]/callback\"]\n"+
		"    grants: [authorization_code, refresh_token, device_code]\n    default_resource: %s\n", issuer, address, stage.Email, resource, resource)
	if err := errors.Join(os.WriteFile(w.folder("keytether.yaml"), []byte(conf), 0o600), os.WriteFile(w.folder("password"), []byte(stage.Password+"\n"), 0o600)); err != nil {
		return err
	}
	var err error
	w.server, err = testkit.StartProcess(testkit.Command{
		Path: w.folder("keytether-server"), Args: []string{"serve", "--config", w.folder("keytether.yaml")},
		Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "TZ=UTC"}, Dir: w.dir,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return w.server.WaitReady(ctx, &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.ca.Pool(), MinVersion: tls.VersionTLS12},
	}}, issuer+"/readyz")
}

func (w *world) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, m := range w.machines {
		_ = m.command(ctx, nil, "agent", "stop").Run() // it may have none
	}
	var errs []error
	if w.squid != nil {
		errs = append(errs, w.squid.Close())
	}
	for _, m := range []*realproxy.Mitm{w.mitm, w.socks} {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	if w.server != nil {
		errs = append(errs, w.server.Stop(ctx))
	}
	return errors.Join(errs...)
}

// machine is a computer with a home and an agent of its own.
type machine struct {
	w    *world
	home testkit.Home
}

func (w *world) machine(t *testing.T) *machine {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	dir := w.folder(fmt.Sprintf("m%d", len(w.machines))) // short: a socket lies below
	do(t, os.Mkdir(dir, 0o700))
	home, err := testkit.NewHome(dir)
	do(t, err)
	m := &machine{w, home}
	w.machines = append(w.machines, m)
	return m
}

// command prepares keytether with further variables.
func (m *machine) command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, m.w.folder("keytether"), args...)
	c.Env, c.Dir = append(append([]string{}, m.home.Env...), env...), m.home.Dir
	return c
}

// run runs keytether, wants its exit code, and gives all that it printed.
func (m *machine) run(t *testing.T, code int, env []string, args ...string) string {
	t.Helper()
	c := m.command(t.Context(), env, args...)
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := c.ProcessState.ExitCode(); got != code {
		t.Fatalf("keytether %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, out)
	}
	return string(out)
}

// files gives all that was written on the machine.
func (m *machine) files(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	do(t, filepath.Walk(m.home.Dir, func(path string, fi os.FileInfo, err error) error {
		if err != nil || !fi.Mode().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		all.Write(b)
		return err
	}))
	return all.String()
}

// reach begins a device login, which asks for the metadata and posts to an endpoint, and calls it
// off when the server has answered. Otherwise it gives how it failed.
func (m *machine) reach(t *testing.T, env ...string) (reached bool, code int, said string) {
	t.Helper()
	code, said = m.follow(t, 30*time.Second, env, []string{"--flow", "device"}, func(_ context.Context, c *exec.Cmd, e stage.Event) {
		if e.Event == "device_code" {
			reached = true
			do(t, c.Process.Signal(os.Interrupt))
		}
	})
	return reached, code, said
}

// logIn logs in with a browser of the person's.
func (m *machine) logIn(t *testing.T, env ...string) {
	t.Helper()
	b := m.w.browser(t, browser.Options{})
	args := []string{"--flow", "browser", "--no-browser", "--scope", "read", "--scope", "write"}
	code, said := m.follow(t, time.Minute, env, args, func(ctx context.Context, _ *exec.Cmd, e stage.Event) {
		if e.Event == "browser" {
			do(t, stage.Allow(ctx, b, e.URL))
		}
	})
	if code != 0 {
		t.Fatalf("the login: exit code %d\n%s", code, said)
	}
}

// follow runs a login, hands on each of its events, and gives how it ended and all that it said.
func (m *machine) follow(t *testing.T, limit time.Duration, env, args []string, on func(context.Context, *exec.Cmd, stage.Event)) (code int, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c := m.command(ctx, env, append([]string{"login", "--json", "--issuer", issuer, "--client", "tool"}, args...)...)
	var errs testkit.Buffer
	c.Stderr = &errs
	out, err := c.StdoutPipe()
	do(t, err)
	do(t, c.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e stage.Event
		do(t, json.Unmarshal(lines.Bytes(), &e))
		on(ctx, c, e)
		said += lines.Text() + "\n"
	}
	_ = c.Wait() // the exit code says it
	return c.ProcessState.ExitCode(), said + errs.String()
}

func (w *world) browser(t *testing.T, o browser.Options) *browser.Browser {
	t.Helper()
	o.CA = w.ca.PEM()
	if o.Proxy == "" { // else the proxy knows
		o.Hosts = map[string]string{"auth.test": address + ":443"}
	}
	return browser.Start(t, o)
}

// says wants every text, with any white space.
func says(t *testing.T, what, text string, want ...string) {
	t.Helper()
	squashed := strings.Join(strings.Fields(text), " ")
	for _, s := range want {
		if !strings.Contains(squashed, s) {
			t.Errorf("%s does not say %q:\n%s", what, s, text)
		}
	}
}

// do fails the test if a step of it went wrong.
func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
