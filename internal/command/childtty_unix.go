//go:build !windows

package command

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// drainTime bounds how long what the command left behind in its terminal is waited for, once it
// has ended: something that it started may hold the terminal open.
const drainTime = 2 * time.Second

// childTTY is the terminal that a command gets where ours is one, so that it behaves as it
// would without us, and all the same prints through the mask. The zero value is none.
type childTTY struct {
	own     bool // the terminal is the command's controlling one, and its keys are its own
	ours    *os.File
	master  *os.File
	slave   *os.File
	screen  io.Writer // the mask before our terminal
	restore func()
	drained chan struct{}
}

// childTerminal puts a terminal wherever the command would have had ours: on its output and
// errors, and on its input too if we are in the foreground. Then our own terminal hands every key
// on as it is. Without input from a terminal the command stays in our session, so that it can
// open /dev/tty for keys, as pagers do.
func (a *app) childTerminal(c *exec.Cmd) (*childTTY, error) {
	t := &childTTY{}
	out, errs := isTerminal(a.Stdout), isTerminal(a.Stderr)
	switch {
	case out:
		t.ours, t.screen = a.Stdout.(*os.File), c.Stdout
	case errs:
		t.ours, t.screen = a.Stderr.(*os.File), c.Stderr
	default:
		return t, nil
	}
	var err error
	if t.master, t.slave, err = pty.Open(); err != nil {
		return nil, err
	}
	t.drained = make(chan struct{})
	if out {
		c.Stdout = t.slave
	}
	if errs {
		c.Stderr = t.slave
	}
	t.resize()
	in, ok := a.Stdin.(*os.File)
	if !ok || !isTerminal(in) || !foreground(in) {
		if err := rawOutput(t.slave); err != nil { // ours ends the lines already
			t.close()
			return nil, err
		}
		return t, nil
	}
	if err := copyModes(t.slave, in); err != nil {
		t.close()
		return nil, err
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		t.close()
		return nil, err
	}
	t.own = true
	t.restore = func() { _ = term.Restore(int(in.Fd()), before) }
	c.Stdin = t.slave
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	go func() { _, _ = io.Copy(t.master, in) }() // ends with us
	return t, nil
}

// started is for once the command has its end of the terminal.
func (t *childTTY) started() {
	if t.master == nil {
		return
	}
	_ = t.slave.Close()
	go func() {
		defer close(t.drained)
		_, _ = io.Copy(t.screen, t.master) // EIO once nobody has the other end
	}()
}

// signal does what the terminal itself has to do for one.
func (t *childTTY) signal(s os.Signal) {
	if s == syscall.SIGWINCH && t.master != nil {
		t.resize()
	}
}

func (t *childTTY) resize() { _ = pty.InheritSize(t.ours, t.master) }

// drain waits for the last output of a command that has ended.
func (t *childTTY) drain() {
	if t.master == nil {
		return
	}
	select {
	case <-t.drained:
	case <-time.After(drainTime):
		_ = t.master.SetReadDeadline(time.Now())
		_ = t.master.Close()
		<-t.drained
	}
}

// close gives our terminal back as it was.
func (t *childTTY) close() {
	if t.restore != nil {
		t.restore()
	}
	if t.master != nil {
		_ = errors.Join(t.slave.Close(), t.master.Close())
	}
}
