package jws

import (
	"strings"
	"sync"
)

// HeaderCache remembers embedded-key headers by their wire bytes, so that a
// client's next proof costs no JSON, curve check or thumbprint. Only headers of
// messages whose signature verified get in, so that garbage cannot push a
// client out for free. It holds at most its size in headers, of at most 2 KiB each.
type HeaderCache struct {
	mu       sync.Mutex
	half     int
	cur, old map[string]Header
}

// NewHeaderCache makes a cache of at most size headers; below 2 it is 2.
func NewHeaderCache(size int) *HeaderCache {
	return &HeaderCache{half: max(size/2, 1), cur: map[string]Header{}}
}

func (c *HeaderCache) get(part string) (Header, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, ok := c.cur[part]; ok {
		return h, true
	}
	h, ok := c.old[part]
	if ok {
		c.insert(strings.Clone(part), h)
	}
	return h, ok
}

func (c *HeaderCache) put(part string, h Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.insert(strings.Clone(part), h)
}

// insert keeps two generations: when the young one is full it becomes the old
// one, and what nobody asked for since is forgotten.
func (c *HeaderCache) insert(part string, h Header) {
	if len(c.cur) >= c.half {
		c.old, c.cur = c.cur, make(map[string]Header, c.half)
	}
	c.cur[part] = h
}
