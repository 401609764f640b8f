package keychain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/keystoretest"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/testkit/secretservice"
)

// use lets the library find a bus. It keeps one connection per process and makes a new one when
// that has ended, as that of the test before has.
func use(t *testing.T, address string) {
	t.Helper()
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", address)
}

func open(t *testing.T, o Options) keystore.Store {
	t.Helper()
	s, err := Kind(o).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestStore runs the suite against GNOME Keyring, each store under a name of its own.
//
// Invariant: KS-1
func TestStore(t *testing.T) {
	bus := secretservice.Start(t)
	use(t, bus.Address)
	n := 0
	place := func(*testing.T) Options { n++; return Options{Service: fmt.Sprint("keytether-test-", n)} }
	keystoretest.Run(t, func(t *testing.T) keystore.Store { return open(t, place(t)) })
	keystoretest.RunLasting(t, func(t *testing.T) func(*testing.T) keystore.Store {
		o := place(t)
		return func(t *testing.T) keystore.Store { return open(t, o) }
	})
	keystoretest.Grep(t, bus.Home.Dir)
}

// TestServiceRestarts restarts the Secret Service under the store: what was kept is still there.
func TestServiceRestarts(t *testing.T) {
	bus := secretservice.Start(t)
	use(t, bus.Address)
	s := open(t, Options{})
	put(t, s, "a")
	bus.StopKeyring()
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, keystore.ErrUnusable) {
		t.Errorf("without a service: %v", err)
	}
	bus.StartKeyring()
	if e, err := s.Get(t.Context(), "a"); err != nil || e.RefreshToken.Reveal() != "token" {
		t.Errorf("with the service back: %v", err)
	}
}

func put(t *testing.T, s keystore.Store, name string) {
	t.Helper()
	if _, err := s.NewKey(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), name, keystore.Entry{Key: name, RefreshToken: secret.New("token")}); err != nil {
		t.Fatal(err)
	}
}

// problemOf opens and wants a *Problem with these words and a mend.
func problemOf(t *testing.T, k keystore.Kind, words string) {
	t.Helper()
	_, err := k.Open(t.Context())
	var p *keystore.Problem
	if !errors.As(err, &p) || !errors.Is(err, keystore.ErrUnusable) || !strings.Contains(p.Why, words) || p.Mend == "" || p.Store != Name {
		t.Errorf("want %q, got %#v", words, err)
	}
}

