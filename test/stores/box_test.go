//go:build linux

package stores

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/testkit/secretservice"
	"github.com/keytether/keytether/internal/testkit/stage"
	"github.com/keytether/keytether/internal/testkit/swtpm"
)

// box is a person's machine with some of the stores.
type box struct {
	t      *testing.T
	w      *world
	client string
	m      *stage.Machine
	env    []string
	bus    *secretservice.Bus // nil: there is none
	chip   *swtpm.TPM         // nil: there is none
	pass   string             // of the sealed file; empty: nothing is sealed with one
}

// enter gives what follows a /dev in which the chip is the box's own, or none.
const enter = `mount --bind /dev "$0/real" && mount --rbind "$0" /dev && exec "$@"`

func newBox(t *testing.T, w *world, client, choice string, has parts) *box {
	t.Helper()
	m, err := w.NewMachine(client)
	do(t, err)
	b := &box{t: t, w: w, client: client, m: m, env: m.Home.Env, pass: has.pass}
	if has.bus {
		b.bus = secretservice.Start(t)
		b.env = append(b.env[:len(b.env):len(b.env)], "DBUS_SESSION_BUS_ADDRESS="+b.bus.Address)
	}
	if has.chip {
		b.chip = swtpm.Start(t)
	}
	dev := filepath.Join(m.Home.Dir, "dev")
	do(t, os.MkdirAll(filepath.Join(dev, "real"), 0o755))
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty", "shm", "ptmx", "pts"} {
		do(t, os.Symlink("real/"+name, filepath.Join(dev, name)))
	}
	do(t, os.Symlink("/proc/self/fd", filepath.Join(dev, "fd")))
	if b.chip != nil {
		do(t, os.Symlink(b.chip.Socket, filepath.Join(dev, "tpmrm0")))
	}
	b.choose(choice)
	t.Cleanup(func() {
		b.run("agent", "stop")
		b.forgetKernelKeys()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(b.state(), "agent.log"))
			t.Logf("the agent of %s said:\n%s", client, log)
		}
	})
	return b
}

// choose says in the config where new logins go.
func (b *box) choose(choice string) {
	b.t.Helper()
	dir := filepath.Join(b.m.Home.Dir, "home", ".config", "keytether")
	do(b.t, os.MkdirAll(dir, 0o700))
	path := filepath.Join(dir, "config.yaml")
	was, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	text := regexp.MustCompile(`(?m)^store: .*\n`).ReplaceAllString(string(was), "")
	do(b.t, os.WriteFile(path, []byte("store: "+choice+"\n"+text), 0o600))
}

func (b *box) state() string {
	return filepath.Join(b.m.Home.Dir, "home", ".local", "state", "keytether")
}
func (b *box) runtime() string { return filepath.Join(b.m.Home.Dir, "run") }

// command is a program in the box's /dev.
func (b *box) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "unshare", append([]string{"--mount", "sh", "-c", enter, filepath.Join(b.m.Home.Dir, "dev"), program}, args...)...)
	c.Env, c.Dir = b.env, b.m.Home.Dir
	return c
}

func keytether() string { return filepath.Join(os.Getenv(envPrograms), "keytether") }

// result is how a command ended.
type result struct {
	out, errs string
	code      int
}

func (b *box) run(args ...string) result {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := b.command(ctx, keytether(), args...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr, c.Stdin = &out, &errs, strings.NewReader(b.pass+"\n")
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return result{out.String(), errs.String(), c.ProcessState.ExitCode()}
}

// want is run that must end with 0.
func (b *box) want(args ...string) string {
	b.t.Helper()
	r := b.run(args...)
	if r.code != 0 {
		b.t.Fatalf("%s: keytether %s: exit code %d: %s%s", b.client, strings.Join(args, " "), r.code, r.out, r.errs)
	}
	return r.out
}

// start starts the next agent as a person does who is asked for a passphrase; where
// there is none, the next command starts one by itself.
func (b *box) start() {
	b.t.Helper()
	if b.pass != "" {
		b.run("agent", "unlock", "--store", "--passphrase-stdin") // whether it went well, the token says
	}
}

// kill ends the agent as `kill -9` does.
func (b *box) kill() {
	b.t.Helper()
	pid := b.status().Agent.PID
	if pid == 0 {
		b.t.Fatal("no agent runs")
	}
	do(b.t, syscall.Kill(pid, syscall.SIGKILL))
	b.await("the end of the agent", func() bool {
		c, err := net.Dial("unix", filepath.Join(b.runtime(), "keytether", "agent.sock"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

func (b *box) await(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("%s: waited in vain for %s", b.client, what)
		}
	}
}

// reboot is what a restart of the machine does to what its stores are made of.
func (b *box) reboot() {
	b.t.Helper()
	b.kill()
	do(b.t, os.RemoveAll(b.runtime()))
	do(b.t, os.Mkdir(b.runtime(), 0o700))
	b.forgetKernelKeys()
	if b.bus != nil {
		b.bus.StopKeyring()
		b.bus.StartKeyring()
	}
	if b.chip != nil {
		b.chip.Restart()
	}
	b.start()
}

// logIn logs in, and gives the grant's identifier, or how it failed.
func (b *box) logIn(args ...string) (grant string, r result) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	c := b.command(ctx, keytether(), append([]string{
		"login", "--json", "--no-browser", "--flow", "browser",
		"--issuer", b.w.Issuer, "--client", b.client, "--resource", b.w.Resource, "--scope", "read", "--scope", "write",
	}, args...)...)
	if b.pass != "" {
		c.Args = append(c.Args, "--store-passphrase-stdin")
	}
	var errs bytes.Buffer
	c.Stderr, c.Stdin = &errs, strings.NewReader(b.pass+"\n")
	out, err := c.StdoutPipe()
	do(b.t, err)
	do(b.t, c.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e stage.Event
		do(b.t, json.Unmarshal(lines.Bytes(), &e))
		r.out += lines.Text() + "\n"
		switch e.Event {
		case "browser":
			if err := b.w.allow(ctx, e.URL); err != nil {
				b.t.Errorf("%s: in the browser: %v", b.client, err)
				cancel()
			}
		case "done":
			grant = e.GrantID
		}
	}
	_ = c.Wait()
	r.errs, r.code = errs.String(), c.ProcessState.ExitCode()
	return grant, r
}

// mustLogIn is logIn that has to go well.
func (b *box) mustLogIn(args ...string) (grant string) {
	b.t.Helper()
	grant, r := b.logIn(args...)
	if grant == "" || r.code != 0 {
		b.t.Fatalf("%s: login: exit code %d: %s%s", b.client, r.code, r.out, r.errs)
	}
	return grant
}

func (b *box) status() agentwire.StatusResponse {
	b.t.Helper()
	var s agentwire.StatusResponse
	do(b.t, json.Unmarshal([]byte(b.want("status", "--json")), &s))
	return s
}

// login is what status says of the one login; the zero value if there is none.
func (b *box) login() agentwire.ProfileStatus {
	b.t.Helper()
	for _, p := range b.status().Profiles {
		if p.Profile == "default" {
			return p
		}
	}
	return agentwire.ProfileStatus{}
}

// service is what the installation's keys and items are filed under.
func (b *box) service() string {
	sum := sha256.Sum256([]byte(b.state()))
	return "keytether-" + hex.EncodeToString(sum[:4])
}
