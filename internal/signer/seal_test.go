package signer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
)

// The sealed form of version 1. If this fails, databases in the field cannot be
// opened any more: make a version 2 instead.
//
// Invariant: KY-2
func TestSealGolden(t *testing.T) {
	root := NewRoot([32]byte{1, 2, 3}, "a test")
	start := time.Date(2026, 3, 14, 9, 26, 53, 589793000, time.UTC)
	const keyID = "key_01KKNXJR0NX8M3SK6V0RKT0000"
	nonce := bytes.Repeat([]byte{7}, 24)
	got, err := root.seal("default", CSRF, keyID, start, []byte("material"), bytes.NewReader(nonce))
	if err != nil {
		t.Fatal(err)
	}
	const want = "0107070707070707070707070707070707070707070707070742640004ae1307b2e492e7bda2d6fc2fece2787ad17c76667a6484f36fb1f436"
	if hex.EncodeToString(got) != want {
		t.Errorf("sealed %x", got)
	}
	blob, err := hex.DecodeString(want)
	if err != nil {
		t.Fatal(err)
	}
	at, material, err := root.unseal("default", CSRF, keyID, blob)
	if err != nil || !at.Equal(start) || string(material) != "material" {
		t.Errorf("opened %v %q %v", at, material, err)
	}
}

// A sealed key opens in its own place only, and unchanged only.
//
// Invariant: KY-2
func TestSealedKeyCannotBeMovedOrChanged(t *testing.T) {
	root, start := NewRoot([32]byte{1}, "a test"), testkit.Epoch
	blob, err := root.seal("default", CSRF, "key_a", start, make([]byte, 32), testkit.Rand("x"))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"tenant":  func() error { _, _, err := root.unseal("other", CSRF, "key_a", blob); return err },
		"use":     func() error { _, _, err := root.unseal("default", RefreshMAC, "key_a", blob); return err },
		"id":      func() error { _, _, err := root.unseal("default", CSRF, "key_b", blob); return err },
		"shifted": func() error { _, _, err := root.unseal("defaultcsrf", "", "key_a", blob); return err },
		"root key": func() error {
			_, _, err := NewRoot([32]byte{2}, "the file /d/root.key").unseal("default", CSRF, "key_a", blob)
			if err != nil && !strings.Contains(err.Error(), "the file /d/root.key. Put the right root key there") {
				t.Errorf("the error does not say what to do: %v", err)
			}
			return err
		},
	} {
		if err := f(); !errors.Is(err, ErrWrongRoot) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	for i := range blob {
		bad := bytes.Clone(blob)
		bad[i] ^= 1
		want := ErrWrongRoot
		if i == 0 {
			want = ErrSealed
		}
		if _, _, err := root.unseal("default", CSRF, "key_a", bad); !errors.Is(err, want) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, _, err := root.unseal("default", CSRF, "key_a", blob[:i]); err == nil {
			t.Errorf("cut off at %d: opened", i)
		}
	}
	again, err := root.seal("default", CSRF, "key_a", start, make([]byte, 32), testkit.Rand("y"))
	if err != nil || bytes.Equal(again, blob) {
		t.Error("sealing twice gives the same bytes")
	}
}

func FuzzUnseal(f *testing.F) {
	root := NewRoot([32]byte{1}, "a test")
	blob, err := root.seal("default", CSRF, "key_a", testkit.Epoch, make([]byte, 32), testkit.Rand("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, err := root.unseal("default", CSRF, "key_a", b)
		if err == nil && !bytes.Equal(b, blob) {
			t.Fatal("a forged blob opens")
		}
	})
}
