package audit

import (
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// mth is the definition in RFC 6962 §2.1, word by word.
func mth(leaves [][]byte) Hash {
	switch n := len(leaves); n {
	case 0:
		return sha256.Sum256(nil)
	case 1:
		return sha256.Sum256(append([]byte{0}, leaves[0]...))
	default:
		k := 1
		for k*2 < n {
			k *= 2
		}
		l, r := mth(leaves[:k]), mth(leaves[k:])
		return sha256.Sum256(slices.Concat([]byte{1}, l[:], r[:]))
	}
}

func drawLeaves(t *rapid.T) [][]byte {
	return rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 4), 0, 40).Draw(t, "leaves")
}

func TestRootsAreThoseOfRFC6962(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaves := drawLeaves(t)
		var stored Hashes
		var f Frontier
		for i, leaf := range leaves {
			want := mth(leaves[:i])
			if got := f.Root(); got != want || f.Size() != int64(i) {
				t.Fatalf("frontier of %d: %v, want %v", i, got, want)
			}
			if got, err := Root(int64(i), &stored); err != nil || got != want {
				t.Fatalf("stored of %d: %v, want %v (%v)", i, got, want, err)
			}
			f.Append(leaf)
			if err := stored.Append(int64(i), leaf); err != nil {
				t.Fatal(err)
			}
		}
		// In two batches it is the same.
		cut := rapid.IntRange(0, len(leaves)).Draw(t, "cut")
		var batched Hashes
		size := int64(0)
		for _, part := range [][][]byte{leaves[:cut], leaves[cut:]} {
			e, err := Extend(size, part, &batched)
			if err != nil {
				t.Fatal(err)
			}
			if e.First != int64(len(batched)) {
				t.Fatalf("hashes belong at %d, there are %d", e.First, len(batched))
			}
			batched = append(batched, e.Hashes...)
			size += int64(len(part))
			if e.Size != size || e.Root != mth(leaves[:size]) {
				t.Fatalf("batch to %d", size)
			}
		}
		if !slices.Equal(batched, stored) {
			t.Fatal("batches store other hashes")
		}
	})
}

func TestProofs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		leaves := append(drawLeaves(t), []byte("last"))
		var stored Hashes
		for i, leaf := range leaves {
			if err := stored.Append(int64(i), leaf); err != nil {
				t.Fatal(err)
			}
		}
		size := int64(rapid.IntRange(1, len(leaves)).Draw(t, "size"))
		root := mth(leaves[:size])
		n := int64(rapid.IntRange(0, int(size)-1).Draw(t, "n"))
		proof, err := ProveInclusion(size, n, &stored)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckInclusion(proof, size, root, n, leaves[n]); err != nil {
			t.Fatal(err)
		}
		if err := CheckInclusion(proof, size, root, n, append([]byte("not "), leaves[n]...)); !errors.Is(err, ErrChanged) {
			t.Fatalf("another leaf is proved: %v", err)
		}
		old := int64(rapid.IntRange(0, int(size)).Draw(t, "old"))
		oldRoot := mth(leaves[:old])
		if proof, err = ProveConsistency(size, old, &stored); err != nil {
			t.Fatal(err)
		}
		if err := CheckConsistency(proof, size, root, old, oldRoot); err != nil {
			t.Fatal(err)
		}
		oldRoot[3] ^= 1
		if err := CheckConsistency(proof, size, root, old, oldRoot); !errors.Is(err, ErrForked) {
			t.Fatalf("another history is proved: %v", err)
		}
		if err := CheckConsistency(nil, size, root, size+1, root); !errors.Is(err, ErrDropped) {
			t.Fatalf("a shorter history is proved: %v", err)
		}
	})
}

func TestHashesRefuses(t *testing.T) {
	var h Hashes
	if err := h.Append(1, []byte("a")); !errors.Is(err, ErrReordered) {
		t.Errorf("Append: %v", err)
	}
	if _, err := Root(1, &h); !errors.Is(err, ErrDropped) {
		t.Errorf("Root: %v", err)
	}
	if _, err := Extend(5, [][]byte{{1}}, &h); !errors.Is(err, ErrDropped) {
		t.Errorf("Extend: %v", err)
	}
}
