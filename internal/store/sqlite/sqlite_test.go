package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

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

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return testStore(t) })
}

// uncached reads every grant from the file.
type uncached struct{ *Store }

func (u uncached) Grant(ctx context.Context, tenant, id string) (store.Versioned[grant.Grant], error) {
	forget(u.Store)
	return u.Store.Grant(ctx, tenant, id)
}

func TestStoreUncached(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return uncached{testStore(t)} })
}
