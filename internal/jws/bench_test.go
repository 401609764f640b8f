package jws

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"
)

const benchPayload = `{"iss":"https://auth.example.test","exp":1893456000,"iat":1893455700,"jti":"jti_01J0000000000000000000000A",` +
	`"aud":"https://api.example.test","sub":"acc_01J0000000000000000000000A","client_id":"example-cli","scope":"read write",` +
	`"sid":"grt_01J0000000000000000000000A","cnf":{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}`

// ratio runs ours and floor by turns, so that both see the same machine, and
// reports how many times the floor ours costs: median by median, so that a
// neighbour's burst counts for nothing.
func ratio(b *testing.B, ours, floor func()) {
	b.Helper()
	b.ReportAllocs()
	var own, base []time.Duration
	for b.Loop() {
		t0 := time.Now()
		floor()
		t1 := time.Now()
		ours()
		own = append(own, time.Since(t1))
		base = append(base, t1.Sub(t0))
	}
	slices.Sort(own)
	slices.Sort(base)
	o, f := float64(own[len(own)/2]), float64(base[len(base)/2])
	b.ReportMetric(o/f, "x-floor")
	b.ReportMetric(o, "ours-ns")
	b.ReportMetric(f, "floor-ns")
}

// must stops a benchmark whose work fails.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func benchKey(b *testing.B) (*ecdsa.PrivateKey, Signer) {
	b.Helper()
	key := testES256(b, "", 9).(*signer).key.(*ecdsa.PrivateKey)
	s, err := NewES256Signer("key_01J0000000000000000000000A", key, rand.Reader)
	must(err)
	return key, s
}

// The floor hashes nothing: it is ecdsa.VerifyASN1 over a ready digest.
func BenchmarkParseVerifyES256(b *testing.B) {
	key, s := benchKey(b)
	compact, err := Sign(s, "at+jwt", []byte(benchPayload))
	must(err)
	pub := s.Public()
	digest := sha256.Sum256([]byte(compact))
	der, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	must(err)
	ratio(b, func() {
		m, err := Parse(compact)
		must(err)
		must(m.Verify(pub))
	}, func() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], der) {
			panic("floor")
		}
	})
}

func benchEmbedded(b *testing.B, cache *HeaderCache) {
	key, s := benchKey(b)
	compact, err := SignEmbedded(s, "dpop+jwt", []byte(benchPayload))
	must(err)
	digest := sha256.Sum256([]byte(compact))
	der, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	must(err)
	ratio(b, func() {
		m, err := ParseEmbedded(compact, cache)
		must(err)
		must(m.VerifyEmbedded())
	}, func() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], der) {
			panic("floor")
		}
	})
}

func BenchmarkParseVerifyEmbeddedES256(b *testing.B)       { benchEmbedded(b, nil) }
func BenchmarkParseVerifyEmbeddedES256Cached(b *testing.B) { benchEmbedded(b, NewHeaderCache(16)) }

func BenchmarkSignES256(b *testing.B) {
	key, s := benchKey(b)
	digest := sha256.Sum256([]byte(benchPayload))
	ratio(b, func() {
		_, err := Sign(s, "at+jwt", []byte(benchPayload))
		must(err)
	}, func() {
		_, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		must(err)
	})
}

// Reading alone, without the signature.
func BenchmarkParse(b *testing.B) {
	_, s := benchKey(b)
	compact, err := Sign(s, "at+jwt", []byte(benchPayload))
	must(err)
	b.ReportAllocs()
	for b.Loop() {
		_, err := Parse(compact)
		must(err)
	}
	if strings.Count(compact, ".") != 2 {
		b.Fatal("not a compact JWS")
	}
}
