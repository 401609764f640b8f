package authserver

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytether/keytether/internal/grant"
)

// polls keeps, in memory, what every poll needs of a device authorization, how
// its tool has polled so far, and who waits for the decision. All of it is
// volatile: a restart forgets it to the tools' favour, and the store has the
// rest.
type polls struct {
	shards  [64]pollShard
	live    atomic.Int64 // pending ones that are known
	waiting atomic.Int64
}

type pollShard struct {
	mu      sync.Mutex
	byCode  map[grant.Hash]*polled
	swept   time.Time
	waiters map[grant.Hash]chan struct{} // one a code; closed at the decision
}

// polled is what a poll needs. There may be a million.
type polled struct {
	holder   grant.Holder
	deadline time.Time
	pending  bool
	pace     grant.Pace
}

func newPolls() *polls {
	p := &polls{}
	for i := range p.shards {
		p.shards[i].byCode = make(map[grant.Hash]*polled)
		p.shards[i].waiters = make(map[grant.Hash]chan struct{})
	}
	return p
}

func (p *polls) shard(h grant.Hash) *pollShard { return &p.shards[h[0]%64] }

// begin takes the newest state of a device authorization, and wakes who waits
// for it when it is decided.
func (p *polls) begin(d grant.Device) polled {
	sh := p.shard(d.CodeHash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	p.sweep(sh, d.CreatedAt)
	k := sh.byCode[d.CodeHash]
	if k == nil {
		k = &polled{pace: grant.Pace{Interval: d.Interval}}
		sh.byCode[d.CodeHash] = k
	} else if k.pending {
		p.live.Add(-1)
	}
	k.holder, k.deadline, k.pending = d.Holder(), d.Deadline(), d.Status == grant.Pending
	if k.pending {
		p.live.Add(1)
	} else if w := sh.waiters[d.CodeHash]; w != nil {
		close(w)
		delete(sh.waiters, d.CodeHash)
	}
	return *k
}

// sweep forgets, once a minute, what ended long ago.
func (p *polls) sweep(sh *pollShard, now time.Time) {
	if now.Sub(sh.swept) < time.Minute {
		return
	}
	sh.swept = now
	for h, k := range sh.byCode {
		if now.After(k.deadline.Add(time.Minute)) {
			if k.pending {
				p.live.Add(-1)
			}
			delete(sh.byCode, h)
		}
	}
}

// pending is about how many tools are waiting for a person.
func (p *polls) pending(time.Time) int { return int(p.live.Load()) }

// known gives what is remembered of a device code.
func (p *polls) known(h grant.Hash) (polled, bool) {
	sh := p.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if k := sh.byCode[h]; k != nil {
		return *k, true
	}
	return polled{}, false
}

// pace judges one poll by its holder.
func (p *polls) pace(h grant.Hash, now time.Time) grant.PollAnswer {
	sh := p.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	k := sh.byCode[h]
	if k == nil {
		return grant.PollAccepted
	}
	var a grant.PollAnswer
	k.pace, a = k.pace.Poll(now)
	return a
}

// wait waits for the decision and reports whether it was made. There is one
// waiter a code: a second makes the first go home. When too many wait, nobody
// more is let.
func (p *polls) wait(ctx context.Context, h grant.Hash, d time.Duration) bool {
	if p.waiting.Add(1) > maxWaiting {
		p.waiting.Add(-1)
		return false
	}
	defer p.waiting.Add(-1)
	sh := p.shard(h)
	sh.mu.Lock()
	if k := sh.byCode[h]; k == nil || !k.pending {
		sh.mu.Unlock()
		return true
	}
	if old := sh.waiters[h]; old != nil {
		close(old)
	}
	w := make(chan struct{})
	sh.waiters[h] = w
	sh.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-w:
	case <-t.C:
	case <-ctx.Done():
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.waiters[h] == w {
		delete(sh.waiters, h)
	}
	k := sh.byCode[h]
	return k == nil || !k.pending
}
