package dpop

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func key(n int) (k ReplayKey) {
	binary.LittleEndian.PutUint64(k[:], uint64(n))
	return k
}

// Full, the cache refuses: it never forgets a live proof to make room.
func TestReplaysFullRefuses(t *testing.T) {
	r := NewMemoryReplays(3)
	until := testNow.Add(time.Minute)
	for i := range 3 {
		if seen, err := r.Seen(key(i), testNow, until); seen || err != nil {
			t.Fatal(seen, err)
		}
	}
	if _, err := r.Seen(key(3), testNow, until); !errors.Is(err, ErrReplayFull) {
		t.Fatalf("full: %v", err)
	}
	for i := range 3 {
		if seen, err := r.Seen(key(i), until, until); !seen || err != nil {
			t.Errorf("%d is forgotten: %v", i, err)
		}
	}
	// What has expired makes room, in whichever shard it lies.
	later := until.Add(2 * time.Second)
	for i := range 3 {
		if seen, err := r.Seen(key(100), later, later.Add(time.Minute)); i == 0 && seen || err != nil {
			t.Fatal(seen, err)
		}
	}
	if r.Len() != 1 {
		t.Errorf("%d remembered, want 1", r.Len())
	}
}

// Against a map that forgets nothing: no live key is ever new again.
func TestReplaysNeverForgetLive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, 20).Draw(t, "limit")
		r := NewMemoryReplays(limit)
		live := map[ReplayKey]time.Time{}
		now := testNow
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
			k := key(rapid.IntRange(0, 40).Draw(t, "key"))
			until := now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "life")) * time.Second)
			seen, err := r.Seen(k, now, until)
			end, known := live[k]
			if known && !now.After(end) && !seen {
				t.Fatalf("forgotten %v before its end: %v", end.Sub(now), err)
			}
			if seen && !known {
				t.Fatal("seen and never shown")
			}
			if err == nil && !seen {
				live[k] = until
			}
			if got := r.Len(); got > limit || got < 0 {
				t.Fatalf("%d remembered, bound is %d", got, limit)
			}
		}
	})
}

// Of many at once exactly one is first.
func TestReplaysOneWinner(t *testing.T) {
	r := NewMemoryReplays(1000)
	var wg sync.WaitGroup
	var first atomic.Int64
	for range 8 {
		wg.Go(func() {
			for i := range 100 {
				seen, err := r.Seen(key(i), testNow, testNow.Add(time.Minute))
				if err != nil {
					t.Error(err)
				}
				if !seen {
					first.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if first.Load() != 100 || r.Len() != 100 {
		t.Errorf("%d were first, %d remembered, want 100", first.Load(), r.Len())
	}
}

func TestReplayKey(t *testing.T) {
	if NewReplayKey("a", "b") == NewReplayKey("a", "c") || NewReplayKey("a", "b") == NewReplayKey("c", "b") || NewReplayKey("ab", "c") == NewReplayKey("a", "bc") {
		t.Error("different proofs have one key")
	}
	if first, again := NewReplayKey("a", "b"), NewReplayKey("a", "b"); first != again {
		t.Error("one proof has two keys")
	}
}
