//go:build linux || darwin

package peersock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The test binary plays the other user when this variable says how.
const roleVar = "PEERSOCK_TEST_ROLE"

func TestMain(m *testing.M) {
	switch role, arg, _ := strings.Cut(os.Getenv(roleVar), "="); role {
	case "":
		os.Exit(m.Run())
	case "dial": // connect, and say how many bytes come before the other end hangs up
		c, err := net.Dial("unix", arg)
		if err != nil {
			fmt.Println("dial failed:", err)
			os.Exit(1)
		}
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(c)
		fmt.Printf("uid %d read %d bytes\n", os.Geteuid(), len(b))
		os.Exit(0)
	case "listen": // descriptor 3 is a bound socket: listen on it, as this user
		if err := syscall.Listen(3, 1); err != nil {
			fmt.Println("listen failed:", err)
			os.Exit(1)
		}
		fmt.Println("listening")
		_, _ = io.ReadAll(os.Stdin)
		os.Exit(0)
	case "hold": // listen at arg until killed
		ln, err := Listen(arg)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("listening")
		_, _ = ln.Accept()
		os.Exit(0)
	}
}

// other prepares this binary to run in a role, as another user if we may choose one.
func other(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	dir, err := os.MkdirTemp("", "peersock") // the other user must be able to enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "other")
	if err := os.WriteFile(bin, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin)
	cmd.Dir = "/"
	cmd.Env = []string{roleVar + "=" + role}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return cmd
}

// sockPath gives a short path in a folder that everybody can reach; the socket's own folder is not made yet.
func sockPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ps")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "kt", "agent.sock")
}

func listen(t *testing.T, path string) *Listener {
	t.Helper()
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

func TestBothEndsKnowEachOther(t *testing.T) {
	path := sockPath(t)
	ln := listen(t, path)
	got := make(chan Peer, 1)
	srv := &http.Server{ConnContext: ConnContext, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		p, _ := PeerFrom(r.Context())
		got <- p
	})}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := Peer{UID: strconv.Itoa(os.Geteuid()), PID: os.Getpid()}
	if p := c.(*Conn).Peer(); p != want {
		t.Errorf("dialing end sees %+v, want %+v", p, want)
	}
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if p := <-got; p.UID != want.UID || p.PID != want.PID {
		t.Errorf("listening end sees %+v, want %+v", p, want)
	}
}

func TestPermissionsWhateverTheUmask(t *testing.T) {
	for _, mask := range []int{0, 0o777 &^ 0o700, 0o277} {
		old := syscall.Umask(mask)
		path := sockPath(t)
		if mask == 0o277 { // a folder without write permission is no use
			syscall.Umask(old)
			if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			syscall.Umask(mask)
		}
		ln, err := Listen(path)
		syscall.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		for p, want := range map[string]os.FileMode{path: 0o600 | os.ModeSocket, filepath.Dir(path): 0o700 | os.ModeDir} {
			if fi, err := os.Lstat(p); err != nil || fi.Mode() != want {
				t.Errorf("umask %#o: %s has %v, want %v (%v)", mask, p, fi.Mode(), want, err)
			}
		}
		_ = ln.Close()
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	}
}

func TestInsecurePathsAreRefusedByBothEnds(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, path string)
	}{
		{"group may enter", func(t *testing.T, p string) { must(t, os.Chmod(filepath.Dir(p), 0o710)) }},
		{"world may enter", func(t *testing.T, p string) { must(t, os.Chmod(filepath.Dir(p), 0o701)) }},
		{"world may write", func(t *testing.T, p string) { must(t, os.Chmod(filepath.Dir(p), 0o1777)) }},
		{"folder is a link", func(t *testing.T, p string) {
			d := filepath.Dir(p)
			must(t, os.Rename(d, d+"2"))
			must(t, os.Symlink(d+"2", d))
		}},
		{"socket is a file", func(t *testing.T, p string) { must(t, os.WriteFile(p, nil, 0o600)) }},
		{"socket is a link", func(t *testing.T, p string) { must(t, os.Symlink("/dev/null", p)) }},
		{"folder is another user's", func(t *testing.T, p string) {
			if os.Geteuid() != 0 { // we cannot give a folder away: use one that is root's
				must(t, os.Chmod(filepath.Dir(p), 0o777))
				return
			}
			must(t, os.Chown(filepath.Dir(p), 65534, 65534))
		}},
		{"socket is another user's", func(t *testing.T, p string) {
			ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
			must(t, err)
			t.Cleanup(func() { _ = ln.Close() })
			must(t, os.Chmod(p, 0o666))
			if os.Geteuid() == 0 {
				must(t, os.Chmod(p, 0o600))
				must(t, os.Chown(p, 65534, 65534))
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := sockPath(t)
			must(t, os.Mkdir(filepath.Dir(path), 0o700))
			tt.spoil(t, path)
			if ln, err := Listen(path); !errors.Is(err, ErrInsecurePath) {
				t.Errorf("Listen: %v", err)
				if ln != nil {
					_ = ln.Close()
				}
			}
			if c, err := Dial(t.Context(), path); !errors.Is(err, ErrInsecurePath) {
				t.Errorf("Dial: %v", err)
				if c != nil {
					_ = c.Close()
				}
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNobodyListens(t *testing.T) {
	path := sockPath(t)
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no folder: %v", err)
	}
	must(t, os.Mkdir(filepath.Dir(path), 0o700))
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
}

func TestOneListenerAtATime(t *testing.T) {
	path := sockPath(t)
	ln := listen(t, path)
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("second: %v", err)
	}
	must(t, ln.Close())
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after Close: %v", err)
	}
	must(t, listen(t, path).Close())

	foreign, err := net.Listen("unix", path) // one that does not know the lock
	must(t, err)
	defer foreign.Close()
	must(t, os.Chmod(path, 0o600))
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("beside a foreign listener: %v", err)
	}
}

func TestStaleSocketOfAKilledAgentIsReplaced(t *testing.T) {
	path := sockPath(t)
	cmd := other(t, "hold="+path)
	cmd.SysProcAttr = nil // ourselves
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	b := make([]byte, 64)
	if n, _ := out.Read(b); string(b[:n]) != "listening\n" {
		t.Fatalf("holder says %q", b[:n])
	}
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("while it lives: %v", err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("a killed agent leaves its socket: %v", err)
	}
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNotRunning) {
		t.Errorf("stale: %v", err)
	}
	listen(t, path)
	c, err := Dial(t.Context(), path)
	must(t, err)
	_ = c.Close()
}

