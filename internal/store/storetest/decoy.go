package storetest

import (
	"testing"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/store"
)

func aDecoy(n int) grant.Decoy {
	return grant.Decoy{
		Tenant: tenant, ID: ident(id.Decoy, n), Hash: hash(n), Subject: "acc_a", Installation: "ins_1", PlantedAt: at(n),
	}
}

// testDecoys: a decoy is found by its hash and by its person; hashes are one's
// own; those that lock, or fired lately, are listed in the order in which they
// fired; what locks is never pruned.
func testDecoys(t *testing.T, s store.Store) {
	ctx := t.Context()
	_, err := s.DecoyByHash(ctx, tenant, hash(1))
	wantErr(t, "DecoyByHash", err, store.ErrNotFound)

	planted, spent, locks, other := aDecoy(1), aDecoy(2), aDecoy(3), aDecoy(4)
	spent.FiredAt, spent.UnlockedAt = at(50), at(60)
	locks.FiredAt = at(40)
	other.Subject = "acc_b"
	for _, d := range []grant.Decoy{locks, planted, spent, other} {
		mustCommit(t, s, store.Change{Decoys: fresh(d)})
	}
	taken := aDecoy(5)
	taken.Hash = planted.Hash
	wantErr(t, "a hash twice", s.Commit(ctx, tenant, store.Change{Decoys: fresh(taken)}), store.ErrConflict)
	_, err = s.DecoyByHash(ctx, "other", planted.Hash)
	wantErr(t, "another tenant's", err, store.ErrNotFound)

	ids := func(what string, list []store.Versioned[grant.Decoy], err error, want ...grant.Decoy) {
		t.Helper()
		same := err == nil && len(list) == len(want)
		for i := range want {
			same = same && list[i].Value == want[i] && list[i].Version == 1
		}
		if !same {
			t.Errorf("%s: %+v, %v", what, list, err)
		}
	}
	list, err := s.DecoysOf(ctx, tenant, "acc_a")
	ids("of a person", list, err, locks, spent, planted)
	list, err = s.DecoysOf(ctx, "other", "acc_a")
	ids("of another tenant", list, err)
	list, err = s.FiredDecoys(ctx, tenant, at(50))
	ids("fired", list, err, locks, spent)
	list, err = s.FiredDecoys(ctx, tenant, at(51))
	ids("that lock", list, err, locks)

	got, err := s.DecoyByHash(ctx, tenant, locks.Hash)
	if err != nil || got.Value != locks {
		t.Fatalf("%+v, %v", got, err)
	}
	if n, err := s.PruneDecoys(ctx, tenant, at(4)); n != 2 || err != nil {
		t.Errorf("pruned %d, %v; want 2", n, err)
	}
	got.Value.UnlockedAt = at(70)
	mustCommit(t, s, store.Change{Decoys: []store.Versioned[grant.Decoy]{got}})
	wantErr(t, "stale", s.Commit(ctx, tenant, store.Change{Decoys: []store.Versioned[grant.Decoy]{got}}), store.ErrConflict)
	list, err = s.FiredDecoys(ctx, tenant, at(71))
	ids("that lock no more", list, err)
	if n, err := s.PruneDecoys(ctx, tenant, at(4)); n != 1 || err != nil {
		t.Errorf("pruned %d, %v; want 1", n, err)
	}
}
