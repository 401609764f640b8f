package sqlite

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/testkit"
)

// hold keeps the committer busy until the returned function is called.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	started, wait := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- s.do(context.Background(), func(*writer) error {
			close(started)
			<-wait
			return nil
		})
	}()
	<-started
	return func() {
		close(wait)
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// Whoever waits while a commit is under way is committed together.
func TestCommitsInGroups(t *testing.T) {
	s := testStore(t)
	ids := seedGrants(t, s, 40)
	before := s.writer.groups.Load()
	release := hold(t, s)
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			if err := refreshLike(t.Context(), s, id); err != nil {
				t.Error(err)
			}
		})
	}
	for s.waiting() < len(ids) {
		time.Sleep(time.Millisecond)
	}
	release()
	wg.Wait()
	if got := s.writer.groups.Load() - before; got != 2 {
		t.Errorf("%d commits, want 2: the one that was under way, and one for all", got)
	}
}

// In a group, a change that is refused takes nothing of the others with it.
//
// Invariant: AU-1
func TestRefusedChangeInAGroup(t *testing.T) {
	s := testStore(t)
	ids := seedGrants(t, s, 30)
	release := hold(t, s)
	var wg sync.WaitGroup
	results := make([]error, len(ids))
	for i, id := range ids {
		g, err := s.Grant(t.Context(), store.DefaultTenant, id)
		if err != nil {
			t.Fatal(err)
		}
		g.Value.Generation = 7
		other := g
		other.Value.ID += "x" // new, in front of the one that conflicts
		other.Version = 0
		if i%3 == 0 {
			g.Version = 5
		}
		wg.Go(func() {
			results[i] = s.Commit(t.Context(), store.DefaultTenant, store.Change{
				Grants:  []store.Versioned[grant.Grant]{other, g},
				Records: []event.Record{{Name: event.TokenIssued, Tenant: store.DefaultTenant, Time: testkit.Epoch}},
			})
		})
	}
	for s.waiting() < len(ids) {
		time.Sleep(time.Millisecond)
	}
	release()
	wg.Wait()
	for i, id := range ids {
		_, err := s.Grant(t.Context(), store.DefaultTenant, id+"x")
		g, err2 := s.Grant(t.Context(), store.DefaultTenant, id)
		if i%3 == 0 {
			if !errors.Is(results[i], store.ErrConflict) || !errors.Is(err, store.ErrNotFound) || g.Value.Generation != 0 {
				t.Errorf("%d: %v, %v, generation %d", i, results[i], err, g.Value.Generation)
			}
		} else if results[i] != nil || err != nil || err2 != nil || g.Value.Generation != 7 {
			t.Errorf("%d: %v, %v, %v, generation %d", i, results[i], err, err2, g.Value.Generation)
		}
	}
	if n, err := s.Size(t.Context(), store.DefaultTenant); n != 20 || err != nil {
		t.Errorf("%d records of 20, %v", n, err)
	}
}

