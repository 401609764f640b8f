//go:build linux

package main

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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

// onTerminal starts the program with a terminal of its own, whose other end it gives.
func onTerminal(t *testing.T, args ...string) (*os.File, *exec.Cmd) {
	t.Helper()
	ptm, pts, err := openPTY()
	if err != nil {
		t.Fatal(err)
	}
	defer pts.Close()
	program, err := exec.LookPath(args[0])
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(program, args[1:]...)
	dir := t.TempDir()
	c.Env = []string{"HOME=" + dir, "KEYTETHER_SOCKET=" + filepath.Join(dir, "none", "agent.sock"), "TERM=xterm", "PATH=" + os.Getenv("PATH")}
	c.Stdin, c.Stdout, c.Stderr = pts, pts, pts
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(30*time.Second, func() { _ = c.Process.Kill(); _ = ptm.Close() })
	t.Cleanup(func() { stop.Stop(); _ = ptm.Close() })
	return ptm, c
}

// TestExecOnASlowTerminal: a terminal that stands still for longer than what is left behind is
// waited for loses nothing of what the command printed.
func TestExecOnASlowTerminal(t *testing.T) {
	for _, lines := range []int{4000, 5000, 6000} {
		t.Run(strconv.Itoa(lines), func(t *testing.T) {
			t.Parallel()
			ptm, c := onTerminal(t, "keytether", "exec", "--", "seq", strconv.Itoa(lines))
			time.Sleep(2500 * time.Millisecond)
			shown, _ := io.ReadAll(ptm) // EIO at the end
			if err := c.Wait(); err != nil {
				t.Error(err)
			}
			if got := strings.Count(string(shown), "\n"); got != lines {
				t.Errorf("%d lines of %d", got, lines)
			}
		})
	}
}

// TestExecLeavesADaemon: what the command leaves behind in its terminal is not waited for.
func TestExecLeavesADaemon(t *testing.T) {
	for name, script := range map[string]string{
		"silent": `trap '' HUP; sleep 25 & echo $!; exit 4`,
		"chatty": `trap '' HUP; (i=0; while [ $i -lt 500 ] && echo again; do sleep 0.05; i=$((i+1)); done) & echo $!; exit 4`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ptm, c := onTerminal(t, "keytether", "exec", "--", "sh", "-c", script)
			began := time.Now()
			shown, _ := io.ReadAll(ptm)
			_ = c.Wait()
			if code, took := c.ProcessState.ExitCode(), time.Since(began); code != 4 || took > 10*time.Second {
				t.Errorf("exit code %d after %v", code, took)
			}
			first, _, _ := strings.Cut(string(shown), "\r")
			if pid, err := strconv.Atoi(first); err != nil || pid < 2 {
				t.Errorf("it showed %q", shown)
			} else {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
	}
}

// TestExecBeforeAPager: what a command prints goes to another program, and that one gets the keys.
func TestExecBeforeAPager(t *testing.T) {
	ptm, c := onTerminal(t, "sh", "-c", `keytether exec -- sh -c 'echo one; test -t 2 && echo errors >&2; sleep 1' | { read line; read key </dev/tty; echo "$line, <$key>"; }`)
	go func() {
		time.Sleep(500 * time.Millisecond)
		_, _ = ptm.WriteString("a\n")
	}()
	shown, _ := io.ReadAll(ptm)
	if err := c.Wait(); err != nil || !strings.Contains(string(shown), "one, <a>") || !strings.Contains(string(shown), "errors\r\n") {
		t.Errorf("%q, %v", shown, err)
	}
}
