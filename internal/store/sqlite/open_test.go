package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/testkit"
)

// TestModes looks at every file and folder that the store makes.
//
// Invariant: ST-5
func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "data")
	path := filepath.Join(dir, "keytether.db")
	s := openAt(t, path)
	seedGrants(t, s, 10) // makes the files beside it
	if runtime.GOOS == "windows" {
		return // modes say nothing there
	}
	for name, want := range map[string]os.FileMode{dir: 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", name, info.Mode().Perm(), err, want)
		}
	}
}

func TestOpenMendsTheFilesModeAndWarnsOfTheFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	path := filepath.Join(dir, "keytether.db")
	if err := openAt(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := errors.Join(os.Chmod(path, 0o644), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	s, err := Open(t.Context(), Options{Path: path, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if !strings.Contains(said.String(), "0700") {
		t.Errorf("no warning of an open folder: %q", said.String())
	}
}

func TestSettings(t *testing.T) {
	s := testStore(t)
	want := map[string]int64{"synchronous": 2, "secure_delete": 1, "foreign_keys": 1}
	check := func(conn *sqlite.Conn) error {
		for name, want := range want {
			if got, err := pragma(conn, name); err != nil || got != want {
				t.Errorf("%s is %d, %v; want %d", name, got, err, want)
			}
		}
		mode, err := sqlitex.ResultText(conn.Prep("PRAGMA journal_mode"))
		if err != nil || mode != "wal" {
			t.Errorf("journal_mode is %s, %v", mode, err)
		}
		return nil
	}
	if err := s.read(t.Context(), check); err != nil {
		t.Fatal(err)
	}
	conn, err := s.connect() // one like the committer's
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := check(conn); err != nil {
		t.Fatal(err)
	}
}

func TestReopenFindsEverything(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "keytether.db")
	s := openAt(t, path)
	ids := seedGrants(t, s, 50)
	for _, id := range ids {
		if err := refreshLike(t.Context(), s, id); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Sequenced(t.Context(), store.DefaultTenant, []byte("note"), 0, make([][32]byte, 99)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path)
	for _, id := range ids {
		if g, err := s.Grant(t.Context(), store.DefaultTenant, id); err != nil || g.Version != 2 || g.Value.Generation != 1 {
			t.Errorf("%s: version %d, %v", id, g.Version, err)
		}
	}
	if n, err := s.Size(t.Context(), store.DefaultTenant); n != 50 || err != nil {
		t.Errorf("%d leaves, %v", n, err)
	}
	if err := s.Sequenced(t.Context(), store.DefaultTenant, []byte("note"), 99, nil); err != nil {
		t.Error(err)
	}
}

func TestCorruptFile(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign.db")
	conn, err := sqlite.OpenConn(foreign, sqlite.OpenReadWrite|sqlite.OpenCreate)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sqlitex.ExecuteTransient(conn, "CREATE TABLE t (x)", nil), conn.Close()); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{garbage, foreign} {
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(t.Context(), Options{Path: path})
		if !errors.Is(err, ErrCorrupt) || !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
		if path == garbage {
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
				t.Errorf("%s was changed: %v", path, err)
			}
		}
	}
}

// A page that went bad under a state is said, not read as something else.
func TestCorruptState(t *testing.T) {
	s := testStore(t)
	ids := seedGrants(t, s, 4)
	for name, state := range map[string]string{
		"short":          "substr(state, 1, length(state) - 1)",
		"other version":  "x'02' || substr(state, 2)",
		"empty":          "x''",
		"length too big": "x'01ffffffff0f' || substr(state, 7)",
	} {
		id := ids[0]
		ids = ids[1:]
		sql := fmt.Sprintf("UPDATE grants SET state = CAST(%s AS BLOB) WHERE id = '%s'", state, id)
		if err := s.do(t.Context(), func(w *writer) error { return sqlitex.ExecuteTransient(w.conn, sql, nil) }); err != nil {
			t.Fatal(err)
		}
		forget(s)
		if _, err := s.Grant(t.Context(), store.DefaultTenant, id); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := s.GrantsOf(t.Context(), store.DefaultTenant, store.GrantQuery{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: list: %v", name, err)
		}
	}
}

// A leaf that is gone is said by readers; one too many stops the log.
func TestDamagedLog(t *testing.T) {
	s := testStore(t)
	id := seedGrants(t, s, 1)[0]
	for range 5 {
		if err := refreshLike(t.Context(), s, id); err != nil {
			t.Fatal(err)
		}
	}
	exec := func(sql string) {
		t.Helper()
		if err := s.do(t.Context(), func(w *writer) error { return sqlitex.ExecuteTransient(w.conn, sql, nil) }); err != nil {
			t.Fatal(err)
		}
	}
	exec("DELETE FROM leaves WHERE number = 2")
	if err := s.Leaves(t.Context(), store.DefaultTenant, 0, 5, func(store.Leaf) error { return nil }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a missing leaf: %v", err)
	}
	exec("UPDATE logs SET size = 4")
	forget(s)
	if err := refreshLike(t.Context(), s, id); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a leaf too many: %v", err)
	}
	if g, err := s.Grant(t.Context(), store.DefaultTenant, id); err != nil || g.Value.Generation != 5 {
		t.Errorf("the grant moved without its record: generation %d, %v", g.Value.Generation, err)
	}
}

// TestNewerSchema opens what a newer program has written.
//
// Invariant: ST-4
func TestNewerSchema(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "keytether.db")
	s, err := open(t.Context(), Options{Path: path}, append(schema[:len(schema):len(schema)], "CREATE TABLE later (x)"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Options{Path: path}); !errors.Is(err, store.ErrNewerSchema) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want ErrNewerSchema", err)
	}
}

