package peersock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"
)

const pipePrefix = `\\.\pipe\`

// Path names the agent's pipe: KEYTETHER_SOCKET if it names one, else a pipe with this user's SID.
func Path(getenv func(string) string) (string, error) {
	if p := getenv("KEYTETHER_SOCKET"); p != "" {
		if !strings.HasPrefix(strings.ToLower(p), pipePrefix) {
			return "", insecure(p, "KEYTETHER_SOCKET is not a local pipe", `Give a name that begins with \\.\pipe\`)
		}
		return p, nil
	}
	sid, err := processSID(windows.CurrentProcess())
	if err != nil {
		return "", err
	}
	return pipePrefix + "keytether-agent-" + sid, nil
}

// Listen makes the pipe. Its DACL names this user alone, and winio asks for the first instance
// of the name, so that a second listener, or a squatter before us, is ErrInUse.
func Listen(path string) (*Listener, error) {
	sid, err := processSID(windows.CurrentProcess())
	if err != nil {
		return nil, err
	}
	ln, err := winio.ListenPipe(path, &winio.PipeConfig{SecurityDescriptor: "D:P(A;;GA;;;" + sid + ")"})
	switch {
	case errors.Is(err, windows.ERROR_ACCESS_DENIED), errors.Is(err, windows.ERROR_PIPE_BUSY):
		return nil, fmt.Errorf("%s: %w", path, ErrInUse)
	case err != nil:
		return nil, fmt.Errorf("peersock: %w", err)
	}
	return &Listener{Listener: ln, release: func() error { return nil }}, nil
}

// Dial connects to the pipe; the server may learn who we are and never act as us (winio asks
// for anonymous impersonation).
func Dial(ctx context.Context, path string) (net.Conn, error) {
	c, err := winio.DialPipeContext(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", path, ErrNotRunning)
	case errors.Is(err, windows.ERROR_ACCESS_DENIED):
		return nil, fmt.Errorf("%s: %w", path, ErrPeerUID)
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

// StartLock waits until this process alone may start an agent, or ctx ends. The lock lies in
// the user's local application data, which other users cannot write.
func StartLock(ctx context.Context, path string) (unlock func(), err error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("peersock: %w", err)
	}
	dir = filepath.Join(dir, "keytether")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("peersock: %w", err)
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '_'
	}, path)
	f, err := os.OpenFile(filepath.Join(dir, name+".start"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("peersock: %w", err)
	}
	for {
		err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, new(windows.Overlapped))
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
			_ = f.Close()
			return nil, fmt.Errorf("peersock: %w", err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func checkPeer(c net.Conn, s side) (Peer, error) {
	h, ok := c.(interface{ Fd() uintptr })
	if !ok {
		return Peer{}, fmt.Errorf("peersock: %T is not a pipe: %w", c, ErrPeerUID)
	}
	ask := windows.GetNamedPipeClientProcessId
	if s == dialed {
		ask = windows.GetNamedPipeServerProcessId
	}
	var pid uint32
	if err := ask(windows.Handle(h.Fd()), &pid); err != nil {
		return Peer{}, fmt.Errorf("peersock: the kernel does not say who is at the other end: %w", err)
	}
	p, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if err != nil {
		return Peer{}, fmt.Errorf("%w (process %d cannot be asked: %w)", ErrPeerUID, pid, err)
	}
	defer windows.CloseHandle(p)
	theirs, err := processSID(p)
	if err != nil {
		return Peer{}, err
	}
	ours, err := processSID(windows.CurrentProcess())
	if err != nil {
		return Peer{}, err
	}
	if theirs != ours {
		return Peer{}, fmt.Errorf("%w (%s, not %s; process %d)", ErrPeerUID, theirs, ours, pid)
	}
	return Peer{UID: theirs, PID: int(pid)}, nil
}

func processSID(p windows.Handle) (string, error) {
	var t windows.Token
	if err := windows.OpenProcessToken(p, windows.TOKEN_QUERY, &t); err != nil {
		return "", fmt.Errorf("peersock: whose process this is cannot be asked: %w", err)
	}
	defer t.Close()
	u, err := t.GetTokenUser()
	if err != nil {
		return "", fmt.Errorf("peersock: whose process this is cannot be asked: %w", err)
	}
	return u.User.Sid.String(), nil
}

// Others is false: whose a folder is is not looked at here.
func Others(string) bool { return false }
