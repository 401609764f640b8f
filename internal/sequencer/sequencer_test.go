package sequencer

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/store/sqlite"
	"github.com/keytether/keytether/internal/testkit"
)

const origin = "auth.test/default"

// memLog is a store.Log in memory that a test can damage.
type memLog struct {
	mu     sync.Mutex
	leaves [][]byte
	hashes [][32]byte
	note   []byte
	fail   error // of Sequenced, once
	lost   bool  // Sequenced works, but its answer is lost, once
}

func (m *memLog) Size(context.Context, string) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.leaves)), nil
}

func (m *memLog) Leaves(_ context.Context, _ string, from, to int64, f func(store.Leaf) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := from; i < min(to, int64(len(m.leaves))); i++ {
		if err := f(store.Leaf{Index: i, Data: m.leaves[i]}); err != nil {
			return err
		}
	}
	return nil
}

func (m *memLog) Checkpoint(context.Context, string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.note == nil {
		return nil, store.ErrNotFound
	}
	return m.note, nil
}

func (m *memLog) Sequenced(_ context.Context, _ string, checkpoint []byte, first int64, hashes [][32]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fail; err != nil {
		m.fail = nil
		return err
	}
	if first != int64(len(m.hashes)) {
		return store.ErrConflict
	}
	m.note, m.hashes = checkpoint, append(m.hashes, hashes...)
	if m.lost {
		m.lost = false
		return store.ErrUnavailable
	}
	return nil
}

func (m *memLog) Hashes(_ context.Context, _ string, indexes []int64) ([][32]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([][32]byte, len(indexes))
	for i, x := range indexes {
		if x >= int64(len(m.hashes)) {
			return nil, store.ErrNotFound
		}
		out[i] = m.hashes[x]
	}
	return out, nil
}

func (m *memLog) Erase(context.Context, string, int64) error { return nil }

func (m *memLog) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range n {
		m.leaves = append(m.leaves, fmt.Appendf(nil, "leaf %d", len(m.leaves)))
	}
}

func newSequencer(t testing.TB, log store.Log, seed byte) *Sequencer {
	t.Helper()
	signer, vkey, err := audit.NewSigner(origin, [32]byte{seed})
	if err != nil {
		t.Fatal(err)
	}
	known, err := audit.Verifiers(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return &Sequencer{
		Log: log, Tenant: store.DefaultTenant, Origin: origin, Signer: signer, Known: known,
		Clock: testkit.NewClock().Now,
	}
}

func checkpoint(t testing.TB, log store.Log, known note.Verifiers) audit.Checkpoint {
	t.Helper()
	msg, err := log.Checkpoint(t.Context(), store.DefaultTenant)
	if err != nil {
		t.Fatal(err)
	}
	c, err := audit.OpenCheckpoint(msg, origin, known)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// However leaves arrive and whenever the sequencer is restarted, the stored
// hashes and roots are those of tlog.
func TestHashesAndRootsAreTlogs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		log := &memLog{}
		s := newSequencer(t, log, 1)
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 40), 1, 12).Draw(rt, "arrivals") {
			if rapid.Bool().Draw(rt, "restart") {
				s = newSequencer(t, log, 1)
			}
			log.add(n)
			size, err := s.Sequence(t.Context())
			if err != nil {
				rt.Fatal(err)
			}
			if size != int64(len(log.leaves)) {
				rt.Fatalf("size %d, want %d", size, len(log.leaves))
			}
			if size == 0 {
				continue
			}
			var want audit.Hashes
			for i, l := range log.leaves {
				if err := want.Append(int64(i), l); err != nil {
					rt.Fatal(err)
				}
			}
			if len(want) != len(log.hashes) {
				rt.Fatalf("%d hashes, want %d", len(log.hashes), len(want))
			}
			for i := range want {
				if want[i] != tlog.Hash(log.hashes[i]) {
					rt.Fatalf("hash %d differs", i)
				}
			}
			root, err := audit.Root(size, &want)
			if err != nil {
				rt.Fatal(err)
			}
			if c := checkpoint(t, log, s.Known); c.Size != size || c.Root != root {
				rt.Fatalf("signed %d %x, want %d %x", c.Size, c.Root, size, root)
			}
		}
	})
}

