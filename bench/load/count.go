package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/keytether/keytether/bench/driver"
)

// counts takes down every request. It is safe for concurrent use.
type counts struct {
	mu     sync.Mutex
	left   int64 // requests that may still be sent
	logins int64
	done   map[string]*samples
}

type samples struct {
	ms     []float32
	errors map[string]int64
}

// take asks for one more request.
func (c *counts) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left <= 0 {
		return false
	}
	c.left--
	return true
}

func (c *counts) login() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.logins++
}

// add takes a request down that was answered, or was not. One that our own end cut
// short says nothing about the server.
func (c *counts) add(name string, took time.Duration, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.done[name]
	if s == nil {
		s = &samples{errors: map[string]int64{}}
		c.done[name] = s
	}
	s.ms = append(s.ms, float32(took)/float32(time.Millisecond))
	if err != nil {
		s.errors[nameOf(err)]++
	}
}

// nameOf is the OAuth error (RFC 6749 §5.2), or what there was instead.
func nameOf(err error) string {
	var e *driver.Error
	switch {
	case !errors.As(err, &e):
		return "no_answer"
	case e.Response.Error == "":
		return fmt.Sprintf("http_%d", e.Status)
	}
	return e.Response.Error
}

// report sums up.
func (c *counts) report(issuer string, took time.Duration) report {
	c.mu.Lock()
	defer c.mu.Unlock()
	r := report{Issuer: issuer, Seconds: took.Seconds(), Logins: c.logins, Work: []operation{}}
	for _, name := range sorted(c.done) {
		s := c.done[name]
		slices.Sort(s.ms)
		at := func(p float64) float64 { return float64(s.ms[min(len(s.ms)-1, int(float64(len(s.ms))*p))]) }
		n := int64(len(s.ms))
		r.Requests += n
		r.Work = append(r.Work, operation{
			Name: name, Requests: n, PerSecond: float64(n) / r.Seconds, P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: at(1), Errors: s.errors,
		})
	}
	r.PerSecond = float64(r.Requests) / r.Seconds
	return r
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
