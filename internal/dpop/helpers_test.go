package dpop

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/jws"
)

var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	testURL   = "https://api.example.test/v1/reports"
	testToken = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
)

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

func testSigner(t testing.TB, last byte) jws.Signer {
	t.Helper()
	s, err := jws.NewES256Signer("", testKey(t, last), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testEdSigner(t testing.TB) jws.Signer {
	t.Helper()
	s, err := jws.NewEdDSASigner("", ed25519.NewKeyFromSeed(make([]byte, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testRSASigner(t testing.TB) jws.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jws.NewRS256Signer("", key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// compactOf signs any header and payload, also what we would never make.
func compactOf(t testing.TB, s jws.Signer, header, payload string) string {
	t.Helper()
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	sig, err := s.Sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func headerOf(s jws.Signer) string {
	return `{"typ":"dpop+jwt","alg":"` + string(s.Algorithm()) + `","jwk":` + string(s.Public().AppendJWK(nil)) + `}`
}

// request and expect fit each other: a resource request with a bound token.
func request() Request {
	return Request{Method: "GET", URL: testURL, AccessToken: testToken, IssuedAt: testNow, ID: "jti-1"}
}

func expect(s jws.Signer) Expect {
	return Expect{
		Method: "GET", URL: testURL, AccessToken: testToken, Thumbprint: s.Public().Thumbprint(),
		Now: testNow, MaxAge: time.Minute, Leeway: 5 * time.Second,
	}
}

func testNonces(t testing.TB) *Nonces {
	t.Helper()
	src, err := NewNonceSource([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	return src.For("default", "as")
}

func newProof(t testing.TB, s jws.Signer, r Request) string {
	t.Helper()
	proof, err := New(s, r)
	if err != nil {
		t.Fatal(err)
	}
	return proof
}
