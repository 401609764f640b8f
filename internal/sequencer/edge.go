package sequencer

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/store"
)

// edge is the right edge of a tree: all that is needed to append to it and to
// compute its root. It reads nothing back, unlike tlog.StoredHashes.
type edge struct {
	size  int64
	nodes []audit.Hash // roots of the complete subtrees, largest first: one per set bit of size
}

func (e edge) clone() edge { return edge{e.size, slices.Clone(e.nodes)} }

// hashes is the number of stored hashes of the tree.
func (e edge) hashes() int64 { return tlog.StoredHashCount(e.size) }

// append appends a leaf, and the hashes that became complete with it to out, in
// the order of tlog.StoredHashes.
func (e *edge) append(leaf []byte, out [][32]byte) [][32]byte {
	h := tlog.RecordHash(leaf)
	out = append(out, h)
	for range bits.TrailingZeros64(^uint64(e.size)) {
		last := len(e.nodes) - 1
		h = tlog.NodeHash(e.nodes[last], h)
		e.nodes = e.nodes[:last]
		out = append(out, h)
	}
	e.nodes = append(e.nodes, h)
	e.size++
	return out
}

// root is the tree's root.
func (e edge) root() audit.Hash {
	if e.size == 0 {
		return (&audit.Frontier{}).Root()
	}
	h := e.nodes[len(e.nodes)-1]
	for i := len(e.nodes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(e.nodes[i], h)
	}
	return h
}

// edgeIndexes are the indexes of the nodes of a tree's edge.
func edgeIndexes(size int64) []int64 {
	var out []int64
	var before int64 // leaves to the left
	for level := 62; level >= 0; level-- {
		if size>>level&1 == 1 {
			out = append(out, tlog.StoredHashIndex(level, before>>level))
			before += 1 << level
		}
	}
	return out
}

// load takes the edge from the store and checks it against the checkpoint.
func (s *Sequencer) load(ctx context.Context) error {
	s.edge = edge{}
	msg, err := s.Log.Checkpoint(ctx, s.Tenant)
	if errors.Is(err, store.ErrNotFound) {
		return nil // never signed
	}
	if err != nil {
		return err
	}
	c, err := audit.OpenCheckpoint(msg, s.Origin, s.Known)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDisagree, err)
	}
	if c.Size == 0 {
		return nil
	}
	size, err := s.Log.Size(ctx, s.Tenant)
	if err != nil {
		return err
	}
	if size < c.Size {
		return fmt.Errorf("%w: %d leaves were signed, %d are there", ErrDisagree, c.Size, size)
	}
	indexes := append(edgeIndexes(c.Size), tlog.StoredHashIndex(0, c.Size-1))
	hashes, err := s.Log.Hashes(ctx, s.Tenant, indexes)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: its hashes are missing: %w", ErrDisagree, err)
	}
	if err != nil {
		return err
	}
	found := edge{size: c.Size}
	for _, h := range hashes[:len(hashes)-1] {
		found.nodes = append(found.nodes, h)
	}
	if found.root() != c.Root {
		return fmt.Errorf("%w: the stored hashes have another root than the one signed for %d leaves", ErrDisagree, c.Size)
	}
	last := audit.Hash(hashes[len(hashes)-1])
	if err := s.Log.Leaves(ctx, s.Tenant, c.Size-1, c.Size, func(l store.Leaf) error {
		if tlog.RecordHash(l.Data) != last {
			return fmt.Errorf("%w: leaf %d was changed", ErrDisagree, l.Index)
		}
		return nil
	}); err != nil {
		return err
	}
	s.edge = found
	return nil
}
