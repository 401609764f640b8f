package jws

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"testing"
)

func decodeHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// testES256 is a fixed key, so that failures repeat.
func testES256(t testing.TB, kid string, last byte) Signer {
	t.Helper()
	d := make([]byte, 32)
	d[31] = last
	d[0] = 1
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewES256Signer(kid, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// compactOf signs any header, also one we would never write.
func compactOf(t testing.TB, s Signer, header, payload string) string {
	t.Helper()
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	sig, err := s.Sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func testEdDSA(t testing.TB) Signer {
	t.Helper()
	s, err := NewEdDSASigner("ed", ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testRS256(t testing.TB) Signer {
	t.Helper()
	s, err := NewRS256Signer("rs", rsaKey(t, 2048))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newEd(seed []byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(seed) }
