//go:build linux || darwin

package peersock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Path says where the agent's socket is, by the environment that getenv shows. See unixPath.
func Path(getenv func(string) string) (string, error) { return unixPath(getenv, Others) }

// Others says that a folder is neither this user's nor root's. What is not there is nobody's yet.
func Others(dir string) bool {
	fi, err := os.Stat(dir)
	if err != nil {
		return errors.Is(err, fs.ErrPermission)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && st.Uid != 0 && int(st.Uid) != os.Geteuid()
}

// maxPath is the room in sockaddr_un, less the closing NUL.
var maxPath = len(unix.RawSockaddrUnix{}.Path) - 1

// Listen makes the socket at path, and its folder (0700) if there is none. The folder must be
// a real folder, this user's, and closed to all others, else ErrInsecurePath. Whoever listens
// holds a lock beside the socket until its process ends, however it ends: a socket without a
// holder is stale and is replaced, a second listener gets ErrInUse.
//
// The socket is bound under another name in the closed folder, set to 0600, and renamed: under
// its own name it never has other permissions, whatever the umask, and is never half there.
func Listen(path string) (*Listener, error) {
	dir := filepath.Dir(path)
	tmp := filepath.Join(dir, ".k"+rand.Text()[:8])
	if len(path) > maxPath || len(tmp) > maxPath {
		return nil, insecure(path, fmt.Sprintf("a socket's path may have %d bytes", maxPath), "Set KEYTETHER_SOCKET to a shorter path")
	}
	if err := makeFolder(dir); err != nil {
		return nil, err
	}
	unlock, err := lockOf(path)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Listener, error) {
		_ = os.Remove(tmp)
		unlock()
		return nil, err
	}
	if err := checkSocket(path); err != nil && !errors.Is(err, ErrNotRunning) {
		return fail(err)
	}
	// Somebody who does not know the lock may listen all the same.
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return fail(fmt.Errorf("%s: %w", path, ErrInUse))
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return fail(fmt.Errorf("peersock: %w", err))
	}
	ln.SetUnlinkOnClose(false)
	if err = os.Chmod(tmp, 0o600); err == nil {
		err = os.Rename(tmp, path)
	}
	var mine fs.FileInfo
	if err == nil {
		mine, err = os.Lstat(path)
	}
	if err != nil {
		_ = ln.Close()
		return fail(fmt.Errorf("peersock: %w", err))
	}
	gone := func() bool {
		now, err := os.Lstat(path)
		return errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, mine)
	}
	return &Listener{Listener: ln, gone: gone, release: func() error {
		defer unlock()
		if now, err := os.Lstat(path); err == nil && os.SameFile(now, mine) {
			return os.Remove(path)
		}
		return nil
	}}, nil
}

// dyingTime bounds how long one who holds the lock and does not answer is waited for.
const dyingTime = time.Second

// lockOf takes the lock beside a socket. Of a process that was killed the socket goes before the
// lock does, and of one that starts the lock comes first: so a holder that does not answer gets a
// moment to end, or to answer.
func lockOf(path string) (unlock func(), err error) {
	for end := time.Now().Add(dyingTime); ; time.Sleep(5 * time.Millisecond) {
		unlock, err := tryLock(path + ".lock")
		if !errors.Is(err, ErrInUse) || time.Now().After(end) {
			return unlock, err
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("%s: %w", path, ErrInUse)
		}
	}
}

// Dial connects to the agent at path. It gives ErrNotRunning when there is none,
// ErrInsecurePath when folder or socket are open to others or not this user's, and ErrPeerUID
// when another user's process answers.
func Dial(ctx context.Context, path string) (net.Conn, error) {
	if err := checkFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := checkSocket(path); err != nil {
		return nil, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", path, ErrNotRunning)
	case err != nil:
		return nil, fmt.Errorf("peersock: %w", err)
	}
	p, err := checkPeer(c, dialed)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return &Conn{Conn: c, peer: p}, nil
}

// StartLock waits until this process alone may start an agent for path, or ctx ends. The lock
// goes with the process.
func StartLock(ctx context.Context, path string) (unlock func(), err error) {
	if err := makeFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	for {
		unlock, err := tryLock(path + ".start")
		if !errors.Is(err, ErrInUse) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func makeFolder(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("peersock: the socket's folder cannot be made: %w", err)
	}
	return checkFolder(dir)
}

func checkFolder(dir string) error {
	fi, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", dir, ErrNotRunning)
	}
	if err != nil {
		return fmt.Errorf("peersock: %w", err)
	}
	if !fi.IsDir() { // a symbolic link is none either
		return insecure(dir, "it is not a folder", "Remove it, or set KEYTETHER_SOCKET")
	}
	return checkMode(dir, fi, "chmod 700 "+dir)
}

func checkSocket(path string) error {
	fi, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", path, ErrNotRunning)
	}
	if err != nil {
		return fmt.Errorf("peersock: %w", err)
	}
	if fi.Mode().Type() != fs.ModeSocket {
		return insecure(path, "it is not a socket", "Remove it, or set KEYTETHER_SOCKET")
	}
	return checkMode(path, fi, "Stop the agent and remove it")
}

func checkMode(path string, fi fs.FileInfo, do string) error {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || int(st.Uid) != os.Geteuid() {
		return insecure(path, "it belongs to another user", "Set KEYTETHER_SOCKET to a path of your own")
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return insecure(path, fmt.Sprintf("others have access (%#o)", fi.Mode().Perm()), do)
	}
	return nil
}

// tryLock takes an exclusive lock on a file that is never removed, or gives ErrInUse.
func tryLock(path string) (unlock func(), err error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("peersock: the lock %s cannot be opened: %w", path, err)
	}
	for {
		err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w", path, ErrInUse)
		}
		return nil, fmt.Errorf("peersock: the lock %s cannot be taken: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	return func() { _ = f.Close() }, nil
}

func checkPeer(c net.Conn, _ side) (Peer, error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return Peer{}, fmt.Errorf("peersock: %T is not a Unix socket: %w", c, ErrPeerUID)
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("peersock: %w", err)
	}
	var uid, pid int
	var perr error
	if err := raw.Control(func(fd uintptr) { uid, pid, perr = peerCred(int(fd)) }); err != nil {
		return Peer{}, fmt.Errorf("peersock: %w", err)
	}
	if perr != nil {
		return Peer{}, fmt.Errorf("peersock: the kernel does not say who is at the other end: %w", perr)
	}
	if err := sameUser(uid, pid); err != nil {
		return Peer{}, err
	}
	return Peer{UID: strconv.Itoa(uid), PID: pid}, nil
}

// sameUser makes no exception for root: root has other ways.
func sameUser(uid, pid int) error {
	if me := os.Geteuid(); uid != me {
		return fmt.Errorf("%w (uid %d, not %d; process %d)", ErrPeerUID, uid, me, pid)
	}
	return nil
}
