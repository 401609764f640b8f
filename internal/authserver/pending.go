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
	mu       sync.Mutex
	byHandle map[grant.Hash]grant.Request
	order    []expiry // by time: all live equally long
}

type expiry struct {
	handle grant.Hash
	at     time.Time
}

func newPendingRequests() *pendingRequests {
	return &pendingRequests{byHandle: make(map[grant.Hash]grant.Request)}
}

// add remembers a request, or fails with RateLimited when there are too many.
func (p *pendingRequests) add(r grant.Request, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.order) > 0 && !now.Before(p.order[0].at) {
		delete(p.byHandle, p.order[0].handle)
		p.order = p.order[1:]
	}
	if len(p.byHandle) >= maxPending {
		return oauth.Fail(oauth.RateLimited)
	}
	p.byHandle[r.HandleHash] = r
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
	delete(p.byHandle, handle)
}
