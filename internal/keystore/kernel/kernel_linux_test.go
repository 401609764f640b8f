package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/keystoretest"
	"github.com/keytether/keytether/internal/keystore/records"
	"github.com/keytether/keytether/internal/secret"
)

// prefix gives one of this test's own, and takes away what is left at its end.
func prefix(t *testing.T) string {
	t.Helper()
	p := fmt.Sprintf("keytether-test-%d-%s", os.Getpid(), strings.ReplaceAll(t.Name(), "/", "-"))
	t.Cleanup(func() {
		b := &backend{p + ":"}
		err := b.Update(context.Background(), func(tx records.Tx) error {
			ids, err := tx.IDs()
			for _, id := range ids {
				err = errors.Join(err, tx.Delete(id))
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
	return p
}

func open(t *testing.T, p string) keystore.Store {
	t.Helper()
	s, err := Kind(Options{Prefix: p}).Open(t.Context())
	if err != nil {
		t.Fatalf("%v: these tests need a kernel with keyrings (CONFIG_KEYS) that this user may use", err)
	}
	return s
}

// Invariant: KS-1
func TestStore(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) keystore.Store { return open(t, prefix(t)) })
	keystoretest.RunLasting(t, func(t *testing.T) func(*testing.T) keystore.Store {
		p := prefix(t)
		return func(t *testing.T) keystore.Store { return open(t, p) }
	})
}

// TestPermissions reads what the kernel grants on a record: all to who possesses the keyring, and
// nothing to the uid, the group and others.
//
// Invariant: KS-7
func TestPermissions(t *testing.T) {
	p := prefix(t)
	s := open(t, p)
	if _, err := s.NewKey(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a", keystore.Entry{Key: "a", RefreshToken: secret.New("token")}); err != nil {
		t.Fatal(err)
	}
	b := &backend{p + ":"}
	var serials []int
	err := b.Update(t.Context(), func(tx records.Tx) error {
		for _, id := range []string{"k:a", "e:a"} {
			serial, err := b.find(id)
			if err != nil || serial == 0 {
				return fmt.Errorf("%s: %d %w", id, serial, err)
			}
			text, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, serial)
			if err != nil {
				return err
			}
			if part := strings.Split(text, ";"); part[1] != fmt.Sprint(os.Getuid()) || part[3] != "3f000000" {
				t.Errorf("%s", text)
			}
			serials = append(serials, serial)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		return // cannot become another
	}
	// Another uid, with a session of its own, reads by the number, which it may have from anywhere.
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- func() error {
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, 12345, 12345, 12345); errno != 0 {
				return errno
			}
			if _, err := unix.KeyctlJoinSessionKeyring("kt-another"); err != nil {
				return err
			}
			for _, serial := range serials {
				if _, err := unix.KeyctlBuffer(unix.KEYCTL_READ, serial, make([]byte, 100), 0); !errors.Is(err, unix.EACCES) {
					return fmt.Errorf("another uid reads the record: %w", err)
				}
				if _, err := unix.KeyctlInt(unix.KEYCTL_LINK, serial, unix.KEY_SPEC_THREAD_KEYRING, 0, 0); !errors.Is(err, unix.EACCES) {
					return fmt.Errorf("another uid takes the record: %w", err)
				}
			}
			return nil
		}()
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRevokedSession uses the store in a process whose session keyring was revoked, as that of an
// agent is once the SSH session that started it has ended.
func TestRevokedSession(t *testing.T) {
	p := prefix(t)
	s := open(t, p)
	if _, err := s.NewKey(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=TestUseWithoutSession$", "-test.v")
	cmd.Env = append(os.Environ(), "USE_PREFIX="+p)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "session revoked, key found") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestUseWithoutSession is run by TestRevokedSession in another process.
func TestUseWithoutSession(t *testing.T) {
	p := os.Getenv("USE_PREFIX")
	if p == "" {
		return
	}
	// The session is joined by one thread, and the store runs on it.
	done := make(chan error)
	go func() {
		done <- func() error {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			if _, err := unix.KeyctlJoinSessionKeyring("kt-revoked"); err != nil {
				return err
			}
			if _, err := unix.KeyctlInt(unix.KEYCTL_REVOKE, unix.KEY_SPEC_SESSION_KEYRING, 0, 0, 0); err != nil {
				return err
			}
			b := &backend{p + ":"}
			return b.Update(t.Context(), func(tx records.Tx) error {
				raw, err := tx.Get("k:a")
				if err == nil && raw == nil {
					err = errors.New("there is no key")
				}
				return err
			})
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Log("session revoked, key found")
}

func TestTooLarge(t *testing.T) {
	s := open(t, prefix(t))
	if _, err := s.NewKey(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	err := s.Put(t.Context(), "a", keystore.Entry{Key: "a", Metadata: make([]byte, maxPayload)})
	var p *keystore.Problem
	if !errors.As(err, &p) || p.Mend == "" {
		t.Errorf("%v", err)
	}
}

func TestProblem(t *testing.T) {
	for _, err := range []error{unix.ENOSYS, unix.EDQUOT, unix.EACCES} {
		var p *keystore.Problem
		if !errors.As(problem(err), &p) || p.Mend == "" || !errors.Is(p, keystore.ErrUnusable) || !errors.Is(p, err) {
			t.Errorf("%v: %v", err, problem(err))
		}
	}
}
