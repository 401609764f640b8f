package dpop

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/jws"
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

func benchVerify(b *testing.B, cache *jws.HeaderCache) {
	s, key, n := testSigner(b, 1), testKey(b, 1), testNonces(b)
	r, want := request(), expect(s)
	r.Nonce, want.Nonces, want.Headers = n.Mint(testNow, NonceRandom{}), n, cache
	proof := newProof(b, s, r)
	digest := sha256.Sum256([]byte(proof))
	der, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	must(err)
	ratio(b, func() {
		_, err := Verify(proof, want)
		must(err)
	}, func() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], der) {
			panic("floor")
		}
	})
}

func BenchmarkVerify(b *testing.B)            { benchVerify(b, nil) }
func BenchmarkVerifyKnownClient(b *testing.B) { benchVerify(b, jws.NewHeaderCache(16)) }
func BenchmarkReplaysSeen(b *testing.B)       { benchReplays(b) }
func BenchmarkNew(b *testing.B) {
	s, key := testSigner(b, 1), testKey(b, 1)
	digest := sha256.Sum256(nil)
	ratio(b, func() {
		_, err := New(s, request())
		must(err)
	}, func() {
		_, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
		must(err)
	})
}

// 1000 proofs a second, each live for a minute.
func benchReplays(b *testing.B) {
	r := NewMemoryReplays(100_000)
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		i++
		now := testNow.Add(time.Duration(i) * time.Millisecond)
		_, err := r.Seen(NewReplayKey("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", now.String()), now, now.Add(time.Minute))
		must(err)
	}
}
