// Package keystoretest is the one suite that every keystore.Store passes.
package keystoretest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/secret"
)

const token = "ktr_a-made-up-refresh-token"

// Run tries a store. Each call of open gives an empty one.
func Run(t *testing.T, open func(*testing.T) keystore.Store) {
	t.Helper()
	for _, tt := range []struct {
		name string
		f    func(*testing.T, keystore.Store)
	}{
		{"nothing is there at first", empty},
		{"a key signs for its public half", signs},
		{"an entry comes back as a copy", roundTrip},
		{"an entry needs a key", needsKey},
		{"a new key ends the old one and its entry", newKey},
		{"a new key leaves the entries of others", newKeyAlone},
		{"delete wipes and may be repeated", deletes},
		{"delete without an entry wipes the key of that name", deletesKey},
		{"a key goes with its last entry", lastEntry},
		{"names of keys and names of entries are apart", twoKinds},
		{"an entry may move to another key", moves},
		{"entries do not touch each other", apart},
		{"bad names are refused", badNames},
		{"an ended context does nothing", ended},
		{"many at once", concurrent},
		{"nothing printed holds a value", silent},
		{"a probe leaves nothing", probed},
		{"a key of another store is taken over as a whole or not at all", imports},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.f(t, open(t)) })
	}
}

// entry is a login's, bound to the key of that name.
func entry(key string) keystore.Entry {
	return keystore.Entry{Key: key, RefreshToken: secret.New(token), Metadata: []byte(`{"issuer":"https://auth.test"}`)}
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("want %v, got %v", target, err)
	}
	if err != nil && strings.Contains(err.Error(), token) {
		t.Errorf("the error holds the token: %v", err)
	}
}

