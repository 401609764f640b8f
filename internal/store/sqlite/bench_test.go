//go:build unix

package sqlite

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/testkit"
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
			floor := cryptoFloor(b, key)
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

func cryptoFloor(b *testing.B, key *ecdsa.PrivateKey) float64 {
	const n = 2000
	before := cpuTime()
	for range n {
		signVerify(b, key)
	}
	return float64((cpuTime() - before).Microseconds()) / n
}

func seedGrants(b testing.TB, s *Store, n int) []string {
	ids := make([]string, n)
	for i := range ids {
		raw := id.NewRaw(testkit.Epoch.Add(time.Duration(i)*time.Millisecond), [10]byte{byte(i), byte(i >> 8)})
		ids[i] = raw.String(id.Grant)
	}
	for first := 0; first < n; first += 500 {
		var c store.Change
		for i := first; i < min(n, first+500); i++ {
			c.Grants = append(c.Grants, store.Versioned[grant.Grant]{Value: grant.Grant{
				Tenant: store.DefaultTenant, ID: ids[i], Status: grant.Active,
				Subject: "acc_01JQZX5E8M0000000000000000", Client: "keytether", Scope: []string{"read", "write"},
				Resource: "https://api.example.test", Thumbprint: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
				Flow: grant.FlowCode, Installation: "ins_01JQZX5E8M0000000000000000",
				AuthTime: testkit.Epoch, ACR: "pwd", Lifetimes: grant.DefaultLifetimes(),
				CreatedAt: testkit.Epoch, EndsAt: testkit.Epoch.Add(grant.GrantLife), RotatedAt: testkit.Epoch,
			}})
		}
		if err := s.Commit(context.Background(), store.DefaultTenant, c); err != nil {
			b.Fatal(err)
		}
	}
	return ids
}

func refreshLike(ctx context.Context, s *Store, grantID string) error {
	for {
		g, err := s.Grant(ctx, store.DefaultTenant, grantID)
		if err != nil {
			return err
		}
		g.Value.Generation++
		g.Value.Previous = g.Value.Current
		g.Value.Current = sha256.Sum256(g.Value.Current[:])
		g.Value.RotatedAt = g.Value.RotatedAt.Add(time.Millisecond)
		err = s.Commit(ctx, store.DefaultTenant, store.Change{
			Grants: []store.Versioned[grant.Grant]{g},
			Records: []event.Record{{
				Name: event.TokenIssued, Tenant: store.DefaultTenant, Time: g.Value.RotatedAt,
				Subject: g.Value.Subject, Client: g.Value.Client, Grant: g.Value.ID, Installation: g.Value.Installation,
				Resource: g.Value.Resource, Scope: "read write", Flow: g.Value.Flow, JTI: "jti_01JQZX5E8M0000000000000000",
				Thumbprint: g.Value.Thumbprint, Generation: g.Value.Generation, Until: g.Value.RotatedAt.Add(5 * time.Minute),
			}},
		})
		if !isRefusal(err) {
			return err
		}
	}
}
