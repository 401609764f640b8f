package verify

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/outbound"
)

// keySet is one state of the issuer's keys. A token that was verified under one
// is verified anew under the next, so that a removed key takes its tokens along.
type keySet struct {
	*jws.Set
	raw []byte
}

// keys are the issuer's, fetched by one goroutine and read by all requests.
type keys struct {
	log *slog.Logger
	get func(context.Context) (*outbound.Response, error)

	set     atomic.Pointer[keySet]
	fetched atomic.Pointer[time.Time] // when the set was last seen to be the issuer's

	wake    chan struct{}
	mu      sync.Mutex
	tried   time.Time // when a fetch last ended
	failed  bool      // that fetch
	running bool      // a fetch is under way or asked for
	life    time.Duration
}

// current gives the keys, nil when they are too old to count.
func (k *keys) current(now time.Time) *keySet {
	if at := k.fetched.Load(); at == nil || elapsed(*at, now) > keysTrusted {
		return nil
	}
	return k.set.Load()
}

// missing is told that a token names a key that is not here. It reports whether
// the key may yet be found: then a fetch runs, at most one in refetchEvery.
func (k *keys) missing(now time.Time) (pending bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.running {
		return true
	}
	if elapsed(k.tried, now) < refetchEvery {
		return k.failed
	}
	k.running = true
	select {
	case k.wake <- struct{}{}:
	default:
	}
	return true
}

// keepFresh fetches the keys whenever they may have changed.
func (k *keys) keepFresh(ctx context.Context) {
	for {
		timer := time.NewTimer(k.next())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-k.wake:
			timer.Stop()
		}
		k.mu.Lock()
		k.running = true
		k.mu.Unlock()
		if err := k.fetch(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("the issuer's keys could not be fetched; the old ones count for now", "error", err)
		}
	}
}

// next is how long to wait, a tenth of it by chance.
func (k *keys) next() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	wait := k.life
	if k.failed {
		wait = minKeyAge
	}
	return wait - rand.N(wait/10)
}

func (k *keys) fetch(ctx context.Context) error {
	life, err := k.load(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running, k.failed, k.tried = false, err != nil, time.Now()
	if err == nil {
		k.life = life
	}
	return err
}

func (k *keys) load(ctx context.Context) (time.Duration, error) {
	res, err := k.get(ctx)
	if err != nil {
		return 0, err
	}
	set, err := jws.ParseSet(res.Body)
	if err != nil {
		return 0, fmt.Errorf("%w: its key set: %w", ErrIssuer, err)
	}
	now := time.Now()
	if old := k.set.Load(); old == nil || !bytes.Equal(old.raw, res.Body) {
		k.set.Store(&keySet{set, bytes.Clone(res.Body)})
		if old != nil {
			k.log.Info("the issuer's keys have changed", "keys", len(set.Entries()))
		}
	}
	k.fetched.Store(&now)
	return maxAge(res.Header.Get("Cache-Control")), nil
}

// maxAge reads max-age of a Cache-Control header (RFC 9111 §5.2.2.1), within our
// bounds.
func maxAge(header string) time.Duration {
	for part := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		if s, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
			return min(max(time.Duration(s)*time.Second, minKeyAge), maxKeyAge)
		}
	}
	return defaultKeyAge
}

// elapsed is the time between two of our clock's, by the wall or by the steady
// clock, whichever is more: a suspended machine's steady clock may stand, and a
// wall clock may be set back.
func elapsed(from, now time.Time) time.Duration {
	return max(now.Sub(from), now.Round(0).Sub(from.Round(0)))
}
