package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/store/storetest"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		commitUntilKilled(path)
	}
	goleak.VerifyTestMain(m)
}

func testStore(t testing.TB) *Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "data", "keytether.db"))
}

func openAt(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestStore runs the conformance suite of every store.
//
// Invariant: AU-1, ST-1, ST-2
func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return unsynced(t) })
}

// unsynced does not wait for the disk: the suite makes thousands of commits,
// and no test of it can see what an fsync does.
func unsynced(t testing.TB) *Store {
	t.Helper()
	s := testStore(t)
	if err := sqlitex.ExecuteTransient(s.writer.conn, "PRAGMA synchronous = OFF", nil); err != nil {
		t.Fatal(err)
	}
	return s
}

// uncached reads every grant from the file.
type uncached struct{ *Store }

func (u uncached) Grant(ctx context.Context, tenant, id string) (store.Versioned[grant.Grant], error) {
	forget(u.Store)
	return u.Store.Grant(ctx, tenant, id)
}

func TestStoreUncached(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return uncached{unsynced(t)} })
}
