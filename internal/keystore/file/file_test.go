package file

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/keystoretest"
	"github.com/keytether/keytether/internal/keystore/records"
	"github.com/keytether/keytether/internal/keystore/softkey"
	"github.com/keytether/keytether/internal/secret"
)

var update = flag.Bool("update", false, "write the golden file anew")

// with is a passphrase that costs little.
func with(pass string) Sealer {
	return passphrase{get: func(context.Context) (secret.Value, error) { return secret.New(pass), nil }, logN: 4}
}

func open(t *testing.T, folder string) keystore.Store {
	t.Helper()
	s, err := Kind(Options{Folder: folder, Sealers: []Sealer{with("correct")}}).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s keystore.Store, name, token string) {
	t.Helper()
	if _, err := s.NewKey(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), name, keystore.Entry{Key: name, RefreshToken: secret.New(token)}); err != nil {
		t.Fatal(err)
	}
}

// problem opens and wants a *Problem with these words, the file as it was, and nothing beside it.
func problem(t *testing.T, o Options, words string) {
	t.Helper()
	path := filepath.Join(o.Folder, FileName)
	before, _ := os.ReadFile(path)
	_, err := Kind(o).Open(t.Context())
	var p *keystore.Problem
	if !errors.As(err, &p) || !errors.Is(err, keystore.ErrUnusable) || !strings.Contains(p.Why, words) || p.Mend == "" || p.Store != Name {
		t.Errorf("want %q, got %v", words, err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	if _, err := os.Stat(path + ".new"); err == nil {
		t.Error("something is left beside it")
	}
}

// Invariant: KS-1, KS-9
func TestStore(t *testing.T) {
	all := t.TempDir()
	n := 0
	folder := func() string { n++; return filepath.Join(all, fmt.Sprint(n)) }
	keystoretest.Run(t, func(t *testing.T) keystore.Store { return open(t, folder()) })
	keystoretest.RunLasting(t, func(*testing.T) func(*testing.T) keystore.Store {
		f := folder()
		return func(t *testing.T) keystore.Store { return open(t, f) }
	})
	keystoretest.Grep(t, all)
}

// TestNothingPlain looks for the private key too, in bytes and in hex, and at the modes.
//
// Invariant: KS-9
func TestNothingPlain(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "state")
	s := open(t, folder)
	put(t, s, "a", "the-refresh-token")
	k, err := s.Key(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := k.(*softkey.Key).AppendScalar(nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(folder, FileName))
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{string(scalar), hex.EncodeToString(scalar), "the-refresh-token", "AGE-SECRET-KEY", "correct"} {
		if strings.Contains(string(raw), value) {
			t.Errorf("%q stands in the file", value)
		}
	}
	for path, mode := range map[string]os.FileMode{folder: 0o700, filepath.Join(folder, FileName): 0o600} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != mode {
			t.Errorf("%s: %v %v", path, st.Mode(), err)
		}
	}
	problem(t, Options{Folder: folder}, "nothing holds a key")
	problem(t, Options{Folder: t.TempDir()}, "nothing holds a key")
}

// TestTwoProcesses writes by two stores at once: flock lets none undo what the other did.
func TestTwoProcesses(t *testing.T) {
	folder := t.TempDir()
	if err := os.Chmod(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, who := range []string{"a", "b", "c"} {
		s := open(t, folder)
		wg.Go(func() {
			for i := range 10 {
				put(t, s, fmt.Sprint(who, i), "token")
			}
		})
	}
	wg.Wait()
	if names, err := open(t, folder).Names(t.Context()); err != nil || len(names) != 30 {
		t.Errorf("%d names %v", len(names), err)
	}
}

// TestDamage flips a bit of each byte, cuts the file all over, and adds to it.
//
// Invariant: KS-10
func TestDamage(t *testing.T) {
	folder := t.TempDir()
	put(t, open(t, folder), "a", "token")
	path := filepath.Join(folder, FileName)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, at int, bad []byte) {
		t.Helper()
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s := records.New(&backend{path: path, sealers: []Sealer{with("correct")}})
		if _, err := s.Get(t.Context(), "a"); !errors.Is(err, keystore.ErrUnusable) {
			t.Errorf("%s %d: %v", what, at, err)
		}
		if _, err := s.NewKey(t.Context(), "b"); !errors.Is(err, keystore.ErrUnusable) {
			t.Errorf("%s %d: written: %v", what, at, err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(bad, after) {
			t.Fatalf("%s %d: the file was changed", what, at)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		try("a bit of byte", i, bad)
		if i%4 == 0 || i > len(good)-20 {
			try("cut at", i, good[:i:i])
		}
	}
	try("longer than", len(good), append(bytes.Clone(good), 0))
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if e, err := open(t, folder).Get(t.Context(), "a"); err != nil || e.RefreshToken.Reveal() != "token" {
		t.Errorf("whole again: %v", err)
	}
}

// TestPutBack puts back what the file was before, under a store that has written since.
//
// Invariant: KS-10
func TestPutBack(t *testing.T) {
	folder := t.TempDir()
	s := open(t, folder)
	put(t, s, "a", "old")
	path := filepath.Join(folder, FileName)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "new")
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Get(t.Context(), "a")
	var p *keystore.Problem
	if !errors.As(err, &p) || !strings.Contains(p.Why, "older") {
		t.Errorf("%v", err)
	}
	if err := s.Put(t.Context(), "a", keystore.Entry{Key: "a"}); !errors.Is(err, keystore.ErrUnusable) {
		t.Errorf("written: %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(old, after) {
		t.Error("the file was changed")
	}
	// Removing it is logging out.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("removed: %v", err)
	}
	put(t, s, "a", "again")
	if e, err := open(t, folder).Get(t.Context(), "a"); err != nil || e.RefreshToken.Reveal() != "again" {
		t.Errorf("after that: %v", err)
	}
}

// TestGolden opens a file of version 1 that was written once and for all.
//
// Invariant: KS-10
func TestGolden(t *testing.T) {
	golden := filepath.Join("testdata", "v1.age")
	if *update {
		folder := t.TempDir()
		s := open(t, folder)
		k, err := softkey.FromScalar(append(make([]byte, 31), 7))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.(keystore.Importer).Import(t.Context(), "k", k); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), "a", keystore.Entry{Key: "k", RefreshToken: secret.New("golden"), Metadata: []byte(`{"issuer":"https://auth.test"}`)}); err != nil {
			t.Fatal(err)
		}
		raw, err := os.ReadFile(filepath.Join(folder, FileName))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	path := filepath.Join(folder, FileName)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, folder)
	e, err := s.Get(t.Context(), "a")
	if err != nil || e.Key != "k" || e.RefreshToken.Reveal() != "golden" || string(e.Metadata) != `{"issuer":"https://auth.test"}` {
		t.Errorf("%+v %v", e, err)
	}
	k, err := s.Key(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if got := k.Public().Thumbprint(); got != goldenThumbprint {
		t.Errorf("the key is %s", got)
	}
	raw[len(magic)] = version + 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	problem(t, Options{Folder: folder, Sealers: []Sealer{with("correct")}}, "newer Keytether")
}

// other is a sealer like a passphrase, and can fail to seal.
type other struct {
	Sealer
	fails error
}

func (other) Name() string { return "other" }

func (o other) Seal(ctx context.Context, data []byte) ([]byte, error) {
	if o.fails != nil {
		return nil, o.fails
	}
	return o.Sealer.Seal(ctx, data)
}

// TestSealersInTurn makes a file by the second sealer, since the first cannot, and then opens it
// by that one, though the first can by now.
func TestSealersInTurn(t *testing.T) {
	folder := t.TempDir()
	o := Options{Folder: folder, Sealers: []Sealer{other{with("x"), errors.New("no chip")}, with("correct")}}
	s, err := Kind(o).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "token")
	o.Sealers[0] = other{Sealer: with("x")}
	if s, err = Kind(o).Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, err := s.Get(t.Context(), "a"); err != nil || e.RefreshToken.Reveal() != "token" {
		t.Error(err)
	}
	o = Options{Folder: t.TempDir(), Sealers: []Sealer{other{fails: errors.New("no chip")}}}
	if _, err := Kind(o).Open(t.Context()); !errors.Is(err, keystore.ErrUnusable) {
		t.Error(err)
	}
}

func TestSealer(t *testing.T) {
	folder := t.TempDir()
	put(t, open(t, folder), "a", "token")
	problem(t, Options{Folder: folder, Sealers: []Sealer{with("wrong")}}, "the passphrase is wrong")
	problem(t, Options{Folder: folder, Sealers: []Sealer{with("")}}, "the passphrase is empty")
	problem(t, Options{Folder: folder, Sealers: []Sealer{other{Sealer: with("correct")}}}, "sealed by passphrase, which is not there")
	problem(t, Options{Folder: "relative", Sealers: []Sealer{with("correct")}}, "not an absolute path")
	ask := errors.New("nobody has given it")
	_, err := Kind(Options{Folder: folder, Sealers: []Sealer{passphrase{get: func(context.Context) (secret.Value, error) { return secret.Value{}, ask }}}}).Open(t.Context())
	if !errors.Is(err, ask) || !errors.Is(err, keystore.ErrUnusable) {
		t.Errorf("%v", err)
	}
}

// TestSlowSealer ends with its context while scrypt works, or does not come to an end at all.
func TestSlowSealer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	never := make(chan struct{})
	defer close(never)
	_, err := await(ctx, func() ([]byte, error) {
		cancel()
		<-never
		return nil, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// goldenThumbprint is of the key with the scalar 7.
const goldenThumbprint = "ccgscWSOWNe7zfELCIRHTdb7JkVy_Eo2vg371C5rplY"

// TestHeaderIsSealedToo puts a header before the content that it was not made with, though it
// holds the same identity.
//
// Invariant: KS-10
func TestHeaderIsSealedToo(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, FileName)
	b := &backend{path: path, sealers: []Sealer{with("correct")}}
	put(t, records.New(b), "a", "token")
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	box, err := with("correct").Seal(t.Context(), []byte(b.identity.String()))
	if err != nil {
		t.Fatal(err)
	}
	other, err := newHeader("passphrase", box)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(other.raw, raw[len(b.head.raw):]...), 0o600); err != nil {
		t.Fatal(err)
	}
	problem(t, Options{Folder: folder, Sealers: b.sealers}, "damaged")
}