func TestNothingNewSignsNothing(t *testing.T) {
	log := &memLog{}
	s := newSequencer(t, log, 1)
	if size, err := s.Sequence(t.Context()); size != 0 || err != nil || log.note != nil {
		t.Fatalf("empty log: %d, %v, %q", size, err, log.note)
	}
	log.add(3)
	if _, err := s.Sequence(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := slices.Clone(log.note)
	s.Clock = func() time.Time { return testkit.Epoch.Add(time.Hour) }
	if size, err := s.Sequence(t.Context()); size != 3 || err != nil || !slices.Equal(before, log.note) {
		t.Fatalf("%d, %v; the checkpoint was signed again", size, err)
	}
}

// TestRefusesToSignWhatDisagrees damages log, hashes and checkpoint, one at a
// time.
//
// Invariant: AU-8
func TestRefusesToSignWhatDisagrees(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(*memLog)
	}{
		{"last leaf changed", func(m *memLog) { m.leaves[len(m.leaves)-1] = []byte("other") }},
		{"leaves cut off", func(m *memLog) { m.leaves = m.leaves[:5] }},
		{"hash changed", func(m *memLog) { m.hashes[tlog.StoredHashIndex(2, 0)][0] ^= 1 }},
		{"hashes cut off", func(m *memLog) { m.hashes = m.hashes[:4] }},
		{"checkpoint changed", func(m *memLog) { m.note[len(origin)+1]++ }},
		{"checkpoint of another key", func(m *memLog) {
			other := &memLog{leaves: m.leaves}
			if _, err := newSequencer(t, other, 2).Sequence(t.Context()); err != nil {
				t.Fatal(err)
			}
			m.note = other.note
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &memLog{}
			log.add(7)
			if _, err := newSequencer(t, log, 1).Sequence(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.damage(log)
			s := newSequencer(t, log, 1)
			for range 2 { // it is final
				if _, err := s.Sequence(t.Context()); !errors.Is(err, ErrDisagree) {
					t.Fatalf("got %v, want ErrDisagree", err)
				}
			}
			if err := s.Run(t.Context()); !errors.Is(err, ErrDisagree) {
				t.Fatalf("Run: got %v, want ErrDisagree", err)
			}
		})
	}
}

// Leaves that vanish under a running sequencer are noticed too.
func TestRunningSequencerNoticesALostLeaf(t *testing.T) {
	log := &memLog{}
	s := newSequencer(t, log, 1)
	log.add(9)
	if _, err := s.Sequence(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.leaves = log.leaves[:8]
	if _, err := s.Sequence(t.Context()); !errors.Is(err, ErrDisagree) {
		t.Fatalf("got %v, want ErrDisagree", err)
	}
}

// A failure, and a success whose answer was lost, are both recovered from.
func TestRecoversFromALostAnswer(t *testing.T) {
	for name, prepare := range map[string]func(*memLog){
		"full": func(m *memLog) { m.fail = store.ErrFull },
		"lost": func(m *memLog) { m.lost = true },
	} {
		t.Run(name, func(t *testing.T) {
			log := &memLog{}
			s := newSequencer(t, log, 1)
			log.add(5)
			if _, err := s.Sequence(t.Context()); err != nil {
				t.Fatal(err)
			}
			log.add(5)
			prepare(log)
			if _, err := s.Sequence(t.Context()); err == nil {
				t.Fatal("the failure was not reported")
			}
			if size, err := s.Sequence(t.Context()); size != 10 || err != nil {
				t.Fatalf("%d, %v", size, err)
			}
			if int64(len(log.hashes)) != tlog.StoredHashCount(10) {
				t.Fatalf("%d hashes", len(log.hashes))
			}
		})
	}
}

func TestTwoSequencersDoNotFork(t *testing.T) {
	log := &memLog{}
	a, b := newSequencer(t, log, 1), newSequencer(t, log, 1)
	for range 5 {
		log.add(3)
		for _, s := range []*Sequencer{a, b} {
			if _, err := s.Sequence(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		a, b = b, a
	}
	if int64(len(log.hashes)) != tlog.StoredHashCount(15) {
		t.Fatalf("%d hashes", len(log.hashes))
	}
}

// Every leaf is signed for within a second, and the last ones when Run ends.
func TestRunSignsWithinASecondAndAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &memLog{}
		s := newSequencer(t, log, 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		for range 5 {
			log.add(3)
			time.Sleep(time.Second)
			synctest.Wait()
			if c := checkpoint(t, log, s.Known); c.Size != int64(len(log.leaves)) {
				t.Fatalf("after a second %d of %d leaves are signed", c.Size, len(log.leaves))
			}
		}
		log.add(2)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if c := checkpoint(t, log, s.Known); c.Size != int64(len(log.leaves)) {
			t.Fatalf("at the end %d of %d leaves are signed", c.Size, len(log.leaves))
		}
	})
}

func openSQLite(t testing.TB) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "data", "keytether.db")})
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

func commitRecords(t testing.TB, s store.Committer, n int) {
	t.Helper()
	var c store.Change
	for range n {
		c.Records = append(c.Records, event.Record{
			Name: event.TokenIssued, Tenant: store.DefaultTenant, Time: testkit.Epoch,
			Subject: "acc_01JQZX5E8M0000000000000000", Client: "keytether", Grant: "grt_01JQZX5E8M0000000000000000",
			Resource: "https://api.example.test", Scope: "read write", Flow: "code", JTI: "jti_01JQZX5E8M0000000000000000",
			Thumbprint: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", Generation: 7, Until: testkit.Epoch.Add(5 * time.Minute),
		})
	}
	if err := s.Commit(context.Background(), store.DefaultTenant, c); err != nil {
		t.Fatal(err)
	}
}

// With the real store, over restarts and chunk borders.
func TestSequencesTheEmbeddedStore(t *testing.T) {
	log := openSQLite(t)
	for _, n := range []int{1, 127, 128, 129, 700} {
		commitRecords(t, log, n)
		s := newSequencer(t, log, 1)
		size, err := s.Sequence(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var tree audit.Frontier
		if err := log.Leaves(t.Context(), store.DefaultTenant, 0, size, func(l store.Leaf) error {
			tree.Append(l.Data)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if c := checkpoint(t, log, s.Known); c.Size != tree.Size() || c.Root != tree.Root() {
			t.Fatalf("signed %d %x, want %d %x", c.Size, c.Root, tree.Size(), tree.Root())
		}
	}
}

// BenchmarkSequence is the cost of one leaf in a checkpoint of 5000, as at
// 5000 refreshes a second.
func BenchmarkSequence(b *testing.B) {
	log := openSQLite(b)
	s := newSequencer(b, log, 1)
	const leaves = 5000
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		commitRecords(b, log, leaves)
		b.StartTimer()
		if _, err := s.Sequence(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*leaves), "µs/leaf")
}
