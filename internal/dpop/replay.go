package dpop

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"
)

// ReplayKey stands for one proof: half a SHA-256 over thumbprint and jti.
type ReplayKey [16]byte

// NewReplayKey hashes a proof's identity. A thumbprint is a fixed 43 bytes, so the
// two cannot run into each other.
func NewReplayKey(thumbprint, jti string) ReplayKey {
	b := make([]byte, 0, 64+maxJTI)
	b = binary.BigEndian.AppendUint16(b, uint16(len(thumbprint)))
	b = append(b, thumbprint...)
	b = append(b, jti...)
	sum := sha256.Sum256(b)
	return ReplayKey(sum[:16])
}

// ReplayCache remembers proofs. Seen reports whether the key was there, and
// remembers it at least until the given time if it was not, as one atomic step.
// A cache that cannot remember says so by an error (ErrReplayFull), and the proof
// is refused: a live proof is never forgotten to make room. A store shared by
// several servers may stand behind it.
type ReplayCache interface {
	Seen(key ReplayKey, now, until time.Time) (bool, error)
}

// MemoryReplays is a ReplayCache in memory, bounded, in shards.
type MemoryReplays struct {
	limit  int64
	count  atomic.Int64
	shards [replayShards]replayShard
}

type replayShard struct {
	mu      sync.Mutex
	live    map[ReplayKey]struct{}
	buckets map[int64][]ReplayKey // by the second in which they may be forgotten
	swept   int64
}

// NewMemoryReplays remembers at most limit proofs, of about 100 bytes each.
func NewMemoryReplays(limit int) *MemoryReplays {
	r := &MemoryReplays{limit: int64(limit)}
	for i := range r.shards {
		r.shards[i].live = map[ReplayKey]struct{}{}
		r.shards[i].buckets = map[int64][]ReplayKey{}
	}
	return r
}

// Seen implements ReplayCache.
func (r *MemoryReplays) Seen(key ReplayKey, now, until time.Time) (bool, error) {
	s := &r.shards[int(key[0])%replayShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	r.count.Add(-s.sweep(now.Unix()))
	if _, ok := s.live[key]; ok {
		return true, nil
	}
	if r.count.Add(1) > r.limit {
		r.count.Add(-1)
		if !r.sweepOthers(s, now.Unix()) {
			return false, ErrReplayFull
		}
		if r.count.Add(1) > r.limit {
			r.count.Add(-1)
			return false, ErrReplayFull
		}
	}
	s.live[key] = struct{}{}
	at := until.Unix()
	s.buckets[at] = append(s.buckets[at], key)
	return false, nil
}

// sweepOthers frees what other shards need no more. It takes only locks that are
// free, so that two full shards cannot wait for each other.
func (r *MemoryReplays) sweepOthers(own *replayShard, now int64) bool {
	var freed int64
	for i := range r.shards {
		s := &r.shards[i]
		if s == own || !s.mu.TryLock() {
			continue
		}
		freed += s.sweep(now)
		s.mu.Unlock()
	}
	r.count.Add(-freed)
	return freed > 0
}

// sweep forgets what was to be remembered until a second before now, and tells
// how much that was.
func (s *replayShard) sweep(now int64) (freed int64) {
	if now <= s.swept {
		return 0
	}
	s.swept = now
	for at, keys := range s.buckets {
		if at >= now {
			continue
		}
		for _, k := range keys {
			delete(s.live, k)
		}
		freed += int64(len(keys))
		delete(s.buckets, at)
	}
	return freed
}

// Len is how many proofs are remembered, for metrics.
func (r *MemoryReplays) Len() int { return int(r.count.Load()) }
