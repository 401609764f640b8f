//go:build linux

package chaos

import (
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// TestDiskFull: when the disk is full, what would have to be kept is answered
// 503 storage_full, and nothing is changed, lost or half done; what is only read
// goes on. A server that is killed then and finds no room at its start says so.
// When there is room again everything works as before.
//
// Invariant: GR-13
func TestDiskFull(t *testing.T) {
	if err := mountTmpfs(t.TempDir()); errors.Is(err, os.ErrPermission) {
		inNamespace(t) // not root: the same test where this user is
		return
	} else if err != nil {
		t.Fatal(err)
	}
	s := newStage(t, "error")
	p := meet(t, s)
	moveToSmallDisk(t, s)
	const many = 6
	holders := make([]*keeper, many)
	for i := range holders {
		tool, out := p.login(t)
		holders[i] = &keeper{tool, out}
	}
	ballast := filepath.Join(s.Data(), "ballast")
	fillDisk(t, ballast)
	untilFull(t, holders)
	api := newAPI(t, s)
	for _, h := range holders {
		_, err := refresh(t.Context(), h.tool, h.last.RefreshToken)
		wantFull(t, "a refresh", err)
		wantFull(t, "a revocation", revoke(t.Context(), h.tool, h.last.RefreshToken))
		if !api.active(t, h.last.AccessToken) {
			t.Error("what is only read fails too")
		}
	}
	s.Server.Kill()
	startWithoutRoom(t, s)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	start(t, s)
	for _, h := range holders {
		out, err := refresh(t.Context(), h.tool, h.last.RefreshToken)
		if err != nil {
			t.Fatalf("with room again: %v", err)
		}
		if was, is := generation(t, h.last.RefreshToken), generation(t, out.RefreshToken); is != was+1 {
			t.Errorf("generation %d was followed by %d: a refused request changed something", was, is)
		}
		h.last = out
	}
	fillDisk(t, ballast) // once more, and this time the server lives on
	untilFull(t, holders)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for _, h := range holders {
		if err := revoke(t.Context(), h.tool, h.last.RefreshToken); err != nil {
			t.Errorf("a revocation with room again: %v", err)
		}
	}
	p.leave()
	stop(t, s)
	log := readLog(t, s.Data(), s.Issuer)
	log.checkFamilies(t)
	if n := log.report.Events[event.GrantRevoked]; n != many {
		t.Errorf("%d revocations are recorded, want %d", n, many)
	}
}

// mountTmpfs tries whether this user may mount.
func mountTmpfs(dir string) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		return err
	}
	return syscall.Unmount(dir, 0)
}

// inNamespace runs the calling test again where an ordinary user may mount.
func inNamespace(t *testing.T) {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("in a namespace of its own: %v\n%s", err, out)
	}
}

// moveToSmallDisk stops the server, moves its data to a small file system, and
// starts it again.
func moveToSmallDisk(t *testing.T, s *stage.Stage) {
	t.Helper()
	stop(t, s)
	old := s.Data() + ".old"
	if err := errors.Join(os.Rename(s.Data(), old), os.Mkdir(s.Data(), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", s.Data(), "tmpfs", 0, "size=12m,mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the stage is closed, which removes the folder
		s.Server.Kill()
		if err := syscall.Unmount(s.Data(), 0); err != nil {
			t.Error(err)
		}
	})
	files, err := os.ReadDir(old)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(old, f.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(s.Data(), f.Name()), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	start(t, s)
}

// fillDisk writes a file until nothing more fits.
func fillDisk(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.CopyN(f, zeros{}, 64<<20)
	_ = f.Close()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk does not get full: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// keeper holds the newest answer of one grant.
type keeper struct {
	tool *driver.Tool
	last oauth.TokenResponse
}

// untilFull refreshes until the disk is full: the database's own files have some
// room left in them.
func untilFull(t *testing.T, holders []*keeper) {
	t.Helper()
	for range 3000 {
		for _, h := range holders {
			out, err := refresh(t.Context(), h.tool, h.last.RefreshToken)
			if err != nil {
				wantFull(t, "the first request that found no room", err)
				return
			}
			h.last = out
		}
	}
	t.Fatal("the disk is never full")
}

func wantFull(t *testing.T, what string, err error) {
	t.Helper()
	wantRefused(t, what+" on a full disk", err, oauth.StorageFull)
	if e, ok := refused(err); ok && (e.Status != http.StatusServiceUnavailable || e.Response.Error != "temporarily_unavailable") {
		t.Errorf("%s on a full disk: %v", what, e)
	}
}

// startWithoutRoom starts the server on the full disk: it ends by itself and says
// why.
func startWithoutRoom(t *testing.T, s *stage.Stage) {
	t.Helper()
	err := s.StartServer(t.Context())
	if !errors.Is(err, testkit.ErrExited) || !strings.Contains(err.Error(), "full") && !strings.Contains(err.Error(), "no space") {
		t.Errorf("a start without room: %v", err)
	}
}
