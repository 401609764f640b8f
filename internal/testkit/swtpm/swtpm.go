// Package swtpm runs a TPM in software for one test: Debian's swtpm, with a folder of its own
// and Unix sockets in it. It is for tests only.
package swtpm

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
)

// TPM is a chip that can be restarted, cleared and stopped.
type TPM struct {
	// Socket is where it takes commands: raw ones of the TPM 2.0 Library, one connection at a
	// time. It has no resource manager: what a client leaves loaded stays.
	Socket string

	t   testing.TB
	dir string
	old bool
	p   *testkit.Process
}

// Start starts a new chip. It ends with the test.
func Start(t testing.TB) *TPM { return start(t, false) }

// StartOld starts a chip of version 1.2, which nobody should make keys in.
func StartOld(t testing.TB) *TPM { return start(t, true) }

func start(t testing.TB, old bool) *TPM {
	t.Helper()
	dir, err := testkit.ShortDir()
	if err != nil {
		t.Fatal(err)
	}
	s := &TPM{Socket: filepath.Join(dir, "tpm"), t: t, dir: dir, old: old}
	t.Cleanup(func() {
		s.Stop()
		_ = os.RemoveAll(dir)
	})
	s.run()
	return s
}

func (s *TPM) run() {
	s.t.Helper()
	path, err := exec.LookPath("swtpm")
	if err != nil {
		s.t.Fatal("swtpm is missing: install Debian's swtpm, or run scripts/setup")
	}
	state := filepath.Join(s.dir, "state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		s.t.Fatal(err)
	}
	_ = os.Remove(s.Socket)
	args := []string{
		"socket", "--tpmstate", "dir=" + state, "--server", "type=unixio,path=" + s.Socket,
		"--ctrl", "type=unixio,path=" + s.Socket + ".ctrl", "--flags", "not-need-init,startup-clear",
	}
	if !s.old {
		args = append(args, "--tpm2")
	}
	s.p, err = testkit.StartProcess(testkit.Command{Path: path, Args: args})
	if err != nil {
		s.t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("unix", s.Socket); err == nil {
			c.Close()
			return
		}
		select {
		case <-s.p.Done():
			s.t.Fatalf("swtpm ended: %s", s.p.Stderr())
		default:
		}
		if time.Now().After(end) {
			s.t.Fatalf("swtpm takes no connection: %s", s.p.Stderr())
		}
	}
}

// Stop ends it as a machine that is turned off does. The state stays.
func (s *TPM) Stop() {
	if s.p == nil {
		return
	}
	s.Resume()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.p.Stop(ctx)
	s.p = nil
}

// Restart turns the machine off and on again.
func (s *TPM) Restart() {
	s.t.Helper()
	s.Stop()
	s.run()
}

// Clear puts another chip in its place: the state is gone.
func (s *TPM) Clear() {
	s.t.Helper()
	s.Stop()
	if err := os.RemoveAll(filepath.Join(s.dir, "state")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.t.Fatal(err)
	}
	s.run()
}