// A caller that gives up returns at once, and its change may be applied yet.
func TestCallerThatGivesUp(t *testing.T) {
	s := testStore(t)
	id := seedGrants(t, s, 1)[0]
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() { result <- refreshLike(ctx, s, id) }()
	for s.waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-result; !errors.Is(err, store.ErrUnavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	release()
	if err := s.Close(); err != nil { // drains
		t.Fatal(err)
	}
	s = openAt(t, s.path)
	if g, err := s.Grant(t.Context(), store.DefaultTenant, id); err != nil || g.Value.Generation != 1 {
		t.Errorf("generation %d, %v", g.Value.Generation, err)
	}
}

// Close answers whoever waits.
func TestCloseDrains(t *testing.T) {
	s := testStore(t)
	ids := seedGrants(t, s, 10)
	release := hold(t, s)
	results := make(chan error, len(ids))
	for _, id := range ids {
		go func() { results <- refreshLike(t.Context(), s, id) }()
	}
	for s.waiting() < len(ids) {
		time.Sleep(time.Millisecond)
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	release()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	for range ids {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
}

// A lone caller is not made to linger.
func TestLoneCallerDoesNotLinger(t *testing.T) {
	s, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "data", "keytether.db"), Linger: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id := seedGrants(t, s, 1)[0]
	for range 300 { // fast enough to come again before the committer looks up
		if err := refreshLike(t.Context(), s, id); err != nil {
			t.Fatal(err)
		}
	}
}

// fill commits until the store says that it is full, then checks that nothing
// of the refused change is there; makes room; and goes on.
func fill(t *testing.T, s *Store, makeRoom func()) {
	t.Helper()
	id := seedGrants(t, s, 1)[0]
	big := event.Record{
		Name: event.SignInFailed, Tenant: store.DefaultTenant, Time: testkit.Epoch,
		Detail: string(filler(8 << 10)),
	}
	var last store.Versioned[grant.Grant]
	records := int64(0)
	for {
		g, err := s.Grant(t.Context(), store.DefaultTenant, id)
		if err != nil {
			t.Fatal(err)
		}
		last = g
		g.Value.Generation++
		err = s.Commit(t.Context(), store.DefaultTenant, store.Change{
			Grants: []store.Versioned[grant.Grant]{g}, Records: []event.Record{big, big},
		})
		if errors.Is(err, store.ErrFull) {
			break
		}
		if err != nil {
			t.Fatalf("after %d records: %v", records, err)
		}
		if records += 2; records > 20000 {
			t.Fatal("never full")
		}
	}
	unchanged := func() {
		t.Helper()
		g, err := s.Grant(t.Context(), store.DefaultTenant, id)
		if err != nil || g.Version != last.Version || g.Value.Generation != last.Value.Generation {
			t.Errorf("generation %d at version %d, %v; want %d at %d", g.Value.Generation, g.Version, err, last.Value.Generation, last.Version)
		}
		if n, err := s.Size(t.Context(), store.DefaultTenant); n != records || err != nil {
			t.Errorf("%d records, %v; want %d", n, err, records)
		}
	}
	unchanged()
	for range 3 { // it stays refused, and readable
		if err := s.Commit(t.Context(), store.DefaultTenant, store.Change{
			Grants: []store.Versioned[grant.Grant]{last}, Records: []event.Record{big, big},
		}); !errors.Is(err, store.ErrFull) {
			t.Errorf("still full: %v", err)
		}
		unchanged()
	}
	makeRoom()
	for range 20 {
		if err := refreshLike(t.Context(), s, id); err != nil {
			t.Fatalf("after room was made: %v", err)
		}
	}
	records += 20
	seen := int64(0)
	if err := s.Leaves(t.Context(), store.DefaultTenant, 0, records, func(store.Leaf) error { seen++; return nil }); err != nil || seen != records {
		t.Errorf("%d leaves, %v; want %d", seen, err, records)
	}
}

func filler(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'x'
	}
	return b
}

// TestDiskFull fills the disk under the store, and makes room again.
//
// Invariant: ST-3
func TestDiskFull(t *testing.T) {
	t.Run("page limit", func(t *testing.T) {
		s := testStore(t)
		limit := func(sql string) {
			if err := s.do(t.Context(), func(w *writer) error { return sqlitex.ExecuteTransient(w.conn, sql, nil) }); err != nil {
				t.Error(err)
			}
		}
		limit("PRAGMA max_page_count = 300")
		fill(t, s, func() { limit("PRAGMA max_page_count = 1000000") })
	})
	dir := t.TempDir()
	if err := mountTmpfs(dir, "2m"); err != nil {
		t.Logf("a real full disk needs a mount, which this user may not make: %v", err)
		return
	}
	defer func() {
		if err := unmount(dir); err != nil {
			t.Error(err)
		}
	}()
	t.Run("file system", func(t *testing.T) {
		ballast := filepath.Join(dir, "ballast")
		if err := os.WriteFile(ballast, make([]byte, 512<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		fill(t, openAt(t, filepath.Join(dir, "data", "keytether.db")), func() {
			if err := os.Remove(ballast); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("no room to begin", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
			t.Fatal(err)
		}
		ballast, err := os.Create(filepath.Join(dir, "ballast"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.CopyN(ballast, zeros{}, 4<<20)
		ballast.Close()
		if !isFull(err) {
			t.Fatalf("the file system is not full: %v", err)
		}
		if _, err := Open(t.Context(), Options{Path: filepath.Join(dir, "new", "keytether.db")}); !errors.Is(err, store.ErrFull) {
			t.Errorf("got %v, want ErrFull", err)
		}
		if err := os.Remove(ballast.Name()); err != nil {
			t.Fatal(err)
		}
		openAt(t, filepath.Join(dir, "new", "keytether.db"))
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
