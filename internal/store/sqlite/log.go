package sqlite

import (
	"context"
	"encoding/binary"
	"fmt"

	"zombiezen.com/go/sqlite"

	"github.com/keytether/keytether/internal/store"
)

const (
	// chunkHashes is how many Merkle hashes one row holds.
	chunkHashes = 256
	// pageBlocks is how many blocks of leaves are read in one go.
	pageBlocks = 64
)

// logTail is what a group appends to a tenant's log.
type logTail struct {
	tenant string
	size   int64  // of the log before the group
	count  int64  // of leaves in block
	block  []byte // leaves, each after its length
}

// appendLeaves gives the job's records the next numbers.
func (w *writer) appendLeaves(j *job) error {
	tail, err := w.tail(j.tenant)
	if err != nil {
		return err
	}
	for _, l := range j.leaves {
		if l.sidecar != nil {
			if err := w.insertBlob("INSERT INTO sidecars (tenant, number, facts) VALUES (?1, ?2, ?3)", j.tenant, tail.size+tail.count, l.sidecar); err != nil {
				return broken(err)
			}
		}
		tail.block = append(binary.AppendUvarint(tail.block, uint64(len(l.data))), l.data...)
		tail.count++
	}
	return nil
}

// broken keeps a number that is taken from looking like an ordinary conflict.
func broken(err error) error {
	if sqlite.ErrCode(err).ToPrimary() == sqlite.ResultConstraint {
		return damaged("the audit log has leaves beyond its size: " + err.Error())
	}
	return err
}

func (w *writer) insertBlob(sql, tenant string, number int64, data []byte) error {
	stmt, err := w.conn.Prepare(sql)
	if err != nil {
		return err
	}
	stmt.BindText(1, tenant)
	stmt.BindInt64(2, number)
	stmt.BindBytes(3, data)
	_, err = stmt.Step()
	return err
}

func (w *writer) tail(tenant string) (*logTail, error) {
	for i := range w.tails {
		if w.tails[i].tenant == tenant {
			return &w.tails[i], nil
		}
	}
	size, _, err := logState(w.conn, tenant)
	if err != nil {
		return nil, err
	}
	w.tails = append(w.tails, logTail{tenant: tenant, size: size})
	return &w.tails[len(w.tails)-1], nil
}

// flushTails writes the group's leaves and the new sizes.
func (w *writer) flushTails() error {
	for _, l := range w.tails {
		if l.count == 0 {
			continue
		}
		if err := w.insertBlob("INSERT INTO leaves (tenant, number, leaves) VALUES (?1, ?2, ?3)", l.tenant, l.size, l.block); err != nil {
			return broken(err)
		}
		stmt, err := w.conn.Prepare(`INSERT INTO logs (tenant, size, hashes) VALUES (?1, ?2, 0)
			ON CONFLICT (tenant) DO UPDATE SET size = excluded.size`)
		if err != nil {
			return err
		}
		stmt.BindText(1, l.tenant)
		stmt.BindInt64(2, l.size+l.count)
		if _, err := stmt.Step(); err != nil {
			return err
		}
	}
	return nil
}

func logState(conn *sqlite.Conn, tenant string) (size, hashes int64, err error) {
	stmt, err := conn.Prepare("SELECT size, hashes FROM logs WHERE tenant = ?1")
	if err != nil {
		return 0, 0, err
	}
	stmt.BindText(1, tenant)
	found, err := stmt.Step()
	if err != nil || !found {
		return 0, 0, err
	}
	size, hashes = stmt.ColumnInt64(0), stmt.ColumnInt64(1)
	return size, hashes, stmt.Reset()
}

// Size implements store.Log.
func (s *Store) Size(ctx context.Context, tenant string) (int64, error) {
	var size int64
	err := s.read(ctx, func(conn *sqlite.Conn) (err error) {
		size, _, err = logState(conn, tenant)
		return err
	})
	return size, err
}

