package sqlite

import (
	"errors"
	"testing"

	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// A grant that is read from memory is the one that is in the file.
func TestRecentGrantIsTheStoredOne(t *testing.T) {
	s := testStore(t)
	ids := seedGrants(t, s, 20)
	for round := range 3 {
		for _, id := range ids {
			if err := refreshLike(t.Context(), s, id); err != nil {
				t.Fatal(err)
			}
			fast, ok := s.recent.grant(store.DefaultTenant, id)
			if !ok {
				t.Fatal("not kept")
			}
			forget(s)
			slow, err := s.Grant(t.Context(), store.DefaultTenant, id)
			if err != nil || slow.Version != fast.Version || slow.Value.Generation != uint32(round+1) ||
				slow.Value.Current != fast.Value.Current || slow.Value.ID != fast.Value.ID || slow.Value.Tenant != fast.Value.Tenant {
				t.Fatalf("%+v is kept, %+v is stored, %v", fast, slow, err)
			}
		}
	}
}

// What another process wrote is found after one conflict.
//
// Invariant: ST-1
func TestConflictForgetsTheRecentGrant(t *testing.T) {
	s := testStore(t)
	id := seedGrants(t, s, 1)[0]
	if err := s.do(t.Context(), func(w *writer) error {
		return sqlitex.ExecuteTransient(w.conn, "UPDATE grants SET version = 9", nil)
	}); err != nil {
		t.Fatal(err)
	}
	g, err := s.Grant(t.Context(), store.DefaultTenant, id)
	if err != nil || g.Version != 1 {
		t.Fatalf("version %d, %v; want that of memory", g.Version, err)
	}
	if err := s.Commit(t.Context(), store.DefaultTenant, store.Change{Grants: []store.Versioned[grant.Grant]{g}}); !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	if err := refreshLike(t.Context(), s, id); err != nil {
		t.Fatal(err)
	}
	if g, err := s.Grant(t.Context(), store.DefaultTenant, id); err != nil || g.Version != 10 {
		t.Errorf("version %d, %v", g.Version, err)
	}
}

func TestRecentIsBounded(t *testing.T) {
	var r recent
	for i := range 5 * recentHalf {
		r.add(grantKey{"t", string(rune(i))}, recentGrant{})
		if i%7 == 0 {
			r.get("t", string(rune(i/2)))
		}
		if n := len(r.young) + len(r.old); n > 2*recentHalf {
			t.Fatalf("%d entries", n)
		}
	}
}
