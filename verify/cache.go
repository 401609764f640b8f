package verify

import (
	"crypto/sha256"
	"sync"
	"time"
)

// tokenCache remembers tokens that were verified, by their SHA-256, so that the
// next request with one costs the proof alone. What it saves is the signature
// and the claims that never change; time, keys, revocation and proof are judged
// for every request. It holds at most its size in tokens, and no failure.
type tokenCache struct {
	mu       sync.Mutex
	half     int
	cur, old map[[sha256.Size]byte]*verified
}

// verified is one token that held under one set of keys.
type verified struct {
	caller Caller
	under  *keySet
}

func newTokenCache(size int) *tokenCache {
	return &tokenCache{half: max(size/2, 1), cur: map[[sha256.Size]byte]*verified{}}
}

// get finds a token that held under exactly these keys and has not expired.
func (c *tokenCache) get(sum [sha256.Size]byte, under *keySet, now time.Time) (*verified, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.cur[sum]
	if !ok {
		if e, ok = c.old[sum]; !ok {
			return nil, false
		}
		c.insert(sum, e)
	}
	if e.under != under || !now.Before(e.caller.ExpiresAt.Add(leeway)) {
		delete(c.cur, sum)
		delete(c.old, sum)
		return nil, false
	}
	return e, true
}

func (c *tokenCache) put(sum [sha256.Size]byte, e *verified) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.insert(sum, e)
}

// insert keeps two generations: when the young one is full it becomes the old
// one, and what nobody asked for since is forgotten.
func (c *tokenCache) insert(sum [sha256.Size]byte, e *verified) {
	if len(c.cur) >= c.half {
		c.old, c.cur = c.cur, make(map[[sha256.Size]byte]*verified, c.half)
	}
	c.cur[sum] = e
}
