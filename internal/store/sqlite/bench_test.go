//go:build unix

package sqlite

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkCommitRefreshLike does to the store what a refresh does: read the
// grant, write it back with the next generation, and one record, by as many
// callers at once as named. The callers also do a refresh's signature work,
// because it decides how large groups become; "crypto-µs/op" is that work
// measured alone, and "store-µs/op" what remains.
func BenchmarkCommitRefreshLike(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			s, err := Open(b.Context(), Options{Path: filepath.Join(b.TempDir(), "keytether.db")})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			const grants = 2000
			ids := seedGrants(b, s, grants)
			floor := cryptoFloor(b, key, callers)
			groups, before := s.writer.groups.Load(), cpuTime()
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for c := range callers {
				wg.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						signVerify(b, key)
						if err := refreshLike(b.Context(), s, ids[(int(i)*callers+c)%grants]); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			cpu := float64((cpuTime() - before).Microseconds()) / float64(b.N)
			b.ReportMetric(floor, "crypto-µs/op")
			b.ReportMetric(cpu-floor, "store-µs/op")
			b.ReportMetric(float64(b.N)/float64(s.writer.groups.Load()-groups), "group")
		})
	}
}

func signVerify(b *testing.B, key *ecdsa.PrivateKey) {
	h := sha256.Sum256([]byte("x"))
	sig, err := ecdsa.SignASN1(rand.Reader, key, h[:])
	if err != nil || !ecdsa.VerifyASN1(&key.PublicKey, h[:], sig) {
		b.Fatal("signature")
	}
}

// cryptoFloor is the signature work's CPU time per call, made by as many
// callers at once.
func cryptoFloor(b *testing.B, key *ecdsa.PrivateKey, callers int) float64 {
	const n = 4000
	var next atomic.Int64
	var wg sync.WaitGroup
	before := cpuTime()
	for range callers {
		wg.Go(func() {
			for next.Add(1) <= n {
				signVerify(b, key)
			}
		})
	}
	wg.Wait()
	return float64((cpuTime() - before).Microseconds()) / n
}
