//go:build unix

package tpm

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/file"
	"github.com/keytether/keytether/internal/keystore/keystoretest"
	"github.com/keytether/keytether/internal/keystore/safefile"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/testkit/leak"
	"github.com/keytether/keytether/internal/testkit/swtpm"
)

const (
	token    = "ktr_a-made-up-refresh-token"
	metadata = `{"issuer":"https://auth.test"}`
)

func options(t testing.TB, chip *swtpm.TPM) Options {
	t.Helper()
	return Options{Device: chip.Socket, Folder: filepath.Join(t.TempDir(), "state")}
}

// open opens the store and keeps things loaded, as with a device. A test has the chip for itself.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	c := newChip(o.Device)
	c.hold = true
	s, err := openOn(t.Context(), c, o.Folder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func login(t testing.TB, s *Store, name string) keystore.Key {
	t.Helper()
	k, err := s.NewKey(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), name, keystore.Entry{Key: name, RefreshToken: secret.New(token), Metadata: []byte(metadata)}); err != nil {
		t.Fatal(err)
	}
	return k
}

// works says that a login is there and its key signs.
func works(t testing.TB, s *Store, name string) {
	t.Helper()
	e, err := s.Get(t.Context(), name)
	if err != nil || e.RefreshToken.Reveal() != token || string(e.Metadata) != metadata || e.Key != name {
		t.Errorf("entry %s: %s, %v", name, e.Metadata, err)
	}
	k, err := s.Key(t.Context(), name)
	if err != nil {
		t.Error(err)
		return
	}
	signs(t, k)
}

// signs checks a signature as a server does.
func signs(t testing.TB, k keystore.Key) {
	t.Helper()
	compact, err := jws.Sign(k, "test+jwt", []byte(`{"a":1}`))
	if err != nil {
		t.Error(err)
		return
	}
	m, err := jws.Parse(compact)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Verify(k.Public()); err != nil {
		t.Error(err)
	}
}

// problem wants words and a mend.
func wantProblem(t testing.TB, err error, word string) {
	t.Helper()
	var p *keystore.Problem
	if !errors.As(err, &p) || !errors.Is(err, keystore.ErrUnusable) || !strings.Contains(p.Why, word) || p.Mend == "" || p.Store != "tpm" {
		t.Errorf("want a problem of %q, got %#v (%v)", word, p, err)
	}
}

func TestStore(t *testing.T) {
	chip := swtpm.Start(t)
	keystoretest.Run(t, func(t *testing.T) keystore.Store { return open(t, options(t, chip)) })
}

// TestLasting has stores share a chip that keeps nobody's things apart.
func TestLasting(t *testing.T) {
	chip := swtpm.Start(t)
	keystoretest.RunLasting(t, func(t *testing.T) func(*testing.T) keystore.Store {
		o := options(t, chip)
		return func(t *testing.T) keystore.Store {
			t.Helper()
			s, err := Open(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		}
	})
	if n := handles(t, chip.Socket, transient); n != 0 {
		t.Errorf("%d objects are left", n)
	}
}

func TestKind(t *testing.T) {
	chip := swtpm.Start(t)
	kind := Kind(options(t, chip))
	if kind.Name != "tpm" || kind.Life != keystore.Machine || !kind.Hardware {
		t.Errorf("%+v", kind)
	}
	s, err := kind.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if names, err := s.Names(t.Context()); err != nil || len(names) != 0 {
		t.Errorf("the probe left %v (%v)", names, err)
	}
}

// TestRestart turns the machine off and on under an open store, and opens another.
func TestRestart(t *testing.T) {
	chip := swtpm.Start(t)
	o := options(t, chip)
	s := open(t, o)
	k := login(t, s, "a")
	for range 2 {
		chip.Restart()
		signs(t, k)
		works(t, s, "a")
	}
	_ = s.Close()
	if _, err := k.Sign([]byte("x")); !errors.Is(err, keystore.ErrNoKey) {
		t.Errorf("a handle of a closed store: %v", err)
	}
	chip.Restart()
	works(t, open(t, o), "a")
}

// Invariant: TP-5
func TestAnotherTPM(t *testing.T) {
	for _, reopen := range []bool{false, true} {
		chip := swtpm.Start(t)
		o := options(t, chip)
		s := open(t, o)
		k := login(t, s, "a")
		before, err := os.ReadFile(s.path)
		if err != nil {
			t.Fatal(err)
		}
		chip.Clear()
		if reopen {
			_ = s.Close()
			s = open(t, o)
		}
		_, err = s.Get(t.Context(), "a")
		wantProblem(t, err, "another TPM")
		_, err = k.Sign([]byte("x"))
		if !errors.Is(err, keystore.ErrNoKey) {
			t.Errorf("%v", err)
		}
		_, err = s.Key(t.Context(), "a")
		wantProblem(t, err, "another TPM")
		if !errors.Is(err, keystore.ErrNoKey) {
			t.Errorf("a new login would not make a new key: %v", err)
		}
		wantProblem(t, s.Put(t.Context(), "b", keystore.Entry{Key: "a"}), "another TPM")
		after, err := os.ReadFile(s.path)
		if c, e := parse(after); e != nil || len(c.Entries) != 1 || len(c.Keys) != 1 || !reopen && string(after) != string(before) {
			t.Errorf("the file changed: %v %v", err, e)
		}
		login(t, s, "b")
		works(t, s, "b")
		login(t, s, "a") // the login again
		works(t, s, "a")
		works(t, s, "b")
	}
}

// TestForget needs no TPM that knows the login.
func TestForget(t *testing.T) {
	chip := swtpm.Start(t)
	s := open(t, options(t, chip))
	login(t, s, "a")
	chip.Stop()
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if c, err := s.read(); err != nil || len(c.Keys)+len(c.Entries) != 0 {
		t.Errorf("%v %v", c, err)
	}
}

func TestParallel(t *testing.T) {
	chip := swtpm.Start(t)
	s := open(t, options(t, chip))
	keys := []keystore.Key{login(t, s, "a"), login(t, s, "b")}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 4 {
				signs(t, keys[i%2])
			}
			if i == 0 {
				works(t, s, "a")
			}
		})
	}
	wg.Wait()
}

