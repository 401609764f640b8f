package authserver

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/feed"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// Lock is an installation that gets no tokens, because a decoy was used.
type Lock struct {
	Installation string
	Subject      string // its person
	At           time.Time
	Address      string // where the decoy was presented from; may be empty
	Where        store.Installation
}

// locks is which installations are locked. The store's decoys say the same, and
// it is read from them at start: a refresh must not cost a query more.
type locks struct {
	serial sync.Mutex // held while a lock is set or lifted, or a decoy planted

	mu    sync.RWMutex
	since map[string]Lock // by installation
}

func newLocks() *locks { return &locks{since: make(map[string]Lock)} }

// add locks an installation; the first decoy that fired is the one that is told of.
func (l *locks) add(d grant.Decoy, at time.Time, address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.since[d.Installation]; !ok {
		l.since[d.Installation] = Lock{Installation: d.Installation, Subject: d.Subject, At: at, Address: address}
	}
}

func (l *locks) remove(installation string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.since, installation)
}

func (l *locks) get(installation string) (Lock, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	k, ok := l.since[installation]
	return k, ok
}

func (l *locks) locked(installation string) bool {
	_, ok := l.get(installation)
	return ok
}

// of lists a person's, newest first.
func (l *locks) of(subject string) []Lock {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var out []Lock
	for _, k := range l.since {
		if k.Subject == subject {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b Lock) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.Installation, b.Installation))
	})
	return out
}

// Locks are the installations of a person's that are locked, newest first.
func (s *Server) Locks(ctx context.Context, account string) ([]Lock, error) {
	list := s.locks.of(account)
	for i := range list {
		in, err := s.store.Installation(ctx, s.tenant, list[i].Installation)
		if err != nil {
			return nil, problem(err)
		}
		list[i].Where = in.Value
	}
	return list, nil
}

// loadLocks reads which installations are locked, and tells the feed of tokens of
// before a lock that may still be alive. It comes after the feed's revocations.
func (s *Server) loadLocks(ctx context.Context) error {
	now := s.Now()
	// No access token of before lives longer.
	list, err := s.store.FiredDecoys(ctx, s.tenant, now.Add(-grant.GrantLife-feed.PruneGrace))
	if err != nil {
		return problem(err)
	}
	for _, d := range list {
		if d.Value.Locks() {
			s.locks.add(d.Value, d.Value.FiredAt, d.Value.FiredFrom)
		}
		ends, err := s.endings(ctx, d.Value)
		if err != nil {
			return err
		}
		for _, r := range ends {
			if now.Before(r.until.Add(feed.PruneGrace)) {
				s.feed.publish(r)
			}
		}
	}
	return nil
}
