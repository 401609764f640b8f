package oauthclient

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// polling is where the polling of one device code stands (RFC 8628 §3.5). It is
// a value: what an answer does to it is decided without I/O.
type polling struct {
	interval time.Duration // the least time from an answer to the next poll
	expires  time.Time     // no poll from here on
	wait     time.Duration // how long the server is asked to keep an answer back; 0: not asked
	lost     int           // polls in a row that brought no answer
	next     time.Time     // when to poll
}

// pollKind is what a poll came to.
type pollKind int

const (
	pollPending  pollKind = iota // authorization_pending
	pollSlowDown                 // slow_down
	pollLost                     // no answer, or one that is not the server's
)

// polled is one poll that did not end the login.
type polled struct {
	kind           pollKind
	sent, received time.Time
	retryAfter     time.Duration // of the header; 0 without one
	jitter         float64       // 0 ≤ jitter < 1, drawn for this poll
}

// newPolling begins after the answer to a device authorization request. A server
// that keeps its answer back is asked at once; with any other nobody can have
// decided yet.
func newPolling(interval, wait time.Duration, received, expires time.Time) polling {
	p := polling{interval: interval, expires: expires, wait: wait, next: received}
	if wait == 0 {
		p.next = received.Add(interval)
	}
	return p
}

// after decides what follows a poll.
func (p polling) after(a polled) polling {
	pause := p.interval
	switch a.kind {
	case pollPending:
		p.lost = 0
		if p.wait > 0 && a.received.Sub(a.sent) >= min(p.interval, p.wait) {
			pause = 0 // it was kept back for as long, or as long as was asked: that was the pause
		}
	case pollSlowDown:
		p.lost = 0
		p.interval += slowDownStep // for good
		pause = p.interval
	case pollLost:
		p.lost++
		if p.lost >= impatient {
			p.wait = 0 // something between may cut answers that take long
		}
		pause = backOff(p.interval, p.lost, a.jitter)
	}
	p.next = a.received.Add(max(pause, a.retryAfter))
	return p
}

// backOff doubles the pause with each lost answer, and adds up to a quarter, so
// that those who lost the server together do not come back together.
func backOff(interval time.Duration, lost int, jitter float64) time.Duration {
	pause := interval
	for range min(lost, 16) {
		pause = min(pause*2, max(maxBackOff, interval))
	}
	return pause + time.Duration(float64(pause)*jitter/4)
}

// due says how long to wait from now until the next poll. ok is false when there
// will be none: the code has expired, or has by then.
func (p polling) due(now time.Time) (wait time.Duration, ok bool) {
	wait = max(0, p.next.Sub(now))
	return wait, Left(p.expires, now) > wait
}

// preference is what a poll asks for (RFC 7240 §4.3), never longer than the code
// lives; empty where the server is not known to wait.
func (p polling) preference(now time.Time) string {
	n := int64(min(p.wait, Left(p.expires, now)) / time.Second)
	if n <= 0 {
		return ""
	}
	return "wait=" + strconv.FormatInt(n, 10)
}

// retryAfter reads the header of that name (RFC 9110 §10.2.3): seconds, or a
// time of the server's.
func retryAfter(h http.Header, serverNow time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseUint(v, 10, 63); err == nil {
		return time.Duration(min(n, uint64(maxLife/time.Second))) * time.Second
	}
	at, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return min(max(0, at.Sub(serverNow)), maxLife)
}
