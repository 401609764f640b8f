package token

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"testing"
	"time"
)

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

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func BenchmarkVerify(b *testing.B) {
	s, key := testSigner(b, testKeyID, 1), testKey(b, 1)
	keys := keySet(b, s)
	compact, err := Issue(s, goodClaims())
	must(err)
	digest := sha256.Sum256([]byte(compact))
	der, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	must(err)
	ratio(b, func() {
		_, err := Verify(compact, keys, expectations())
		must(err)
	}, func() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], der) {
			panic("floor")
		}
	})
}

func BenchmarkIssue(b *testing.B) {
	s, key := testSigner(b, testKeyID, 1), testKey(b, 1)
	digest := sha256.Sum256(nil)
	ratio(b, func() {
		_, err := Issue(s, goodClaims())
		must(err)
	}, func() {
		_, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		must(err)
	})
}
