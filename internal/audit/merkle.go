package audit

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a node of the tree (SHA-256, RFC 6962 §2.1).
type Hash = tlog.Hash

// StoredHashes gives the hashes to store when leaf number n (from 0) is
// appended. They belong at indexes tlog.StoredHashIndex(0, n) and following.
// At most log₂ n earlier hashes are read from r.
func StoredHashes(n int64, leaf []byte, r tlog.HashReader) ([]Hash, error) {
	return tlog.StoredHashes(n, leaf, r)
}

// Root is the tree's root when it had size leaves.
func Root(size int64, r tlog.HashReader) (Hash, error) { return tlog.TreeHash(size, r) }

// ProveInclusion proves that the tree of that size has leaf number n.
func ProveInclusion(size, n int64, r tlog.HashReader) ([]Hash, error) {
	return tlog.ProveRecord(size, n, r)
}

// CheckInclusion checks a proof of ProveInclusion against a signed root.
func CheckInclusion(proof []Hash, size int64, root Hash, n int64, leaf []byte) error {
	if err := tlog.CheckRecord(proof, size, root, n, tlog.RecordHash(leaf)); err != nil {
		return fmt.Errorf("%w: leaf %d is not in the tree of %d", ErrChanged, n, size)
	}
	return nil
}

// ProveConsistency proves that the tree of size old is a prefix of that of
// size size.
func ProveConsistency(size, old int64, r tlog.HashReader) ([]Hash, error) {
	if old == 0 || old == size { // nothing to prove but the roots themselves
		return nil, nil
	}
	return tlog.ProveTree(size, old, r)
}

// CheckConsistency checks a proof of ProveConsistency against two roots.
func CheckConsistency(proof []Hash, size int64, root Hash, old int64, oldRoot Hash) error {
	switch {
	case old < 0 || old > size:
		return fmt.Errorf("%w: %d leaves after %d", ErrDropped, size, old)
	case old == 0 && len(proof) == 0:
		if oldRoot == (&Frontier{}).Root() {
			return nil
		}
	case old == size && len(proof) == 0:
		if oldRoot == root {
			return nil
		}
	default:
		if tlog.CheckTree(proof, size, root, old, oldRoot) == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: the tree of %d is no continuation of that of %d", ErrForked, size, old)
}

// Hashes is a tlog.HashReader over all stored hashes of a tree in memory.
type Hashes []Hash

// Append appends leaf number n, which must be the number of leaves so far.
func (h *Hashes) Append(n int64, leaf []byte) error {
	if tlog.StoredHashCount(n) != int64(len(*h)) {
		return fmt.Errorf("%w: leaf %d is not the next", ErrReordered, n)
	}
	add, err := StoredHashes(n, leaf, h)
	if err != nil {
		return err
	}
	*h = append(*h, add...)
	return nil
}

// ReadHashes implements tlog.HashReader.
func (h *Hashes) ReadHashes(indexes []int64) ([]Hash, error) {
	out := make([]Hash, len(indexes))
	for i, x := range indexes {
		if x < 0 || x >= int64(len(*h)) {
			return nil, fmt.Errorf("%w: no stored hash %d", ErrDropped, x)
		}
		out[i] = (*h)[x]
	}
	return out, nil
}

// Frontier computes roots of a growing tree in O(log n) memory: it keeps the
// roots of the complete subtrees alone. The zero value is the empty tree.
type Frontier struct {
	size  int64
	nodes []Hash // from left, largest first; one per set bit of size
}

// Append appends a leaf.
func (f *Frontier) Append(leaf []byte) {
	h := tlog.RecordHash(leaf)
	for range bits.TrailingZeros64(^uint64(f.size)) {
		last := len(f.nodes) - 1
		h = tlog.NodeHash(f.nodes[last], h)
		f.nodes = f.nodes[:last]
	}
	f.nodes = append(f.nodes, h)
	f.size++
}

// Size is the number of leaves.
func (f *Frontier) Size() int64 { return f.size }

// Root is the root of the tree so far.
func (f *Frontier) Root() Hash {
	if len(f.nodes) == 0 {
		h, _ := tlog.TreeHash(0, nil) // the hash of nothing; cannot fail
		return h
	}
	h := f.nodes[len(f.nodes)-1]
	for i := len(f.nodes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(f.nodes[i], h)
	}
	return h
}

// Extension is what a sequencer stores when leaves are appended.
type Extension struct {
	First  int64  // index of Hashes[0]
	Hashes []Hash // to be stored at First and following
	Size   int64  // of the tree then
	Root   Hash   // of the tree then
}

// Extend appends leaves to a tree of the given size, whose stored hashes r
// reads. It writes nothing.
func Extend(size int64, leaves [][]byte, r tlog.HashReader) (Extension, error) {
	e := Extension{First: tlog.StoredHashCount(size), Size: size}
	over := tlog.HashReaderFunc(func(indexes []int64) ([]Hash, error) {
		out := make([]Hash, len(indexes))
		var old, at []int64
		for i, x := range indexes {
			if x < e.First {
				old, at = append(old, x), append(at, int64(i))
			} else if x-e.First < int64(len(e.Hashes)) {
				out[i] = e.Hashes[x-e.First]
			} else {
				return nil, fmt.Errorf("%w: no stored hash %d", ErrDropped, x)
			}
		}
		if len(old) == 0 {
			return out, nil
		}
		got, err := r.ReadHashes(old)
		if err != nil {
			return nil, err
		}
		if len(got) != len(old) {
			return nil, fmt.Errorf("%w: %d stored hashes of %d", ErrDropped, len(got), len(old))
		}
		for i, h := range got {
			out[at[i]] = h
		}
		return out, nil
	})
	for _, leaf := range leaves {
		add, err := StoredHashes(e.Size, leaf, over)
		if err != nil {
			return Extension{}, err
		}
		e.Hashes = append(e.Hashes, add...)
		e.Size++
	}
	var err error
	e.Root, err = Root(e.Size, over)
	return e, err
}