func makeKey(t *testing.T, s keystore.Store, name string) keystore.Key {
	t.Helper()
	k, err := s.NewKey(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// login makes a key and an entry of one name.
func login(t *testing.T, s keystore.Store, name string) keystore.Key {
	t.Helper()
	k := makeKey(t, s, name)
	put(t, s, name, name)
	return k
}

// put writes an entry that is bound to a key.
func put(t *testing.T, s keystore.Store, name, key string) {
	t.Helper()
	if err := s.Put(t.Context(), name, entry(key)); err != nil {
		t.Fatal(err)
	}
}

// holds says which entries there must be, and of what keys.
func holds(t *testing.T, s keystore.Store, keyOf map[string]string) {
	t.Helper()
	names, err := s.Names(t.Context())
	if err != nil || !slices.Equal(names, slices.Sorted(maps.Keys(keyOf))) {
		t.Errorf("the entries are %v, want %v (%v)", names, keyOf, err)
	}
	for name, key := range keyOf {
		e, err := s.Get(t.Context(), name)
		if err != nil || e.Key != key || e.RefreshToken.Reveal() != token || !bytes.Equal(e.Metadata, entry("").Metadata) {
			t.Errorf("entry %s: key %q, %v", name, e.Key, err)
		}
		if _, err := s.Key(t.Context(), key); err != nil {
			t.Errorf("entry %s has lost its key: %v", name, err)
		}
	}
}

// dead says that a key is gone, by its handle and by its name.
func dead(t *testing.T, s keystore.Store, k keystore.Key, name string) {
	t.Helper()
	_, err := k.Sign([]byte("x"))
	want(t, err, keystore.ErrNoKey)
	_, err = s.Key(t.Context(), name)
	want(t, err, keystore.ErrNoKey)
}

// alive says that the key of that name is still this one.
func alive(t *testing.T, s keystore.Store, k keystore.Key, name string) {
	t.Helper()
	found, err := s.Key(t.Context(), name)
	if err != nil {
		t.Errorf("key %s: %v", name, err)
		return
	}
	for _, h := range []keystore.Key{k, found} {
		if sig, err := h.Sign([]byte("x")); err != nil || verify(k, []byte("x"), sig) != nil {
			t.Errorf("key %s is another or cannot sign: %v", name, err)
		}
	}
}

func empty(t *testing.T, s keystore.Store) {
	_, err := s.Get(t.Context(), "a")
	want(t, err, keystore.ErrNotFound)
	_, err = s.Key(t.Context(), "a")
	want(t, err, keystore.ErrNoKey)
	want(t, s.Delete(t.Context(), "a"), nil)
	names, err := s.Names(t.Context())
	if err != nil || len(names) != 0 {
		t.Errorf("%v %v", names, err)
	}
}

func signs(t *testing.T, s keystore.Store) {
	made := makeKey(t, s, "a")
	found, err := s.Key(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []keystore.Key{made, found} {
		sig, err := k.Sign([]byte("input"))
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(made, []byte("input"), sig); err != nil {
			t.Error(err)
		}
		if verify(made, []byte("other"), sig) == nil {
			t.Error("a signature fits another input")
		}
	}
}

func roundTrip(t *testing.T, s keystore.Store) {
	login(t, s, "a")
	e, err := s.Get(t.Context(), "a")
	if err != nil || e.Key != "a" || e.RefreshToken.Reveal() != token || !bytes.Equal(e.Metadata, entry("a").Metadata) {
		t.Fatalf("key %q, %s %v", e.Key, e.Metadata, err)
	}
	clear(e.Metadata)
	in := keystore.Entry{Key: "a", RefreshToken: secret.New("second"), Metadata: []byte("{}")}
	again, err := s.Get(t.Context(), "a")
	if err != nil || !bytes.Equal(again.Metadata, entry("a").Metadata) {
		t.Errorf("the caller's copy is the store's: %s %v", again.Metadata, err)
	}
	want(t, s.Put(t.Context(), "a", in), nil)
	clear(in.Metadata)
	e, err = s.Get(t.Context(), "a")
	if err != nil || e.RefreshToken.Reveal() != "second" || string(e.Metadata) != "{}" {
		t.Errorf("not replaced: %q %v", e.Metadata, err)
	}
	if again.RefreshToken.Reveal() != token {
		t.Error("an entry that was taken out changed")
	}
}

func needsKey(t *testing.T, s keystore.Store) {
	makeKey(t, s, "a")
	want(t, s.Put(t.Context(), "a", entry("b")), keystore.ErrNoKey)
	holds(t, s, nil)
	put(t, s, "b", "a")
	want(t, s.Put(t.Context(), "b", keystore.Entry{Key: "c", RefreshToken: secret.New("second")}), keystore.ErrNoKey)
	holds(t, s, map[string]string{"b": "a"}) // what was there stays
}

func newKey(t *testing.T, s keystore.Store) {
	old := login(t, s, "a")
	put(t, s, "b", "a")
	fresh := makeKey(t, s, "a")
	holds(t, s, nil)
	_, err := old.Sign([]byte("x"))
	want(t, err, keystore.ErrNoKey)
	sig, err := fresh.Sign([]byte("x"))
	if err != nil || verify(fresh, []byte("x"), sig) != nil || verify(old, []byte("x"), sig) == nil {
		t.Errorf("the new key is not new: %v", err)
	}
	alive(t, s, fresh, "a")
}

func newKeyAlone(t *testing.T, s keystore.Store) {
	k := makeKey(t, s, "k")
	put(t, s, "a", "k")
	put(t, s, "b", "k")
	makeKey(t, s, "a") // an entry's name, and no key's so far
	holds(t, s, map[string]string{"a": "k", "b": "k"})
	alive(t, s, k, "k")
}

func deletes(t *testing.T, s keystore.Store) {
	k := makeKey(t, s, "k")
	put(t, s, "a", "k")
	for range 2 {
		want(t, s.Delete(t.Context(), "a"), nil)
		_, err := s.Get(t.Context(), "a")
		want(t, err, keystore.ErrNotFound)
		dead(t, s, k, "k")
	}
}

func deletesKey(t *testing.T, s keystore.Store) {
	k := makeKey(t, s, "a")
	want(t, s.Delete(t.Context(), "a"), nil)
	dead(t, s, k, "a")
	k = makeKey(t, s, "a")
	put(t, s, "b", "a")
	want(t, s.Delete(t.Context(), "a"), nil) // there is no entry a, and the key a is b's
	alive(t, s, k, "a")
	holds(t, s, map[string]string{"b": "a"})
}

func lastEntry(t *testing.T, s keystore.Store) {
	k := makeKey(t, s, "k")
	for _, n := range []string{"a", "b", "c"} {
		put(t, s, n, "k")
	}
	want(t, s.Delete(t.Context(), "b"), nil)
	holds(t, s, map[string]string{"a": "k", "c": "k"})
	want(t, s.Delete(t.Context(), "a"), nil)
	holds(t, s, map[string]string{"c": "k"})
	alive(t, s, k, "k")
	want(t, s.Delete(t.Context(), "c"), nil)
	holds(t, s, nil)
	dead(t, s, k, "k")
}

func twoKinds(t *testing.T, s keystore.Store) {
	a, b := makeKey(t, s, "a"), makeKey(t, s, "b")
	put(t, s, "a", "b")
	put(t, s, "b", "a")
	holds(t, s, map[string]string{"a": "b", "b": "a"})
	want(t, s.Delete(t.Context(), "a"), nil)
	holds(t, s, map[string]string{"b": "a"})
	alive(t, s, a, "a")
	dead(t, s, b, "b")
}

func moves(t *testing.T, s keystore.Store) {
	one, two := makeKey(t, s, "one"), makeKey(t, s, "two")
	put(t, s, "a", "one")
	put(t, s, "a", "two")
	holds(t, s, map[string]string{"a": "two"})
	alive(t, s, one, "one") // for whoever has it in hand
	want(t, s.Delete(t.Context(), "a"), nil)
	dead(t, s, two, "two")
	alive(t, s, one, "one")
}

func apart(t *testing.T, s keystore.Store) {
	for _, n := range []string{"b", "a", "A", "a.b@c_d-1"} {
		login(t, s, n)
	}
	makeKey(t, s, "without-entry")
	want(t, s.Delete(t.Context(), "a"), nil)
	names, err := s.Names(t.Context())
	if err != nil || !slices.Equal(names, []string{"A", "a.b@c_d-1", "b"}) {
		t.Errorf("%v %v", names, err)
	}
}

func badNames(t *testing.T, s keystore.Store) {
	for _, n := range []string{"", "a b", "a/b", "ü", "a\x00", strings.Repeat("a", keystore.MaxName+1)} {
		_, err := s.NewKey(t.Context(), n)
		want(t, err, keystore.ErrName)
		_, err = s.Key(t.Context(), n)
		want(t, err, keystore.ErrName)
		_, err = s.Get(t.Context(), n)
		want(t, err, keystore.ErrName)
		want(t, s.Put(t.Context(), n, entry("a")), keystore.ErrName)
		want(t, s.Put(t.Context(), "a", entry(n)), keystore.ErrName)
		want(t, s.Delete(t.Context(), n), keystore.ErrName)
	}
	login(t, s, strings.Repeat("a", keystore.MaxName))
}

func ended(t *testing.T, s keystore.Store) {
	login(t, s, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.NewKey(ctx, "a")
	want(t, err, context.Canceled)
	want(t, s.Delete(ctx, "a"), context.Canceled)
	want(t, s.Put(ctx, "a", keystore.Entry{Key: "a"}), context.Canceled)
	if e, err := s.Get(t.Context(), "a"); err != nil || e.RefreshToken.Reveal() != token {
		t.Errorf("the entry changed: %v", err)
	}
}

func concurrent(t *testing.T, s keystore.Store) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name, key := fmt.Sprintf("p%d", i%3), fmt.Sprintf("k%d", i%2)
			for range 10 {
				if k, err := s.NewKey(t.Context(), key); err == nil {
					_, _ = k.Sign([]byte("x"))
				}
				_ = s.Put(t.Context(), name, entry(key))
				if e, err := s.Get(t.Context(), name); err == nil && e.RefreshToken.Reveal() != token {
					t.Error("half an entry")
				}
				_, _ = s.Names(t.Context())
				_ = s.Delete(t.Context(), name)
			}
		})
	}
	wg.Wait()
}

func silent(t *testing.T, s keystore.Store) {
	k := login(t, s, "a")
	e, err := s.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if out := fmt.Sprintf("%v %+v %#v %v %#v", e, e, e, k, k); strings.Contains(out, token) {
		t.Errorf("printed: %s", out)
	}
}

// verify checks a signature with crypto/ecdsa: r and s, 32 bytes each (RFC 7518 section 3.4).
func verify(k keystore.Key, input, sig []byte) error {
	pub, ok := k.Public().Standard().(*ecdsa.PublicKey)
	if !ok || len(sig) != 64 {
		return errors.New("not an ES256 key or signature")
	}
	sum := sha256.Sum256(input)
	if !ecdsa.Verify(pub, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return errors.New("the signature does not fit")
	}
	return nil
}
