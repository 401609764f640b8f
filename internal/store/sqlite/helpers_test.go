package sqlite

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/testkit"
)

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

// forget empties the cache of grants, as a restart does.
func forget(s *Store) {
	s.recent.mu.Lock()
	defer s.recent.mu.Unlock()
	s.recent.young, s.recent.old = nil, nil
}
