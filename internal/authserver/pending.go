package authserver

import (
	"sync"
	"time"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
)

// pendingRequests are authorization requests that nobody has opened. They are
// volatile: a restart ends them, and the start of the server records that.
type pendingRequests struct {
	mu        sync.Mutex
	byHandle  map[grant.Hash]grant.Request
	byNetwork map[string]int // how many of them each network has
	order     []expiry       // by time: all live equally long
}

// maxPendingEach is how many of maxPending one network may have, so that no
// stranger takes all the room: an office's developers open theirs at once.
const maxPendingEach = maxPending / 10

type expiry struct {
	handle grant.Hash
	at     time.Time
}

func newPendingRequests() *pendingRequests {
	return &pendingRequests{byHandle: make(map[grant.Hash]grant.Request), byNetwork: make(map[string]int)}
}

// add remembers a request, or fails with RateLimited when there are too many, in
// all or from one network.
func (p *pendingRequests) add(r grant.Request, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.order) > 0 && !now.Before(p.order[0].at) {
		p.remove(p.order[0].handle)
		p.order = p.order[1:]
	}
	from := customer(r.Facts.Address)
	if len(p.byHandle) >= maxPending || p.byNetwork[from] >= maxPendingEach {
		return oauth.Fail(oauth.RateLimited)
	}
	p.byHandle[r.HandleHash] = r
	p.byNetwork[from]++
	p.order = append(p.order, expiry{r.HandleHash, r.ExpiresAt})
	return nil
}

// get finds a request that has not expired.
func (p *pendingRequests) get(handle grant.Hash, now time.Time) (grant.Request, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.byHandle[handle]
	return r, ok && now.Before(r.ExpiresAt)
}

// drop forgets a request: it was opened, and is the store's from now on.
func (p *pendingRequests) drop(handle grant.Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(handle)
}

// remove forgets a request and gives its network the room back. mu is held.
func (p *pendingRequests) remove(handle grant.Hash) {
	r, ok := p.byHandle[handle]
	if !ok {
		return
	}
	delete(p.byHandle, handle)
	from := customer(r.Facts.Address)
	if p.byNetwork[from]--; p.byNetwork[from] <= 0 {
		delete(p.byNetwork, from)
	}
}
