package records

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/keystoretest"
	"github.com/keytether/keytether/internal/keystore/softkey"
	"github.com/keytether/keytether/internal/secret"
)

// fake is a backend whose writes come one by one and stop working after some.
type fake struct {
	items map[string][]byte
	left  int // writes that still work; negative: all
}

var errBroken = errors.New("the backend broke")

func (f *fake) View(_ context.Context, g func(Tx) error) error   { return g(f) }
func (f *fake) Update(_ context.Context, g func(Tx) error) error { return g(f) }
func (f *fake) Get(id string) ([]byte, error)                    { return bytes.Clone(f.items[id]), nil }

func (f *fake) IDs() ([]string, error) { return slices.Collect(maps.Keys(f.items)), nil }

func (f *fake) write() error {
	if f.left == 0 {
		return errBroken
	}
	f.left--
	return nil
}

func (f *fake) Set(id string, raw []byte) error {
	if err := f.write(); err != nil {
		return err
	}
	f.items[id] = bytes.Clone(raw)
	return nil
}

func (f *fake) Delete(id string) error {
	if err := f.write(); err != nil {
		return err
	}
	delete(f.items, id)
	return nil
}

func newFake() *fake { return &fake{items: map[string][]byte{}, left: -1} }

func TestStore(t *testing.T) {
	keystoretest.Run(t, func(*testing.T) keystore.Store { return New(newFake()) })
	keystoretest.RunLasting(t, func(*testing.T) func(*testing.T) keystore.Store {
		f := newFake()
		return func(*testing.T) keystore.Store { return New(&fake{items: f.items, left: -1}) }
	})
}

func put(t *testing.T, s *Store, name, key string) {
	t.Helper()
	if err := s.Put(t.Context(), name, keystore.Entry{Key: key, RefreshToken: secret.New("token")}); err != nil {
		t.Fatal(err)
	}
}

// TestBreaksHalfway lets the backend break after each write of a NewKey and a Delete: whatever
// is left, no entry is bound to a key that it was not put with.
//
// Invariant: KS-2
func TestBreaksHalfway(t *testing.T) {
	for writes := range 4 {
		for what, do := range map[string]func(*Store) error{
			"new key": func(s *Store) error { _, err := s.NewKey(t.Context(), "k"); return err },
			"delete":  func(s *Store) error { return errors.Join(s.Delete(t.Context(), "a"), s.Delete(t.Context(), "b")) },
		} {
			f := newFake()
			s := New(f)
			old, err := s.NewKey(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			put(t, s, "a", "k")
			put(t, s, "b", "k")
			f.left = writes
			broken := do(s)
			f.left = -1
			if (broken != nil) != (writes < 3) {
				t.Errorf("%s, %d writes: %v", what, writes, broken)
			}
			again := New(f) // as after a crash
			names, err := again.Names(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []string{"a", "b"} {
				_, err := again.Get(t.Context(), n)
				if (err == nil) != slices.Contains(names, n) {
					t.Errorf("%s, %d writes: names %v, and %s: %v", what, writes, names, n, err)
				}
				if err != nil {
					continue
				}
				if k, err := again.Key(t.Context(), "k"); err != nil || k.Public().Thumbprint() != old.Public().Thumbprint() {
					t.Errorf("%s, %d writes: %s is bound to another key: %v", what, writes, n, err)
				}
			}
		}
	}
}

// TestGolden reads records of version 1 as they are written down for good.
func TestGolden(t *testing.T) {
	k, err := softkey.FromScalar(append(make([]byte, 31), 7))
	if err != nil {
		t.Fatal(err)
	}
	generation := [16]byte([]byte("0123456789abcdef"))
	rawKey, err := appendKey(generation, k)
	if err != nil {
		t.Fatal(err)
	}
	rawEntry, err := appendEntry(generation, keystore.Entry{Key: "k", RefreshToken: secret.New("tok"), Metadata: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	for want, got := range map[string][]byte{
		"014b" + hex.EncodeToString(generation[:]) + strings.Repeat("00", 31) + "07": rawKey,
		"0145" + hex.EncodeToString(generation[:]) + "016b" + "0003746f6b" + "7b7d":  rawEntry,
	} {
		if hex.EncodeToString(got) != want {
			t.Errorf("%x, want %s", got, want)
		}
	}
}

// TestNewer meets a record of a later version: it is refused, and stays.
//
// Invariant: KS-10
func TestNewer(t *testing.T) {
	f := newFake()
	s := New(f)
	if _, err := s.NewKey(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "k")
	newer := append([]byte{version + 1}, f.items["e:a"][1:]...)
	f.items["e:a"] = newer
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, ErrNewer) || !errors.Is(err, keystore.ErrUnusable) {
		t.Errorf("get: %v", err)
	}
	if err := s.Delete(t.Context(), "a"); !errors.Is(err, ErrNewer) || !bytes.Equal(f.items["e:a"], newer) {
		t.Errorf("delete: %v", err)
	}
	f.items["e:a"] = []byte("\x01 damaged")
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, ErrDamaged) {
		t.Errorf("damaged: %v", err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil || f.items["e:a"] != nil {
		t.Errorf("a damaged record cannot be wiped: %v", err)
	}
}

// FuzzParse reads records of hostile make. What is accepted is written back the same.
func FuzzParse(f *testing.F) {
	head := append([]byte{version, 'E'}, make([]byte, 16)...)
	f.Add(append(head, "\x01k\x00\x03tok{}"...))
	f.Add(append([]byte{version, 'K'}, make([]byte, 16+32)...))
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e, err := parseEntry(raw); err == nil {
			again, err := appendEntry(e.generation, e.entry())
			if err != nil || !bytes.Equal(again, raw) {
				t.Errorf("%x became %x %v", raw, again, err)
			}
		}
		if k, err := parseKey(raw); err == nil {
			if soft, err := softkey.FromScalar(k.scalar); err == nil {
				again, err := appendKey(k.generation, soft)
				if err != nil || !bytes.Equal(again, raw) {
					t.Errorf("%x became %x %v", raw, again, err)
				}
			}
		}
	})
}
