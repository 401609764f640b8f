package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/jws"
)

const (
	testIssuer   = "https://auth.example.test"
	testResource = "https://api.example.test"
	testKeyID    = "key_01J0000000000000000000000A"
)

var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testKey(t testing.TB, last byte) *ecdsa.PrivateKey {
	t.Helper()
	d := make([]byte, 32)
	d[0], d[31] = 1, last
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func testSigner(t testing.TB, kid string, last byte) jws.Signer {
	t.Helper()
	s, err := jws.NewES256Signer(kid, testKey(t, last), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testRSASigner(t testing.TB, kid string) jws.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jws.NewRS256Signer(kid, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func keySet(t testing.TB, signers ...jws.Signer) *jws.Set {
	t.Helper()
	var entries []jws.Entry
	for _, s := range signers {
		entries = append(entries, jws.Entry{KeyID: s.KeyID(), Key: s.Public()})
	}
	set, err := jws.NewSet(entries...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// compactOf signs any header and payload, also what we would never issue.
func compactOf(t testing.TB, s jws.Signer, header, payload string) string {
	t.Helper()
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	sig, err := s.Sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func goodClaims() AccessClaims {
	return AccessClaims{
		Issuer: testIssuer, Subject: "acc_1", Audience: testResource, ClientID: "example-cli",
		Scope: "read write", ID: "jti_1", GrantID: "grt_1", ACR: "pwd",
		Thumbprint: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
		IssuedAt:   testNow, ExpiresAt: testNow.Add(5 * time.Minute), AuthTime: testNow.Add(-time.Hour),
		Actor: []byte(`{"sub":"agent_1"}`),
	}
}

func expectations() Expectations {
	return Expectations{Issuer: testIssuer, Audience: testResource, Now: testNow.Add(time.Minute), Leeway: 5 * time.Second}
}