// TestMigrationKeepsACopy migrates, and opens the copy with the old program.
//
// Invariant: ST-4
func TestMigrationKeepsACopy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "keytether.db")
	s := openAt(t, path)
	id := seedGrants(t, s, 3)[0]
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if copies, _ := filepath.Glob(path + ".before*"); len(copies) > 0 {
		t.Errorf("a new database was copied: %v", copies)
	}
	next := append(schema[:len(schema):len(schema)], "CREATE TABLE later (x)")
	broken := append(next[:len(next):len(next)], "CREATE TABLE even later (x)")
	if _, err := open(t.Context(), Options{Path: path}, broken); err == nil {
		t.Fatal("a broken migration went through")
	}
	openAt(t, path).Close() // the failure left the old version

	s, err := open(t.Context(), Options{Path: path}, next)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Grant(t.Context(), store.DefaultTenant, id); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	kept := path + fmt.Sprintf(".before-v%d", len(next))
	if info, err := os.Stat(kept); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	old := openAt(t, kept)
	if g, err := old.Grant(t.Context(), store.DefaultTenant, id); err != nil || g.Version != 1 {
		t.Errorf("in the copy: %+v, %v", g, err)
	}
}

func TestBackup(t *testing.T) {
	s := testStore(t)
	ids := seedGrants(t, s, 200)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan int)
	go func() { // it runs beside a working server
		n := 0
		for ; ctx.Err() == nil; n++ {
			if err := refreshLike(context.Background(), s, ids[n%len(ids)]); err != nil {
				t.Error(err)
				break
			}
		}
		stopped <- n
	}()
	path := filepath.Join(t.TempDir(), "backup.db")
	err := s.Backup(t.Context(), path)
	cancel()
	n := <-stopped
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := s.Backup(t.Context(), path); !errors.Is(err, os.ErrExist) {
		t.Errorf("over an existing file: %v", err)
	}
	b := openAt(t, path)
	size, err := b.Size(t.Context(), store.DefaultTenant)
	if err != nil || size > int64(n) {
		t.Fatalf("%d leaves, %v, of at most %d", size, err, n)
	}
	// One moment: as many generations as records.
	generations := uint32(0)
	for _, id := range ids {
		g, err := b.Grant(t.Context(), store.DefaultTenant, id)
		if err != nil {
			t.Fatal(err)
		}
		generations += g.Value.Generation
	}
	if int64(generations) != size {
		t.Errorf("%d generations, %d records", generations, size)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".keytether-copy-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	canceled, cancelNow := context.WithCancel(t.Context())
	cancelNow()
	other := filepath.Join(t.TempDir(), "other.db")
	if err := s.Backup(canceled, other); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if _, err := os.Stat(other); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a canceled backup left a file: %v", err)
	}
}

// TestMigrationToDecoys opens data of before there were decoys: nothing is lost,
// and decoys can be planted.
func TestMigrationToDecoys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "keytether.db")
	old, err := open(t.Context(), Options{Path: path}, []string{schema[0], schemaDevices, schemaClients})
	if err != nil {
		t.Fatal(err)
	}
	id := seedGrants(t, old, 3)[0]
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	s := openAt(t, path)
	if g, err := s.Grant(t.Context(), store.DefaultTenant, id); err != nil || g.Version != 1 {
		t.Errorf("%+v, %v", g, err)
	}
	d := grant.Decoy{Tenant: store.DefaultTenant, ID: "dcy_1", Hash: grant.Hash{1}, Subject: "acc_1", PlantedAt: testkit.Epoch}
	if err := s.Commit(t.Context(), store.DefaultTenant, store.Change{Decoys: []store.Versioned[grant.Decoy]{{Value: d}}}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.DecoyByHash(t.Context(), store.DefaultTenant, d.Hash); err != nil || got.Value.ID != d.ID {
		t.Errorf("%+v, %v", got, err)
	}
}