// TestUnusable opens what cannot be used. Nothing may prompt, and nothing may be started.
//
// Invariant: KS-3
func TestUnusable(t *testing.T) {
	t.Run("no bus", func(t *testing.T) {
		dir := t.TempDir() // not the real one: whoever runs this may have a desktop
		for address, want := range map[string]bool{"": false, "autolaunch:": false, "unix:path=/x": true} {
			if haveBus(address, dir) != want {
				t.Errorf("%q: %v", address, !want)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "bus"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if !haveBus("", dir) {
			t.Error("the bus of the runtime folder is not seen")
		}
		var p *keystore.Problem
		if err := noBus(); !errors.As(err, &p) || p.Mend == "" {
			t.Errorf("%v", err)
		}
	})
	t.Run("a bus that is gone", func(t *testing.T) {
		use(t, "unix:path=/nonexistent/bus")
		problemOf(t, Kind(Options{}), "cannot be reached")
	})
	t.Run("no service", func(t *testing.T) {
		use(t, secretservice.StartBus(t).Address)
		problemOf(t, Kind(Options{}), "no Secret Service runs")
	})
	t.Run("no keychain", func(t *testing.T) {
		bus := secretservice.StartBus(t)
		bus.StartLocked()
		use(t, bus.Address)
		problemOf(t, Kind(Options{}), "no keychain to put things in")
	})
	t.Run("locked", func(t *testing.T) {
		bus := secretservice.Start(t)
		use(t, bus.Address)
		bus.Lock()
		said := bus.Watch()
		problemOf(t, Kind(Options{}), "locked")
		time.Sleep(100 * time.Millisecond) // for the monitor to say the last of it
		if words := said(); !strings.Contains(words, `string "Locked"`) || strings.Contains(words, "member=Unlock") || strings.Contains(words, "member=Prompt") {
			t.Errorf("somebody was asked: %s", words)
		}
	})
	t.Run("locked under the store", func(t *testing.T) {
		bus := secretservice.Start(t)
		use(t, bus.Address)
		s := open(t, Options{})
		put(t, s, "a")
		bus.Lock()
		begin := time.Now()
		_, err := s.Get(t.Context(), "a")
		var p *keystore.Problem
		if !errors.As(err, &p) || p.Why != "the keychain is locked" || time.Since(begin) > Limit {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
	t.Run("locked after a restart", func(t *testing.T) {
		bus := secretservice.Start(t)
		bus.StopKeyring()
		bus.StartLocked()
		use(t, bus.Address)
		problemOf(t, Kind(Options{}), "locked")
	})
}

// TestHangs opens a keychain on a bus that says nothing, twenty times over.
//
// Invariant: KS-4
func TestHangs(t *testing.T) {
	use(t, secretservice.StartHung(t))
	const limit = 100 * time.Millisecond
	k := Kind(Options{Limit: limit})
	before := runtime.NumGoroutine()
	for range 20 {
		begin := time.Now()
		problemOf(t, k, "did not answer within 100ms")
		if d := time.Since(begin); d > 10*limit {
			t.Errorf("it took %s", d)
		}
	}
	if n := runtime.NumGoroutine() - before; n > 5 {
		t.Errorf("%d goroutines are left of twenty tries", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit/10)
	defer cancel()
	begin := time.Now()
	if _, err := Kind(Options{Limit: time.Minute}).Open(ctx); !errors.Is(err, keystore.ErrUnusable) || time.Since(begin) > 10*time.Second {
		t.Errorf("it outlasts its context: %v", err)
	}
}

// TestHangsUnderTheStore lets the keychain hang while it is used: the store is unusable at once
// and for good, another one of the kind is fine once the keychain answers.
//
// Invariant: KS-4
func TestHangsUnderTheStore(t *testing.T) {
	bus := secretservice.Start(t)
	use(t, bus.Address)
	k := Kind(Options{Limit: 2 * time.Second})
	s, err := k.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "a")
	bus.Pause()
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, keystore.ErrUnusable) {
		t.Errorf("paused: %v", err)
	}
	begin := time.Now()
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, keystore.ErrUnusable) || time.Since(begin) > time.Second {
		t.Errorf("the second call: %v after %s", err, time.Since(begin))
	}
	bus.Resume()
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, keystore.ErrUnusable) {
		t.Errorf("usable again without being opened: %v", err)
	}
	s, err = k.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if e, err := s.Get(t.Context(), "a"); err != nil || e.RefreshToken.Reveal() != "token" {
		t.Errorf("opened again: %v", err)
	}
}

// TestIndex damages what names the items.
func TestIndex(t *testing.T) {
	use(t, secretservice.Start(t).Address)
	s := open(t, Options{Service: "kt"})
	var long []string
	for i := range 16 { // more than a page
		long = append(long, fmt.Sprintf("%s%02d", strings.Repeat("n", 120), i))
		put(t, s, long[i])
	}
	names, err := s.Names(t.Context())
	if err != nil || len(names) != 16 {
		t.Fatalf("%d names %v", len(names), err)
	}
	b := &tx{b: &backend{Options: Options{Service: "kt", Limit: Limit}, gate: make(chan struct{}, 1)}, ctx: t.Context()}
	if err := b.load(); err != nil || len(b.pages) < 2 {
		t.Fatalf("%d pages %v", len(b.pages), err)
	}
	if err := b.write(pageName(0), []byte("\x00 no page")); err != nil {
		t.Fatal(err)
	}
	if err := b.remove("e:" + long[15]); err != nil { // in the index, and not there
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), long[0]); err != nil {
		t.Errorf("an item that the index has lost: %v", err)
	}
	put(t, s, long[0])
	names, err = s.Names(t.Context())
	if err != nil || names[0] != long[0] || len(names) >= 15 {
		t.Errorf("%d names %v", len(names), err)
	}
	for _, n := range long {
		if err := s.Delete(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	b.pages = nil
	if err := b.load(); err != nil || len(b.pages) != 0 {
		t.Errorf("the index is left: %q %v", b.pages, err)
	}
}

func TestTooLarge(t *testing.T) {
	use(t, secretservice.Start(t).Address)
	s := open(t, Options{})
	put(t, s, "a")
	err := s.Put(t.Context(), "a", keystore.Entry{Key: "a", RefreshToken: secret.New("new"), Metadata: make([]byte, maxText)})
	var p *keystore.Problem
	if !errors.As(err, &p) || p.Mend == "" {
		t.Errorf("%v", err)
	}
	if e, err := s.Get(t.Context(), "a"); err != nil || e.RefreshToken.Reveal() != "token" {
		t.Errorf("the entry changed: %v", err)
	}
}