// Invariant: TP-3
func TestNothingInTheFile(t *testing.T) {
	chip := swtpm.Start(t)
	o := options(t, chip)
	s := open(t, o)
	login(t, s, "a")
	scanner, err := leak.New(map[string][]byte{"token": []byte(token), "metadata": []byte("https://auth.test")})
	if err != nil {
		t.Fatal(err)
	}
	hits, files, err := scanner.Files(o.Folder)
	if err != nil || len(hits) != 0 || files == 0 {
		t.Errorf("%v in %d files, %v", hits, files, err)
	}
}

// Invariant: TP-6
func TestHang(t *testing.T) {
	chip := swtpm.Start(t)
	s := open(t, options(t, chip))
	k := login(t, s, "a")
	chip.Pause()
	start := time.Now()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			_, err := k.Sign([]byte("x"))
			wantProblem(t, err, "does not answer")
		})
	}
	wg.Go(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if _, err := s.Get(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("it took %v beyond its context", d)
		}
	})
	wg.Wait()
	if d := time.Since(start); d > hangs+2*time.Second {
		t.Errorf("it held us for %v", d)
	}
	_, err := s.Get(t.Context(), "a") // at once, for all that follow
	wantProblem(t, err, "does not answer")
	if d := time.Since(start); d > hangs+2*time.Second {
		t.Errorf("it held us for %v", d)
	}
	if err := s.Close(); err == nil {
		t.Error("what hangs cannot be closed yet")
	}
	chip.Resume()
	for range 100 { // until what hung has come back, and finds the store closed
		if handles(t, chip.Socket, transient) == 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := handles(t, chip.Socket, transient); n != 0 {
		t.Errorf("%d objects are left", n)
	}
}

// TestOpenInTime opens a store whose file is held, and one whose chip does not sign.
//
// Invariant: TP-6
func TestOpenInTime(t *testing.T) {
	chip := swtpm.Start(t)
	o := options(t, chip)
	unlock, err := safefile.Lock(t.Context(), filepath.Join(o.Folder, FileName))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err = Open(t.Context(), o)
	wantProblem(t, err, "does not let go")
	if d := time.Since(start); d > hangs+2*time.Second {
		t.Errorf("it took %v", d)
	}
	unlock()

	wire, release := newBus(t, chip.Socket), make(chan struct{})
	wire.answer = func(command []byte) []byte {
		if codeOf(command) == tpm2.TPMCCSign {
			<-release
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	start = time.Now()
	o.Device = wire.socket
	_, err = Open(ctx, o)
	wantProblem(t, err, "does not answer")
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("it took %v", d)
	}
	close(release)
}

// TestTooMuch refuses what could be written and not read.
func TestTooMuch(t *testing.T) {
	chip := swtpm.Start(t)
	s := open(t, options(t, chip))
	login(t, s, "a")
	wantProblem(t, s.Put(t.Context(), "b", keystore.Entry{Key: "a", Metadata: make([]byte, maxFile)}), "too large")
	works(t, s, "a")
}

func TestSealer(t *testing.T) {
	chip := swtpm.Start(t)
	s := NewSealer(Options{Device: chip.Socket})
	raw, err := s.Seal(t.Context(), []byte("AGE-SECRET-KEY-1MADEUP"))
	if err != nil || strings.Contains(string(raw), "MADEUP") {
		t.Fatalf("%s %v", raw, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	chip.Restart()
	s = NewSealer(Options{Device: chip.Socket})
	got, err := s.Unseal(t.Context(), raw)
	if err != nil || string(got) != "AGE-SECRET-KEY-1MADEUP" {
		t.Errorf("%q %v", got, err)
	}
	for _, bad := range []string{"", "{}", "[]", strings.Replace(string(raw), `"version":1`, `"version":2`, 1), strings.Replace(string(raw), `"data":"`, `"data":"AAAA`, 1)} {
		_, err := s.Unseal(t.Context(), []byte(bad))
		if !errors.Is(err, keystore.ErrUnusable) {
			t.Errorf("%.20s: %v", bad, err)
		}
	}
	chip.Clear()
	_, err = s.Unseal(t.Context(), raw)
	wantProblem(t, err, "another TPM")
}

// TestSealedFile seals the key of the sealed file to the chip.
func TestSealedFile(t *testing.T) {
	chip := swtpm.Start(t)
	folder := filepath.Join(t.TempDir(), "state")
	again := func() (keystore.Store, error) {
		sealer := NewSealer(Options{Device: chip.Socket})
		t.Cleanup(func() { _ = sealer.Close() })
		return file.Kind(file.Options{Folder: folder, Sealers: []file.Sealer{sealer}}).Open(t.Context())
	}
	s, err := again()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.NewKey(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a", keystore.Entry{Key: "a", RefreshToken: secret.New(token)}); err != nil {
		t.Fatal(err)
	}
	_ = s.(io.Closer).Close()
	chip.Restart()
	if s, err = again(); err != nil {
		t.Fatal(err)
	}
	if e, err := s.Get(t.Context(), "a"); err != nil || e.RefreshToken.Reveal() != token {
		t.Errorf("%v", err)
	}
	_ = s.(io.Closer).Close()
	chip.Clear()
	_, err = again()
	wantProblem(t, err, "another TPM")
}
