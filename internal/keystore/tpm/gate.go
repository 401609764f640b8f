package tpm

import (
	"context"
	"errors"
	"sync"
	"time"
)

var errHangs = errors.New("tpm: the TPM does not answer")

// gate lets one piece of work at a time to the chip, and nobody wait for one that hangs. The
// system may hold a thread that waits for a chip for as long as it likes; so the work runs beside
// the one who wants it, who leaves when it takes too long. Then all others are refused at once,
// until the work comes back.
type gate struct {
	turn chan struct{} // has room for one: who is inside

	mu    sync.Mutex
	stuck chan struct{} // closed while the one inside has been left
}

func newGate() *gate {
	return &gate{turn: make(chan struct{}, 1), stuck: make(chan struct{})}
}

// through runs f alone, with a context that ends with limit. What f gives after that is dropped.
func through[T any](ctx context.Context, g *gate, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	g.mu.Lock()
	stuck := g.stuck
	g.mu.Unlock()
	select {
	case g.turn <- struct{}{}:
	case <-stuck:
		return none, errHangs
	case <-ctx.Done():
		return none, ctx.Err()
	}
	type result struct {
		v   T
		err error
	}
	in, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	done := make(chan result, 1)
	finish := g.watch(limit)
	go func() {
		v, err := f(in)
		done <- result{v, err}
		finish()
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-in.Done():
	}
	select {
	case r := <-done: // just in time
		return r.v, r.err
	default:
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	return none, errHangs
}

// watch says that the gate is stuck when the work inside is not finished within limit, whether
// the one who wanted it still waits or not.
func (g *gate) watch(limit time.Duration) (finish func()) {
	over := false
	timer := time.AfterFunc(limit, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !over {
			close(g.stuck)
		}
	})
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		over = true
		if !timer.Stop() {
			select {
			case <-g.stuck:
				g.stuck = make(chan struct{})
			default:
			}
		}
		<-g.turn
	}
}
