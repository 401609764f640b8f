package file

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/secret"
)

// TestPerson makes a file with a passphrase, and opens it again with the right one alone: in the
// same process without it until Lock, which overwrites what is held, and in another one.
//
// Invariant: KS-12
func TestPerson(t *testing.T) {
	const phrase = "violin gravel tuesday hammock"
	o := Options{Folder: t.TempDir(), Passphrase: true}
	k, other := Kind(o), Kind(o)
	opens := func(k keystore.Kind, want error) {
		t.Helper()
		if _, err := k.Open(t.Context()); !errors.Is(err, want) {
			t.Errorf("opening: %v, want %v", err, want)
		}
	}
	unlock := func(k keystore.Kind, pass string, fresh bool, want error) {
		t.Helper()
		if err := k.Unlock(t.Context(), secret.New(pass), fresh); !errors.Is(err, want) {
			t.Errorf("unlocking: %v, want %v", err, want)
		}
	}
	opens(k, keystore.ErrNewPassphrase)
	unlock(k, phrase, false, keystore.ErrNewPassphrase)
	unlock(k, "violin", true, keystore.ErrNewPassphrase)
	if _, err := os.Stat(filepath.Join(o.Folder, FileName)); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("a file was made")
	}
	unlock(k, phrase, true, nil)
	s, err := k.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "token")
	opens(k, nil)

	opens(other, keystore.ErrPassphrase)
	unlock(other, phrase+"s", true, keystore.ErrPassphrase)
	opens(other, keystore.ErrPassphrase)
	unlock(other, phrase, false, nil)
	if s, err = other.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, err := s.Get(t.Context(), "a"); err != nil || e.RefreshToken.Reveal() != "token" {
		t.Errorf("the other opens something else: %v", err)
	}
	k.Lock()
	k.Lock()
	opens(k, keystore.ErrPassphrase)
}

// TestPersonKeepsNoPassphrase looks at what is there between two calls.
//
// Invariant: KS-12
func TestPersonKeepsNoPassphrase(t *testing.T) {
	var p person
	p.give(secret.New("violin gravel tuesday hammock"), true)
	sealed, err := p.Seal(t.Context(), []byte("identity"))
	if err != nil {
		t.Fatal(err)
	}
	p.give(secret.Value{}, false)
	held := p.identity
	if got, err := p.Unseal(t.Context(), sealed); err != nil || string(got) != "identity" {
		t.Errorf("held: %q, %v", got, err)
	}
	if _, err := p.Unseal(t.Context(), append(sealed, 0)); !errors.Is(err, keystore.ErrPassphrase) {
		t.Errorf("another box: %v", err)
	}
	p.lock()
	if held.Bytes() != nil {
		t.Error("what was held is still there")
	}
	if _, err := p.Unseal(t.Context(), sealed); !errors.Is(err, keystore.ErrPassphrase) {
		t.Errorf("after the lock: %v", err)
	}
}
