//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// cmdTTY runs a program whose standard input, output and error are one terminal, wants exit code
// N, and writes all that the terminal showed to the file tty. TTY_COLUMNS is its width; when it
// shows the text in TTY_ENTER, Enter is pressed. The file typed has what
// else is typed, a line each: what is waited for, "|", and the answer.
func cmdTTY(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: tty N program args…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	ptm, pts, err := openPTY()
	ts.Check(err)
	defer ptm.Close()
	if n, err := strconv.Atoi(ts.Getenv("TTY_COLUMNS")); err == nil {
		ts.Check(unix.IoctlSetWinsize(int(pts.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: uint16(n)}))
	}
	path, err := exec.LookPath(args[1])
	ts.Check(err)
	c := exec.Command(path, args[2:]...)
	c.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "PATH", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "TERM", "NO_COLOR", "TZ", "LANG"} {
		c.Env = append(c.Env, name+"="+ts.Getenv(name))
	}
	c.Stdin, c.Stdout, c.Stderr = pts, pts, pts
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	err = c.Start()
	_ = pts.Close() // ours: reading then ends when the program's is closed
	ts.Check(err)
	var answers [][2]string
	if enter := ts.Getenv("TTY_ENTER"); enter != "" {
		answers = append(answers, [2]string{enter, ""})
	}
	typed, _ := os.ReadFile(ts.MkAbs("typed"))
	for line := range strings.Lines(string(typed)) {
		prompt, answer, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "|")
		answers = append(answers, [2]string{prompt, answer})
	}
	shown, err := readTTY(ptm, answers)
	if !errors.Is(err, syscall.EIO) { // how Linux says that the other side is gone
		ts.Check(err)
	}
	err = c.Wait()
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		ts.Check(err)
	}
	ts.Logf("[tty]\n%q", shown)
	ts.Check(os.WriteFile(ts.MkAbs("tty"), shown, 0o600))
	if got := c.ProcessState.ExitCode(); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// readTTY reads all that a terminal shows, and types each answer once, after its text was shown.
func readTTY(ptm *os.File, answers [][2]string) ([]byte, error) {
	var shown []byte
	seen := 0 // where the text before ended
	piece := make([]byte, 4096)
	for {
		n, err := ptm.Read(piece)
		shown = append(shown, piece[:n]...)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return shown, err
		}
		for len(answers) > 0 {
			at := bytes.Index(shown[seen:], []byte(answers[0][0]))
			if at < 0 {
				break
			}
			seen += at + len(answers[0][0])
			time.Sleep(100 * time.Millisecond) // a person: until the terminal shows nothing more
			answer := answers[0][1]
			if answer != "\x03" { // Ctrl-C stands alone
				answer += "\n"
			}
			if _, err := ptm.WriteString(answer); err != nil {
				return shown, err
			}
			answers = answers[1:]
		}
	}
}

func openPTY() (ptm, pts *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("/dev/ptmx: %w", err)
	}
	ptm = os.NewFile(uintptr(fd), "/dev/ptmx")
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		pts, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		_ = ptm.Close()
		return nil, nil, err
	}
	return ptm, pts, nil
}