// Leaves implements store.Log. It reads in pages and holds nothing open while f
// works.
func (s *Store) Leaves(ctx context.Context, tenant string, from, to int64, f func(store.Leaf) error) error {
	size, err := s.Size(ctx, tenant)
	if err != nil {
		return err
	}
	from, to = max(from, 0), min(to, size)
	var page []store.Leaf
	for from < to {
		if page, err = s.leafPage(ctx, tenant, from, to, page[:0]); err != nil {
			return err
		}
		for _, l := range page {
			if err := f(l); err != nil {
				return err
			}
		}
		from += int64(len(page))
	}
	return nil
}

// leafPage reads at least one leaf from number from on, and as many as fit.
func (s *Store) leafPage(ctx context.Context, tenant string, from, to int64, page []store.Leaf) ([]store.Leaf, error) {
	err := s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare(`SELECT number, leaves FROM leaves WHERE tenant = ?1 AND number < ?3 AND number >=
			(SELECT max(number) FROM leaves WHERE tenant = ?1 AND number <= ?2) ORDER BY number LIMIT ?4`)
		if err != nil {
			return err
		}
		stmt.BindText(1, tenant)
		stmt.BindInt64(2, from)
		stmt.BindInt64(3, to)
		stmt.BindInt64(4, pageBlocks)
		for {
			more, err := stmt.Step()
			if err != nil {
				return err
			}
			if !more {
				break
			}
			if page, err = appendBlock(page, stmt.ColumnInt64(0), blob(stmt, 1), from, to); err != nil {
				_ = stmt.Reset()
				return err
			}
		}
		if len(page) == 0 {
			return missing(from)
		}
		return addFacts(conn, tenant, page)
	})
	return page, err
}

// appendBlock takes the leaves from ≤ number < to out of a block. They must
// follow those of the page.
func appendBlock(page []store.Leaf, number int64, block []byte, from, to int64) ([]store.Leaf, error) {
	for ; len(block) > 0; number++ {
		n, used := binary.Uvarint(block)
		if used <= 0 || n > uint64(len(block)-used) {
			return nil, damaged(fmt.Sprintf("leaf %d of the audit log cannot be read", number))
		}
		data := block[used : used+int(n) : used+int(n)]
		block = block[used+int(n):]
		if number < from || number >= to {
			continue
		}
		if want := from + int64(len(page)); number != want {
			return nil, missing(want)
		}
		page = append(page, store.Leaf{Index: number, Data: data})
	}
	return page, nil
}

func missing(number int64) error {
	return damaged(fmt.Sprintf("leaf %d of the audit log is missing", number))
}

// addFacts puts the sidecars beside the leaves of a page.
func addFacts(conn *sqlite.Conn, tenant string, page []store.Leaf) error {
	stmt, err := conn.Prepare("SELECT number, facts FROM sidecars WHERE tenant = ?1 AND number >= ?2 AND number < ?3")
	if err != nil {
		return err
	}
	first := page[0].Index
	stmt.BindText(1, tenant)
	stmt.BindInt64(2, first)
	stmt.BindInt64(3, first+int64(len(page)))
	for {
		more, err := stmt.Step()
		if err != nil || !more {
			return err
		}
		page[stmt.ColumnInt64(0)-first].Sidecar = blob(stmt, 1)
	}
}

func blob(stmt *sqlite.Stmt, col int) []byte {
	b := make([]byte, stmt.ColumnLen(col))
	stmt.ColumnBytes(col, b)
	return b
}

// Checkpoint implements store.Log.
func (s *Store) Checkpoint(ctx context.Context, tenant string) ([]byte, error) {
	var note []byte
	err := s.read(ctx, func(conn *sqlite.Conn) error {
		stmt, err := conn.Prepare("SELECT checkpoint FROM logs WHERE tenant = ?1 AND checkpoint IS NOT NULL")
		if err != nil {
			return err
		}
		stmt.BindText(1, tenant)
		found, err := stmt.Step()
		if err != nil {
			return err
		}
		if !found {
			return store.ErrNotFound
		}
		note = blob(stmt, 0)
		return stmt.Reset()
	})
	return note, err
}

