package storetest

import (
	"testing"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// testDevices: a device authorization is found by its code and, the newest of
// those that share one, by its user code; a code is one's own; a stale version
// is refused.
func testDevices(t *testing.T, s store.Store) {
	ctx := t.Context()
	_, err := s.DeviceByCode(ctx, tenant, hash(1))
	wantErr(t, "DeviceByCode", err, store.ErrNotFound)
	_, err = s.DeviceByUserCode(ctx, tenant, hash(1))
	wantErr(t, "DeviceByUserCode", err, store.ErrNotFound)

	older, newer := aDevice(1), aDevice(101) // one user code
	mustCommit(t, s, store.Change{Devices: fresh(newer)})
	mustCommit(t, s, store.Change{Devices: fresh(older)})
	if got, err := s.DeviceByUserCode(ctx, tenant, hash(1)); err != nil || got.Value.ID != newer.ID {
		t.Fatalf("by user code: %s, %v", got.Value.ID, err)
	}
	taken := aDevice(2)
	taken.CodeHash = older.CodeHash
	wantErr(t, "a code twice", s.Commit(ctx, tenant, store.Change{Devices: fresh(taken)}), store.ErrConflict)

	got, err := s.DeviceByCode(ctx, tenant, older.CodeHash)
	if err != nil || got.Value.ID != older.ID || got.Version != 1 || got.Value.Tenant != tenant {
		t.Fatalf("by code: %+v, %v", got, err)
	}
	got.Value.Status = grant.Denied
	mustCommit(t, s, store.Change{Devices: []store.Versioned[grant.Device]{got}})
	wantErr(t, "stale", s.Commit(ctx, tenant, store.Change{Devices: []store.Versioned[grant.Device]{got}}), store.ErrConflict)
	if got, err := s.DeviceByCode(ctx, tenant, older.CodeHash); err != nil || got.Value.Status != grant.Denied {
		t.Fatalf("after the change: %s, %v", got.Value.Status, err)
	}
	_, err = s.DeviceByCode(ctx, "other", older.CodeHash)
	wantErr(t, "another tenant's", err, store.ErrNotFound)
}

// testPruneDevices: pending ones are counted until their deadline, and what has
// ended goes, but a redeemed one only when its answer cannot be asked for again.
func testPruneDevices(t *testing.T, s store.Store) {
	ctx := t.Context()
	const start = 1000
	untyped, typed, denied, redeemed := aDevice(start), aDevice(start+1), aDevice(start+2), aDevice(start+3)
	typed.TypedAt = at(start + 10)
	denied.Status, redeemed.Status = grant.Denied, grant.Redeemed
	for _, d := range []grant.Device{untyped, typed, denied, redeemed} {
		mustCommit(t, s, store.Change{Devices: fresh(d)})
	}
	for _, c := range []struct{ now, want int }{{start + 100, 2}, {start + 301, 1}, {start + 1202, 0}} {
		if n, err := s.PendingDevices(ctx, tenant, at(c.now)); err != nil || n != c.want {
			t.Errorf("%d pending at %d, %v; want %d", n, c.now, err, c.want)
		}
	}
	if n, err := s.PendingDevices(ctx, "other", at(start)); n != 0 || err != nil {
		t.Errorf("%d of another tenant, %v", n, err)
	}
	if n, err := s.PruneDevices(ctx, tenant, at(start+1300)); n != 3 || err != nil {
		t.Errorf("pruned %d, %v; want 3", n, err)
	}
	if _, err := s.DeviceByCode(ctx, tenant, redeemed.CodeHash); err != nil {
		t.Errorf("the redeemed one: %v", err)
	}
	if n, err := s.PruneDevices(ctx, tenant, at(start+1<<20)); n != 1 || err != nil {
		t.Errorf("pruned %d, %v; want 1", n, err)
	}
}
