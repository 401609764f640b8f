package authserver

import (
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/keytether/keytether/internal/store"
)

// turns let those who want to change the same grant do so one after the other,
// once two of them have met: fifty processes of one tool that refresh at once
// must all be answered, and a revocation among them must not starve. Nothing
// hangs on it but that: what is right is settled by the store's compare-and-swap,
// and where nobody meets anybody nothing waits.
type turns struct {
	seed  maphash.Seed
	queue [256]struct {
		sync.Mutex
		waiting atomic.Int32
	}
}

// retryGrant runs decide, about one grant, until it does not meet a conflict.
func retryGrant[T any](t *turns, grantID string, decide func() (T, error)) (T, error) {
	q := &t.queue[maphash.String(t.seed, grantID)%uint64(len(t.queue))]
	if q.waiting.Load() == 0 {
		if out, err := decide(); !errors.Is(err, store.ErrConflict) {
			return out, err
		}
	}
	q.waiting.Add(1)
	defer q.waiting.Add(-1)
	q.Lock()
	defer q.Unlock()
	return retry(decide)
}
