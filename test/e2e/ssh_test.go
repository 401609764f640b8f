package e2e

import (
	"bytes"
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
	"github.com/keytether/keytether/internal/testkit/browser"
)

// sshd is a real one on loopback, for the user that runs the test.
type sshd struct {
	dir, port string
}

func startSSHD(t *testing.T) *sshd {
	t.Helper()
	dir, err := testkit.ShortDir()
	do(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, key := range []string{"host", "person"} {
		if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v: %s (is openssh-client installed? run make setup)", err, out)
		}
	}
	_, port, _ := strings.Cut(testkit.FreeAddr(t), ":")
	conf := fmt.Sprintf("Port %s\nListenAddress 127.0.0.1\nHostKey %s/host\nAuthorizedKeysFile %s/person.pub\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nAllowStreamLocalForwarding yes\n", port, dir, dir)
	do(t, os.WriteFile(filepath.Join(dir, "conf"), []byte(conf), 0o600))
	if os.Getuid() == 0 {
		do(t, os.MkdirAll("/run/sshd", 0o755)) // where it goes to give its privileges up
	}
	p, err := testkit.StartProcess(testkit.Command{Path: "/usr/sbin/sshd", Args: []string{"-D", "-e", "-f", filepath.Join(dir, "conf")}, Env: []string{"PATH=" + os.Getenv("PATH")}})
	if err != nil {
		t.Fatalf("%v (is openssh-server installed? run make setup)", err)
	}
	t.Cleanup(p.Kill)
	s := &sshd{dir, port}
	for begun := time.Now(); ; {
		if s.command(t, "true").Run() == nil {
			return s
		}
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("sshd does not answer: %s", p.Stderr())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// command runs a command over ssh, with further options before it.
func (s *sshd) command(t *testing.T, remote string, options ...string) *exec.Cmd {
	t.Helper()
	me, err := user.Current()
	do(t, err)
	args := append([]string{
		"-F", "none", "-p", s.port, "-i", filepath.Join(s.dir, "person"), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ExitOnForwardFailure=yes",
	}, options...)
	c := exec.CommandContext(t.Context(), "ssh", append(args, me.Username+"@127.0.0.1", remote)...)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}
	return c
}

// TestOverSSH forwards the agent's socket to another host by a real sshd: a
// program there calls the API with short tokens and proofs, and can do nothing
// else; when the person ends it, it is over.
//
// Invariant: AG-7
func TestOverSSH(t *testing.T) {
	st := plain.get(t)
	m := machine(t, st)
	logIn(t, m, chromium(t, st, browser.Options{}), "--resource", st.Resource, "--scope", "read")
	server := startSSHD(t)

	out := keytether(t, m, 0, "agent", "forward", "build7", "--json").Stdout
	_, socket, _ := strings.Cut(out, `"socket":"`)
	socket, _, ok := strings.Cut(socket, `"`)
	if !ok {
		t.Fatalf("forward printed %s", out)
	}
	far := filepath.Join(server.dir, "far")
	do(t, os.Mkdir(far, 0o700))
	farSocket := filepath.Join(far, "agent.sock")
	remote := func(args string) (string, string, error) {
		c := server.command(t, fmt.Sprintf("env -i PATH=%s HOME=%s KEYTETHER_SOCKET=%s %s/keytether %s", os.Getenv("PATH"), far, farSocket, bin, args),
			"-R", farSocket+":"+socket, "-o", "StreamLocalBindUnlink=yes")
		var stdout, stderr bytes.Buffer
		c.Stdout, c.Stderr = &stdout, &stderr
		err := c.Run()
		_ = os.Remove(farSocket)
		return stdout.String(), stderr.String(), err
	}
	lines, errs, err := remote("token --proof GET " + reports(st))
	if err != nil {
		t.Fatalf("on the far host: %v: %s", err, errs)
	}
	h := http.Header{}
	for line := range strings.Lines(lines) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		h.Set(name, value)
	}
	wantCall(t, st, "headers made over ssh", reports(st), h, http.StatusOK)
	for _, args := range []string{"whoami", "status", "logout --all", "agent lock", "agent stop"} {
		if out, errs, err := remote(args); err == nil {
			t.Errorf("%s works over ssh: %s%s", args, out, errs)
		}
	}
	if s := keytether(t, m, 0, "status").Stdout; !strings.Contains(s, "Forwarded") || !strings.Contains(s, "build7") {
		t.Errorf("status does not list the host:\n%s", s)
	}
	keytether(t, m, 0, "agent", "forward", "build7", "--end")
	if out, _, err := remote("token --json"); err == nil {
		t.Errorf("a token after the end: %d bytes", len(out))
	}
	if s := keytether(t, m, 0, "status").Stdout; strings.Contains(s, "Forwarded") { // that it asked stays
		t.Errorf("status lists a host whose forward has ended:\n%s", s)
	}
}
