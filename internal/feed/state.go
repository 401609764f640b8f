package feed

import (
	"fmt"
	"time"
)

// State is what a reader knows. The zero value knows nothing and is not
// ready. Not safe for concurrent use.
//
// Nothing that was once heard to be revoked is forgotten before its end, not
// by a gap and not by a later snapshot: snapshots are merged.
type State struct {
	ready  bool
	seq    uint64
	heard  time.Time
	pruned time.Time
	grants map[string]ended // by id
	tokens map[string]ended // by jti
	limit  int              // of entries; zero is MaxEntries
}

// ended is an entry: Before and Until of Entry.
type ended struct{ before, until time.Time }

// Apply takes the next event, at time now of the reader's clock. ErrGap means
// that an event was lost: the state is not ready until the next snapshot, so
// the caller connects again. ErrFull likewise.
func (s *State) Apply(e Event, now time.Time) error {
	if err := s.apply(e); err != nil {
		s.ready = false
		return err
	}
	s.heard = now
	if now.Sub(s.pruned) >= time.Minute || now.Before(s.pruned) {
		s.Prune(now)
	}
	if s.full() {
		s.Prune(now)
		if s.full() {
			s.ready = false
			return fmt.Errorf("%w: %d", ErrFull, s.Len())
		}
	}
	return nil
}

func (s *State) apply(e Event) error {
	if s.grants == nil {
		s.grants, s.tokens = map[string]ended{}, map[string]ended{}
	}
	switch e := e.(type) {
	case *Snapshot:
		for _, g := range e.Grants {
			add(s.grants, g.ID, ended{g.Before, g.Until})
		}
		for _, t := range e.Tokens {
			add(s.tokens, t.ID, ended{until: t.Until})
		}
		s.seq, s.ready = e.Sequence, true
		return nil
	case *Revoked:
		if s.full() {
			return fmt.Errorf("%w: %d", ErrFull, s.Len())
		}
		// What is revoked is revoked, whatever was lost before it.
		if e.Grant != "" {
			add(s.grants, e.Grant, ended{e.Before, e.Until})
		} else {
			add(s.tokens, e.JTI, ended{until: e.Until})
		}
		if !s.ready || e.Prev != s.seq || e.Sequence <= e.Prev {
			return fmt.Errorf("%w: %d follows %d, not %d", ErrGap, e.Sequence, e.Prev, s.seq)
		}
		s.seq = e.Sequence
		return nil
	case *Heartbeat:
		if !s.ready || e.Sequence != s.seq {
			return fmt.Errorf("%w: the last is %d, not %d", ErrGap, e.Sequence, s.seq)
		}
		return nil
	}
	return fmt.Errorf("%w: unknown event", ErrFormat)
}

// add merges what was heard: the more that has ended and the longer it is kept
// wins.
func add(m map[string]ended, id string, e ended) {
	old, ok := m[id]
	if ok && (old.before.IsZero() || !e.before.IsZero() && old.before.After(e.before)) {
		e.before = old.before
	}
	if old.until.After(e.until) {
		e.until = old.until
	}
	m[id] = e
}

// Revoked reports whether a token is known to be revoked: by its grant, if it
// was issued before what is over of that, or by its jti. Empty ids are not.
func (s *State) Revoked(grant, jti string, issued time.Time) bool {
	if e, ok := s.grants[grant]; ok && (e.before.IsZero() || issued.Before(e.before)) {
		return true
	}
	_, ok := s.tokens[jti]
	return ok
}

// Ready reports whether a snapshot was had and nothing was lost since. When
// the stream breaks, the state stays ready until it is StaleAfter old: the
// caller compares LastHeard with its clock.
func (s *State) Ready() bool { return s.ready }

// LastHeard is when the last good event came, by the reader's clock; zero if
// none did.
func (s *State) LastHeard() time.Time { return s.heard }

// LastSeq is the sequence number of the last revocation or snapshot.
func (s *State) LastSeq() uint64 { return s.seq }

// Len is the number of entries.
func (s *State) Len() int { return len(s.grants) + len(s.tokens) }

func (s *State) full() bool {
	if s.limit > 0 {
		return s.Len() > s.limit
	}
	return s.Len() > MaxEntries
}

// Prune forgets the entries whose end is more than PruneGrace ago. Apply does
// it by itself every minute.
func (s *State) Prune(now time.Time) {
	s.pruned = now
	for _, m := range []map[string]ended{s.grants, s.tokens} {
		for id, e := range m {
			if now.Sub(e.until) > PruneGrace {
				delete(m, id)
			}
		}
	}
}
