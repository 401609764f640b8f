package oauthclient

import (
	"net/http"
	"time"
)

// serverNow is our clock moved to where the server's is. Proofs are dated by
// it: a server that gives nonces does not look, one that does not wants them
// fresh (RFC 9449 §11.1), and a laptop's clock may be wrong by an hour.
func (c *Client) serverNow() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.env.Now().Add(c.offset)
}

// fromServer turns a time of the server's into one of ours.
func (c *Client) fromServer(t time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return t.Add(-c.offset)
}

// Offset is how far the server's clock is ahead of ours, zero below 5 s.
func (c *Client) Offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.offset
}

// learn takes nonce and time from an answer of the server's.
func (c *Client) learn(h http.Header, sent, received time.Time) {
	offset, skewed, known := offsetOf(h.Get("Date"), sent, received)
	c.mu.Lock()
	defer c.mu.Unlock()
	if known {
		c.offset, c.skewed = offset, skewed
	}
	if n := h.Get("DPoP-Nonce"); nonceOK(n) {
		c.nonce = n
	}
}

// offsetOf compares a Date header with the middle of the exchange it came with.
// More than maxOffset is not believed, only told.
func offsetOf(date string, sent, received time.Time) (offset time.Duration, skewed, known bool) {
	at, err := http.ParseTime(date)
	if err != nil {
		return 0, false, false
	}
	// Date is cut to whole seconds: half of one is added. Round(0) leaves the
	// monotonic reading out, for it is the wall clock that is wrong.
	middle := sent.Round(0).Add(received.Sub(sent) / 2)
	d := at.Add(500 * time.Millisecond).Sub(middle)
	switch {
	case d.Abs() > maxOffset:
		return 0, true, true
	case d.Abs() < minOffset:
		return 0, false, true
	}
	return d, false, true
}

func (c *Client) clockWrong() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.skewed
}

func (c *Client) lastNonce() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nonce
}

// nonceOK: NQCHAR of RFC 9449 §8.1, and no longer than a header should be.
func nonceOK(n string) bool {
	if n == "" || len(n) > 1024 {
		return false
	}
	for i := range len(n) {
		if c := n[i]; c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
