//go:build !windows

package command

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Once the command has ended, something that it started may hold the terminal open, and may go on
// printing: so long is waited for more, not counting the time that our own terminal takes, and so
// much is still shown, which is more than a terminal keeps.
const (
	drainTime = 2 * time.Second
	drainMax  = 1 << 20 // bytes
)

// childTTY is the terminal that a command gets where ours is one, so that it behaves as it
// would without us, and all the same prints through the mask. The zero value is none.
type childTTY struct {
	own     bool // the terminal is the command's controlling one, and its keys are its own
	ours    *os.File
	master  *os.File
	slave   *os.File
	screen  io.Writer // the mask before our terminal
	restore func()
	ended   atomic.Bool // the command has
	drained chan struct{}
}

// childTerminal puts a terminal wherever the command would have had ours: on its output and
// errors, and on its input too if we are in the foreground and its output goes to no other program,
// which may want the keys as well, as a pager does. Then our own terminal hands every key on as it
// is. Else the command stays in our session, so that it can open /dev/tty for keys itself.
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
	if t.master, t.slave, err = openTerminal(); err != nil {
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
	if !out || !ok || !isTerminal(in) || !foreground(in) {
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
		t.show()
	}()
}

// show prints what comes through the terminal, until nobody has the other end (EIO) or the
// command has ended and what may follow is over.
func (t *childTTY) show() {
	buf := make([]byte, 32<<10)
	for left, more := drainTime, drainMax; left > 0 && more > 0; {
		began, ended := time.Now(), t.ended.Load()
		if ended {
			_ = t.master.SetReadDeadline(began.Add(left))
		}
		n, err := t.master.Read(buf)
		if ended {
			left -= time.Since(began)
			more -= n
		}
		if _, werr := t.screen.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}

// signal does what the terminal itself has to do for one.
func (t *childTTY) signal(s os.Signal) {
	if s == syscall.SIGWINCH && t.master != nil {
		t.resize()
	}
}

func (t *childTTY) resize() {
	size, err := unix.IoctlGetWinsize(int(t.ours.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return
	}
	if raw, err := t.master.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, size) })
	}
}

// openTerminal gives the two ends of a new terminal. Reads of the first can be ended by a
// deadline, which those of what package pty gives cannot: it asks them for their descriptor, and
// that makes them wait in the kernel.
func openTerminal() (master, slave *os.File, err error) {
	waits, slave, err := pty.Open()
	if err != nil {
		return nil, nil, err
	}
	defer waits.Close()
	fd, err := unix.FcntlInt(waits.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		_ = slave.Close()
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), waits.Name()), slave, nil
}

// drain waits for the last output of a command that has ended.
func (t *childTTY) drain() {
	if t.master == nil {
		return
	}
	t.ended.Store(true)
	_ = t.master.SetReadDeadline(time.Now().Add(drainTime))
	<-t.drained
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