func TestManyListenersAtOnceMakeOne(t *testing.T) {
	path := sockPath(t)
	must(t, os.Mkdir(filepath.Dir(path), 0o700))
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	must(t, err)
	stale.SetUnlinkOnClose(false)
	must(t, os.Chmod(path, 0o600))
	must(t, stale.Close())
	var wg sync.WaitGroup
	won := make(chan *Listener, 16)
	for range 16 {
		wg.Go(func() {
			ln, err := Listen(path)
			if err == nil {
				won <- ln
			} else if !errors.Is(err, ErrInUse) {
				t.Errorf("loser gets %v", err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d listeners", len(won))
	}
	c, err := Dial(t.Context(), path)
	must(t, err)
	_ = c.Close()
	_ = (<-won).Close()
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".k*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

// The permissions are broken on purpose, so that the check of the peer stands alone.
//
// Invariant: AG-1
func TestListenerRefusesAnotherUser(t *testing.T) {
	path := sockPath(t)
	ln := listen(t, path)
	refused := make(chan error, 1)
	ln.OnRefused(func(err error) { refused <- err })
	srv := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = srv.Serve(ln) }()
	defer srv.Close()
	must(t, os.Chmod(filepath.Dir(path), 0o755))
	must(t, os.Chmod(path, 0o666))
	if os.Geteuid() != 0 {
		// Without root there is no other user to be; the comparison itself must still hold.
		if err := sameUser(os.Geteuid()+1, 1); !errors.Is(err, ErrPeerUID) {
			t.Errorf("got %v", err)
		}
		return
	}
	out, err := other(t, "dial="+path).CombinedOutput()
	if err != nil || string(out) != "uid 65534 read 0 bytes\n" {
		t.Fatalf("%s %v", out, err)
	}
	if err := <-refused; !errors.Is(err, ErrPeerUID) || !strings.Contains(err.Error(), "65534") {
		t.Errorf("refused with %v", err)
	}
	must(t, os.Chmod(filepath.Dir(path), 0o700))
	must(t, os.Chmod(path, 0o600))
	c, err := Dial(t.Context(), path) // and the listener lives on
	must(t, err)
	_ = c.Close()
}

// Folder and socket are ours, and yet another user listens: only the kernel can tell.
//
// Invariant: AG-1
func TestDialerRefusesAnotherUser(t *testing.T) {
	path := sockPath(t)
	must(t, os.Mkdir(filepath.Dir(path), 0o700))
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(t, err)
	f := os.NewFile(uintptr(fd), "bound")
	defer f.Close()
	must(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	must(t, os.Chmod(path, 0o600))
	cmd := other(t, "listen")
	cmd.ExtraFiles = []*os.File{f}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	b := make([]byte, 64)
	if n, _ := out.Read(b); string(b[:n]) != "listening\n" {
		t.Fatalf("other says %q", b[:n])
	}
	c, err := Dial(t.Context(), path)
	if os.Geteuid() != 0 { // then the other is ourselves, and is welcome
		must(t, err)
		_ = c.Close()
		return
	}
	if !errors.Is(err, ErrPeerUID) {
		t.Errorf("got %v", err)
	}
}

func TestStartLockIsHeldByOne(t *testing.T) {
	path := sockPath(t)
	unlock, err := StartLock(t.Context(), path)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := StartLock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("second: %v", err)
	}
	unlock()
	again, err := StartLock(t.Context(), path)
	must(t, err)
	again()
}

func TestTooLongPathSaysSo(t *testing.T) {
	_, err := Listen("/tmp/" + strings.Repeat("a", 200) + "/agent.sock")
	if !errors.Is(err, ErrInsecurePath) || !strings.Contains(err.Error(), "KEYTETHER_SOCKET") {
		t.Errorf("got %v", err)
	}
}

// TestLockOfADyingAgent: of an agent that was killed the socket goes first, and whoever starts the
// next one then does not fail.
func TestLockOfADyingAgent(t *testing.T) {
	path := sockPath(t)
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	unlock, err := tryLock(path + ".lock")
	must(t, err)
	time.AfterFunc(100*time.Millisecond, unlock)
	ln, err := Listen(path)
	must(t, err)
	must(t, ln.Close())
}