// Sequenced implements store.Log. Hashes are only ever appended: if firstHash is
// not the number of those kept so far it returns store.ErrConflict.
func (s *Store) Sequenced(ctx context.Context, tenant string, checkpoint []byte, firstHash int64, hashes [][32]byte) error {
	return s.do(ctx, func(w *writer) error {
		_, count, err := logState(w.conn, tenant)
		if err != nil {
			return err
		}
		if firstHash != count {
			return fmt.Errorf("%w: %d hashes are kept, not %d", store.ErrConflict, count, firstHash)
		}
		for next := hashes; len(next) > 0; {
			n := min(chunkHashes-count%chunkHashes, int64(len(next)))
			if err := w.appendHashes(tenant, count, next[:n]); err != nil {
				return err
			}
			count, next = count+n, next[n:]
		}
		stmt, err := w.conn.Prepare(`INSERT INTO logs (tenant, size, hashes, checkpoint) VALUES (?1, 0, ?2, ?3)
			ON CONFLICT (tenant) DO UPDATE SET hashes = excluded.hashes, checkpoint = excluded.checkpoint`)
		if err != nil {
			return err
		}
		stmt.BindText(1, tenant)
		stmt.BindInt64(2, count)
		stmt.BindBytes(3, checkpoint)
		_, err = stmt.Step()
		return err
	})
}

// appendHashes appends to one chunk.
func (w *writer) appendHashes(tenant string, first int64, hashes [][32]byte) error {
	chunk, used := first/chunkHashes, int(first%chunkHashes)*32
	data := make([]byte, 0, chunkHashes*32)
	if used > 0 {
		old, err := readChunk(w.conn, tenant, chunk)
		if err != nil {
			return err
		}
		if len(old) < used {
			return damaged(fmt.Sprintf("hashes of the audit log before %d are missing", first))
		}
		data = append(data, old[:used]...)
	}
	for i := range hashes {
		data = append(data, hashes[i][:]...)
	}
	return w.insertBlob("INSERT INTO hashes (tenant, chunk, data) VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET data = excluded.data",
		tenant, chunk, data)
}

func readChunk(conn *sqlite.Conn, tenant string, chunk int64) ([]byte, error) {
	stmt, err := conn.Prepare("SELECT data FROM hashes WHERE tenant = ?1 AND chunk = ?2")
	if err != nil {
		return nil, err
	}
	stmt.BindText(1, tenant)
	stmt.BindInt64(2, chunk)
	found, err := stmt.Step()
	if err != nil || !found {
		return nil, err
	}
	data := blob(stmt, 0)
	return data, stmt.Reset()
}

// Hashes implements store.Log. store.ErrNotFound when one is not there.
func (s *Store) Hashes(ctx context.Context, tenant string, indexes []int64) ([][32]byte, error) {
	out := make([][32]byte, len(indexes))
	err := s.read(ctx, func(conn *sqlite.Conn) error {
		at, data := int64(-1), []byte(nil)
		for i, x := range indexes {
			if chunk := x / chunkHashes; chunk != at {
				var err error
				if data, err = readChunk(conn, tenant, chunk); err != nil {
					return err
				}
				at = chunk
			}
			offset := x % chunkHashes * 32
			if x < 0 || offset+32 > int64(len(data)) {
				return fmt.Errorf("%w: hash %d of the audit log", store.ErrNotFound, x)
			}
			copy(out[i][:], data[offset:])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Erase implements store.Log. Erasing twice is no error.
func (s *Store) Erase(ctx context.Context, tenant string, index int64) error {
	return s.do(ctx, func(w *writer) error {
		tail, err := w.tail(tenant)
		if err != nil {
			return err
		}
		if index < 0 || index >= tail.size+tail.count {
			return fmt.Errorf("%w: leaf %d", store.ErrNotFound, index)
		}
		stmt, err := w.conn.Prepare("DELETE FROM sidecars WHERE tenant = ?1 AND number = ?2")
		if err != nil {
			return err
		}
		stmt.BindText(1, tenant)
		stmt.BindInt64(2, index)
		_, err = stmt.Step()
		return err
	})
}
