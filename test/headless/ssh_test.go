//go:build linux

package headless

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
)

// sshd is a real one on a machine, reached from the person's network.
type sshd struct {
	m   *machine
	dir string
}

func (w *world) sshd(t *testing.T, m *machine) *sshd {
	t.Helper()
	dir := m.home.Dir
	for _, key := range []string{"host", "person"} {
		if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v: %s (is openssh-client installed? run make setup)", err, out)
		}
	}
	conf := fmt.Sprintf("ListenAddress %s\nHostKey %s/host\nAuthorizedKeysFile %s/person.pub\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nAllowStreamLocalForwarding yes\n", addresses[m.place], dir, dir)
	do(t, os.WriteFile(filepath.Join(dir, "sshd.conf"), []byte(conf), 0o600))
	do(t, os.MkdirAll("/run/sshd", 0o755)) // where it goes to give its privileges up
	p, err := testkit.StartProcess(testkit.Command{
		Path: "/usr/bin/env", Args: on(m.place, m.host, "/usr/sbin/sshd", "-D", "-e", "-f", filepath.Join(dir, "sshd.conf")),
		Env: []string{"PATH=" + os.Getenv("PATH")},
	})
	do(t, err)
	t.Cleanup(p.Kill)
	s := &sshd{m, dir}
	for begun := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if s.command(t, "true").Run() == nil {
			return s
		}
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("sshd does not answer (is openssh-server installed? run make setup): %s", p.Stderr())
		}
	}
}

// command runs a shell command over ssh, with further options before it.
func (s *sshd) command(t *testing.T, remote string, options ...string) *exec.Cmd {
	t.Helper()
	me, err := user.Current()
	do(t, err)
	argv := on(person, "desk", append([]string{
		"ssh", "-F", "none", "-i", filepath.Join(s.dir, "person"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ExitOnForwardFailure=yes",
	}, append(options, me.Username+"@"+addresses[s.m.place], remote)...)...)
	c := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}
	return c
}

// keytether runs the command on the far machine, with what sshd says of the
// session in its environment.
func (s *sshd) keytether(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return s.command(t, "env "+strings.Join(s.m.home.Env, " ")+" "+filepath.Join(s.m.w.dir, "keytether")+" "+strings.Join(args, " "))
}

// TestForwarding gives a far host the use of a login without a code: the agent's
// socket, forwarded by a real ssh into another network. It gets tokens and proofs
// of the one profile and nothing else; the person sees it listed and ends it.
//
// Invariant: AG-7
func TestForwarding(t *testing.T) {
	w := get(t)
	desk := w.machine(t, person, "desk")
	server := w.sshd(t, w.machine(t, device, "build7"))
	b := w.browser(t, victim)
	b.browserLogin(desk, loginArgs("confirm", "--profile", "work")...)
	b.browserLogin(desk, loginArgs("confirm", "--profile", "private")...)

	out := desk.run(t, 0, "agent", "forward", "build7", "--profile", "work")
	_, near, ok := strings.Cut(out, "agent.sock ")
	if !ok {
		t.Fatalf("forward printed %s", out)
	}
	far := filepath.Join(server.dir, "far.sock")
	remote := func(args ...string) (string, int) {
		c := server.command(t, "env -i PATH="+os.Getenv("PATH")+" HOME="+server.dir+" KEYTETHER_SOCKET="+far+" "+
			filepath.Join(w.dir, "keytether")+" "+strings.Join(args, " "), "-R", far+":"+strings.TrimSpace(near))
		out, code := finish(t, c)
		if err := os.Remove(far); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return out, code
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		out, code := remote("token", "--profile", "work", "--proof", method, reports)
		if code != 0 {
			t.Fatalf("token on the far host: %s", out)
		}
		if got := w.call(t, method, headers(out)); got != http.StatusOK {
			t.Errorf("%s by the far host: %d", method, got)
		}
	}
	const notRemote = "the agent does not do this for a remote host"
	for _, refused := range []struct {
		words string
		args  []string
	}{
		{"what was asked for is not forwarded to this host", []string{"token", "--profile", "private", "--proof", "GET", reports}},
		{"the URL does not lie under the resource", []string{"token", "--profile", "work", "--proof", "GET", issuer + "/oauth/token"}},
		{notRemote, []string{"whoami", "--profile", "work"}},
		{notRemote, []string{"logout", "--all"}},
		{notRemote, []string{"agent", "forward", "other", "--profile", "work"}},
		{notRemote, []string{"agent", "stop"}},
	} {
		out, code := remote(refused.args...)
		if code == 0 {
			t.Errorf("%v works over ssh", refused.args)
		}
		contains(t, "the refusal of "+strings.Join(refused.args, " "), out, refused.words)
	}
	contains(t, "status", desk.run(t, 0, "status"), "Forwarded")
	desk.run(t, 0, "agent", "forward", "build7", "--end")
	if out, code := remote("token", "--profile", "work", "--proof", "GET", reports); code == 0 {
		t.Errorf("the far host has a token after the end: %d bytes", len(out))
	}
	if s := desk.run(t, 0, "status"); strings.Contains(s, "Forwarded") {
		t.Errorf("status lists what has ended:\n%s", s)
	}
}
