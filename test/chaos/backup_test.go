//go:build linux

package chaos

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// TestBackupAndRestore: a backup that is made while the server works is the state
// of one moment, and its log a prefix of the server's. Without the root key it is
// of no use, and that is said. Put back with it, whoever was logged in then still
// is, a token that is younger than the backup ends nothing, and an auditor with a
// younger checkpoint sees that the log was set back.
//
// Invariant: AU-6
func TestBackupAndRestore(t *testing.T) {
	s := newStage(t, "error")
	p := meet(t, s)
	quiet, quietOut := p.login(t)
	restless, before := p.login(t)
	file := filepath.Join(s.Dir, "backup.db")

	younger := before
	storm(t, p, func() {
		if _, stderr, code := serverCommand(t, s, "backup", "--config", s.Config(), "--out", file); code != 0 {
			t.Fatalf("backup: %s", stderr)
		}
		for range 3 {
			var err error
			if younger, err = refresh(t.Context(), restless, younger.RefreshToken); err != nil {
				t.Fatal(err)
			}
		}
	})
	p.leave()
	stop(t, s)
	whole := readLog(t, s.Data(), s.Issuer)

	config := restoredConfig(t, s)
	data := filepath.Join(s.Dir, "restored")
	if _, stderr, code := serverCommand(t, s, "restore", "--config", s.Config(), file); code == 0 || !strings.Contains(stderr, "overwrites nothing") {
		t.Errorf("restore over existing data: %d: %s", code, stderr)
	}
	if _, stderr, code := serverCommand(t, s, "restore", "--config", config, file); code != 0 {
		t.Fatalf("restore: %s", stderr)
	}
	for _, command := range []string{"serve", "check"} {
		_, stderr, code := serverCommand(t, s, command, "--config", config)
		if code != 1 || !strings.Contains(stderr, "root.key does not exist") || !strings.Contains(stderr, "Put it back from your backup") {
			t.Errorf("%s without the root key: %d: %s", command, code, stderr)
		}
	}
	key, err := os.ReadFile(filepath.Join(s.Data(), "root.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(data, "root.key"), key, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(config, s.Config()); err != nil {
		t.Fatal(err)
	}
	start(t, s)

	_, err = refresh(t.Context(), restless, younger.RefreshToken)
	wantRefused(t, "a token that is younger than the backup", err, oauth.RefreshUnknown)
	for _, h := range []keeper{{quiet, quietOut}, {restless, before}} {
		if _, err := refresh(t.Context(), h.tool, h.last.RefreshToken); err != nil {
			t.Errorf("what was there at the backup: %v", err)
		}
	}
	p.leave()
	stop(t, s)
	restored := readLog(t, data, s.Issuer)
	restored.checkFamilies(t)
	same := 0
	for same < len(restored.records) && same < len(whole.records) && restored.records[same] == whole.records[same] {
		same++
	}
	if next := restored.records[same].Name; next != event.ServerStarted {
		t.Errorf("after %d records in common the restored log goes on with %s", same, next)
	}
	if same == len(whole.records) {
		t.Error("nothing happened after the backup, so that the test says nothing")
	}
	_, err = audit.Verify(bytes.NewReader(restored.export), audit.Options{Held: [][]byte{whole.last}})
	if !errors.Is(err, audit.ErrDropped) && !errors.Is(err, audit.ErrForked) {
		t.Errorf("an auditor who holds a checkpoint younger than the backup: %v", err)
	}
}

// storm refreshes with a few clients while f runs, and wants every request
// answered.
func storm(t *testing.T, p people, f func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for range 6 {
		tool, out := p.login(t)
		wg.Go(func() {
			for ctx.Err() == nil {
				next, err := refresh(t.Context(), tool, out.RefreshToken)
				if err != nil {
					t.Errorf("in the storm: %v", err)
					return
				}
				out = next
			}
		})
	}
	f()
}

// restoredConfig writes the config anew with another data folder.
func restoredConfig(t *testing.T, s *stage.Stage) string {
	t.Helper()
	text, err := os.ReadFile(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.Dir, "restored.yaml")
	if err := os.WriteFile(path, bytes.Replace(text, []byte("data: ./data\n"), []byte("data: ./restored\n"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
