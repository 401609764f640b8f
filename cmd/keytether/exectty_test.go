//go:build linux

package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestExecOnATerminal presses keys: they reach the command through its own terminal, Ctrl-C as a
// signal, and ours has its modes back at the end.
func TestExecOnATerminal(t *testing.T) {
	ptm, pts, err := openPTY()
	if err != nil {
		t.Fatal(err)
	}
	defer ptm.Close()
	defer pts.Close()
	before, err := unix.IoctlGetTermios(int(pts.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("keytether")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, "exec", "--", "sh", "-c", `trap 'echo got-it; exit 7' INT; read line; echo "read <$line>"; while :; do sleep 0.05; done`)
	dir := t.TempDir()
	c.Env = []string{"HOME=" + dir, "KEYTETHER_SOCKET=" + filepath.Join(dir, "none", "agent.sock"), "TERM=xterm", "PATH=" + os.Getenv("PATH")}
	c.Stdin, c.Stdout, c.Stderr = pts, pts, pts
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(20*time.Second, func() { _ = c.Process.Kill(); _ = ptm.Close() })
	defer stop.Stop()
	lines := bufio.NewScanner(ptm)
	until := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("the terminal never showed %q: %v", want, lines.Err())
	}
	press := func(keys string) {
		t.Helper()
		if _, err := ptm.WriteString(keys); err != nil {
			t.Fatal(err)
		}
	}
	press("a worx\x7fd\n") // erase is the terminal's work, before anybody reads
	until("read <a word>")
	press("\x03")
	until("got-it")
	err = c.Wait()
	if code := c.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d (%v)", code, err)
	}
	after, err := unix.IoctlGetTermios(int(pts.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the modes were %+v, and are %+v (%v)", before, after, err)
	}
}
