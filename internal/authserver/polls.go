package authserver

import (
	"context"
	"maps"
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
	shards  [pollShards]pollShard
	live    atomic.Int64 // pending ones that are known
	waiting atomic.Int64
	swept   atomic.Int64 // when, in Unix nanoseconds
	clients names

	// What was pending at the start, of which nobody may have polled since.
	before      int64
	beforeUntil time.Time
}

const (
	pollShards = 64

	// sweepEvery is how often what ended is forgotten, so that the interval
	// shrinks soon after a storm.
	sweepEvery = 15 * time.Second

	// sweepLater: what has ended is remembered a little longer, for late polls.
	sweepLater = time.Minute
)

type pollShard struct {
	mu      sync.Mutex
	byCode  map[codeKey]polled
	most    int                       // that byCode held since it was made
	waiters map[codeKey]chan struct{} // one a code; closed at the decision
}

// codeKey stands for a device code in memory: half of its SHA-256. The store, which
// gives the tokens, knows the whole.
type codeKey [16]byte

func keyOf(h grant.Hash) codeKey { return codeKey(h[:16]) }

// newPolls begins with so many pending, none of which lives longer than a device
// authorization from now.
func newPolls(before int, now time.Time) *polls {
	p := &polls{before: int64(before), beforeUntil: now.Add(grant.DeviceCodeLife), clients: names{byName: make(map[string]uint32)}}
	for i := range p.shards {
		p.shards[i].byCode = make(map[codeKey]polled)
		p.shards[i].waiters = make(map[codeKey]chan struct{})
	}
	return p
}

func (p *polls) shard(h grant.Hash) *pollShard { return &p.shards[h[0]%pollShards] }

// begin takes a state of a device authorization that was read or committed, and
// wakes who waits for it when it is decided. Two may come the wrong way round: what
// was decided, bound or prolonged stays so, or a tool would poll for ever for an
// answer that the store has.
func (p *polls) begin(d grant.Device) polled {
	client := p.clients.number(d.Client)
	sh := p.shard(d.CodeHash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	k, ok := sh.byCode[keyOf(d.CodeHash)]
	if !ok {
		k.setPace(grant.Pace{Interval: d.Interval})
		k.pending = true
	} else if k.pending {
		p.live.Add(-1)
	}
	k.client, k.deadline, k.pending = client, max(k.deadline, d.Deadline().UnixNano()), k.pending && d.Status == grant.Pending
	if d.Thumbprint != "" {
		k.bind(d.Thumbprint)
	}
	sh.byCode[keyOf(d.CodeHash)] = k
	sh.most = max(sh.most, len(sh.byCode))
	if k.pending {
		p.live.Add(1)
	} else if w := sh.waiters[keyOf(d.CodeHash)]; w != nil {
		close(w)
		delete(sh.waiters, keyOf(d.CodeHash))
	}
	return k
}

// sweep forgets, now and then, what ended a while ago.
func (p *polls) sweep(now time.Time) {
	was := p.swept.Load()
	if d := now.UnixNano() - was; d >= 0 && d < int64(sweepEvery) || !p.swept.CompareAndSwap(was, now.UnixNano()) {
		return
	}
	for i := range p.shards {
		p.live.Add(-p.shards[i].sweep(now))
	}
}

// sweep gives how many of those that it forgot or that are over counted as
// pending.
func (sh *pollShard) sweep(now time.Time) (over int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for h, k := range sh.byCode {
		if now.Before(k.ends()) {
			continue
		}
		if k.pending {
			k.pending = false // the store says the rest
			sh.byCode[h] = k
			over++
		}
		if now.After(k.ends().Add(sweepLater)) {
			delete(sh.byCode, h)
		}
	}
	if n := len(sh.byCode); n < sh.most/4 { // a map gives no room back by itself
		left := make(map[codeKey]polled, n)
		maps.Copy(left, sh.byCode)
		sh.byCode, sh.most = left, n
	}
	return over
}

// outstanding is about how many tools are waiting for a person.
func (p *polls) outstanding(now time.Time) int {
	p.sweep(now)
	n := p.live.Load()
	if now.Before(p.beforeUntil) {
		n = max(n, p.before)
	}
	return int(n)
}

// known gives what is remembered of a device code.
func (p *polls) known(h grant.Hash) (polled, bool) {
	sh := p.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	k, ok := sh.byCode[keyOf(h)]
	return k, ok
}

// judge judges one poll by its holder.
func (p *polls) judge(h grant.Hash, now time.Time) grant.PollAnswer {
	sh := p.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	k, ok := sh.byCode[keyOf(h)]
	if !ok {
		return grant.PollAccepted
	}
	next, a := k.pace().Poll(now)
	k.setPace(next)
	sh.byCode[keyOf(h)] = k
	return a
}

// wait waits for the decision, at most for d. There is one waiter a code: a
// second makes the first go home. When too many wait, nobody more is let. Who
// has waited as long as one may can come again at once, for a waiting tool costs
// less than a polling one.
func (p *polls) wait(ctx context.Context, release <-chan struct{}, h grant.Hash, d time.Duration) {
	if p.waiting.Add(1) > maxWaiting {
		p.waiting.Add(-1)
		return
	}
	defer p.waiting.Add(-1)
	w, left := p.register(h)
	if left {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	full := false
	select {
	case <-w:
	case <-t.C:
		full = d >= MaxWait
	case <-ctx.Done():
	case <-release:
	}
	sh := p.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.waiters[keyOf(h)] == w {
		delete(sh.waiters, keyOf(h))
		if k, ok := sh.byCode[keyOf(h)]; ok && full {
			k.last = 0
			sh.byCode[keyOf(h)] = k
		}
	}
}

// register takes the place of the code's waiter. There is nothing to wait for
// where it is decided.
func (p *polls) register(h grant.Hash) (w chan struct{}, decided bool) {
	sh := p.shard(h)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !sh.byCode[keyOf(h)].pending {
		return nil, true
	}
	if old := sh.waiters[keyOf(h)]; old != nil {
		close(old)
	}
	w = make(chan struct{})
	sh.waiters[keyOf(h)] = w
	return w, false
}

// Waiting is how many polls are held open for their decision.
func (s *Server) Waiting() int { return int(s.polls.waiting.Load()) }
