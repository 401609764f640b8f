// Package sqlite is the embedded driver of package store: one SQLite file in
// WAL mode, pure Go, for a single server.
//
// One goroutine owns the only writing connection and commits in groups: it
// takes the changes that wait, lingers a moment if more are likely, applies
// each one whole or not at all, makes one durable commit of them (one fsync),
// and then answers everybody. Changes are therefore totally ordered, and the
// place of an audit record in that order is its number in the log: the table
// of leaves is the outbox. ADR 0004 has the reasons and the measurements.
//
// Reads use a small pool of connections and see every commit that returned
// before.
package sqlite

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/keytether/keytether/internal/store"
)

const (
	// DefaultLinger bounds how long a commit waits for others to join it.
	DefaultLinger = time.Millisecond
	// readers is the number of reading connections.
	readers = 4
	// busyTimeout bounds the wait for another process (a backup, a person with
	// a database shell).
	busyTimeout = 5 * time.Second
)

// Options say where the data is and how to work.
type Options struct {
	// Path of the database file. A missing folder is made, mode 0700; the file
	// is 0600.
	Path string
	// Linger bounds how long a commit waits for others; 0 means DefaultLinger.
	Linger time.Duration
	// Rand gives the keys of the audit log's commitments; nil means crypto/rand.
	Rand io.Reader
	// Log gets what an operator should know; nil means nothing.
	Log *slog.Logger
}

// Store is the driver. Its methods may be called from many goroutines.
type Store struct {
	path    string
	linger  time.Duration
	rand    io.Reader
	log     *slog.Logger
	writer  *writer
	recent  recent
	readers chan *sqlite.Conn

	mu      sync.Mutex
	queue   []*job
	closed  bool
	waking  bool          // the committer lingers
	target  int           // how many it would like to see
	wake    chan struct{} // there is something to do; capacity 1
	stopped chan struct{} // the committer is gone
}

var _ store.Store = (*Store)(nil)

// Open opens the database, makes it if it is missing, and migrates it if it is
// old. It returns store.ErrNewerSchema, ErrCorrupt, store.ErrFull, or
// store.ErrUnavailable.
func Open(ctx context.Context, opt Options) (*Store, error) {
	return open(ctx, opt, schema)
}

func open(ctx context.Context, opt Options, schema []string) (_ *Store, err error) {
	s := &Store{
		path: opt.Path, linger: opt.Linger, rand: opt.Rand, log: opt.Log,
		readers: make(chan *sqlite.Conn, readers),
		wake:    make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	if s.linger == 0 {
		s.linger = DefaultLinger
	}
	if s.rand == nil {
		s.rand = rand.Reader
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.prepareFile(); err != nil {
		return nil, err
	}
	conn, err := s.connect("PRAGMA cache_size = -64000") // KiB, of which as much is taken as is touched
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", s.path, classify(err))
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
			s.closeReaders(len(s.readers))
		}
	}()
	if err := migrate(ctx, conn, s.path, schema); err != nil {
		return nil, fmt.Errorf("opening %s: %w", s.path, classify(err))
	}
	for range readers {
		r, err := s.connect("PRAGMA query_only = ON")
		if err != nil {
			return nil, fmt.Errorf("opening %s: %w", s.path, classify(err))
		}
		s.readers <- r
	}
	s.writer = &writer{conn: conn, recent: &s.recent}
	go s.commitLoop()
	return s, nil
}

// prepareFile sees to the modes before SQLite makes its files: those beside
// the database (-wal, -shm) get the database's mode.
func (s *Store) prepareFile() error {
	dir := filepath.Dir(s.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o077 != 0 {
		s.log.Warn("the data folder is open to other users of this machine; make it 0700", "folder", dir, "mode", info.Mode().Perm().String())
	}
	f, err := os.OpenFile(s.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	defer f.Close()
	if err := f.Chmod(0o600); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return nil
}

func (s *Store) connect(more ...string) (*sqlite.Conn, error) {
	conn, err := sqlite.OpenConn(s.path, sqlite.OpenReadWrite, sqlite.OpenWAL)
	if err != nil {
		return nil, err
	}
	conn.SetBusyTimeout(busyTimeout)
	pragmas := append([]string{
		"PRAGMA foreign_keys = ON",
		"PRAGMA secure_delete = ON",
		"PRAGMA synchronous = FULL", // a commit that was acknowledged survives a power cut
		"PRAGMA temp_store = MEMORY",
		"PRAGMA trusted_schema = OFF",
	}, more...)
	for _, p := range pragmas {
		if err := sqlitex.ExecuteTransient(conn, p, nil); err != nil {
			_ = conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// Close commits what waits, answers it, and closes the file. Whatever comes
// later gets store.ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.stopped
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.poke()
	<-s.stopped
	s.closeReaders(readers)
	if err := s.writer.conn.Close(); err != nil {
		return fmt.Errorf("closing %s: %w", s.path, classify(err))
	}
	return nil
}

// closeReaders waits for reads under way.
func (s *Store) closeReaders(n int) {
	for range n {
		_ = (<-s.readers).Close()
	}
}

// Backup writes a compact copy of the database as it is at one moment to a new
// file, mode 0600. It may run beside a working server. The file must not
// exist.
func (s *Store) Backup(ctx context.Context, path string) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return store.ErrClosed
	}
	conn, err := s.connect()
	if err != nil {
		return fmt.Errorf("backup: %w", classify(err))
	}
	defer conn.Close()
	if err := copyInto(ctx, conn, path); err != nil {
		return fmt.Errorf("backup to %s: %w", path, classify(err))
	}
	return nil
}

// copyInto copies the connection's database into a new file that appears only
// when it is complete and on disk.
func copyInto(ctx context.Context, conn *sqlite.Conn, path string) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return &os.PathError{Op: "create", Path: path, Err: os.ErrExist}
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".keytether-copy-*") // mode 0600
	if err != nil {
		return err
	}
	defer f.Close()
	defer os.Remove(f.Name())
	defer conn.SetInterrupt(conn.SetInterrupt(ctx.Done()))
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = ctx.Err() // rather than SQLite's "interrupted"
		}
	}()
	stmt, _, err := conn.PrepareTransient("VACUUM INTO ?1")
	if err != nil {
		return err
	}
	defer stmt.Finalize()
	stmt.BindText(1, f.Name())
	if _, err := stmt.Step(); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
