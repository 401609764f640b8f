package authserver

import (
	"context"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/feed"
)

// revocation is one entry of the feed.
type revocation struct {
	grant    string // either a grant
	jti      string // or one token
	resource string // its audience; empty: told to everybody
	at       time.Time
	before   time.Time // of a grant that was locked: only tokens issued before; zero: all
	until    time.Time
}

// revocations is what was revoked and could still be alive, and who listens.
type revocations struct {
	mu        sync.Mutex
	seq       uint64
	live      map[string]revocation // by grant id or jti
	listeners map[*Listener]struct{}
	pruned    time.Time
}

func newRevocations() *revocations {
	return &revocations{live: make(map[string]revocation), listeners: make(map[*Listener]struct{})}
}

// Listener is one resource server's place at the feed.
type Listener struct {
	resource string
	last     uint64 // sequence of the last event that this listener was given
	queue    chan feed.Revoked
	lost     chan struct{} // closed when the listener was too slow
	feed     *revocations
}

// publish tells every listener concerned, before the request that revoked is
// answered.
func (r *revocations) publish(e revocation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.at.Sub(r.pruned) > time.Minute {
		for k, old := range r.live {
			if e.at.After(old.until.Add(feed.PruneGrace)) {
				delete(r.live, k)
			}
		}
		r.pruned = e.at
	}
	if old, ok := r.live[e.grant+e.jti]; ok && !e.before.IsZero() && (old.before.IsZero() || old.before.After(e.before)) {
		return // more than that has ended
	}
	r.seq++
	r.live[e.grant+e.jti] = e
	for l := range r.listeners {
		if e.resource != "" && e.resource != l.resource {
			continue
		}
		ev := feed.Revoked{Sequence: r.seq, Prev: l.last, At: e.at, Grant: e.grant, JTI: e.jti, Before: e.before, Until: e.until}
		select {
		case l.queue <- ev:
			l.last = r.seq
		default:
			delete(r.listeners, l)
			close(l.lost)
		}
	}
}

// revoked reports whether a token was revoked, by its grant or by its jti.
func (r *revocations) revoked(grantID, jti string, issued time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, g := r.live[grantID]
	_, t := r.live[jti]
	return t || g && (e.before.IsZero() || issued.Before(e.before))
}

// loadRevocations fills the feed from the store, at start.
func (s *Server) loadRevocations(ctx context.Context) error {
	now := s.Now()
	list, err := s.store.RevokedSince(ctx, s.tenant, now.Add(-feed.PruneGrace))
	if err != nil {
		return problem(err)
	}
	for _, e := range list {
		s.feed.publish(revocation{grant: e.Grant, jti: e.JTI, resource: e.Resource, at: e.At, until: e.Until})
	}
	return nil
}

// Listen opens a place at the feed for a resource: what is revoked now, and
// from then on every revocation once. Close it.
func (s *Server) Listen(resource string) (*Listener, feed.Snapshot) {
	r := s.feed
	r.mu.Lock()
	defer r.mu.Unlock()
	l := &Listener{resource: resource, last: r.seq, queue: make(chan feed.Revoked, feedQueue), lost: make(chan struct{}), feed: r}
	r.listeners[l] = struct{}{}
	snap := feed.Snapshot{Sequence: r.seq, IssuedAt: s.Now()}
	for _, e := range r.live {
		switch {
		case e.resource != "" && e.resource != resource:
		case e.grant != "":
			snap.Grants = append(snap.Grants, feed.Entry{ID: e.grant, Before: e.before, Until: e.until})
		default:
			snap.Tokens = append(snap.Tokens, feed.Entry{ID: e.jti, Until: e.until})
		}
	}
	return l, snap
}

// Next is where revocations arrive.
func (l *Listener) Next() <-chan feed.Revoked { return l.queue }

// Lost is closed when the listener was too slow: it must begin again with a
// snapshot.
func (l *Listener) Lost() <-chan struct{} { return l.lost }

// Close gives the place up.
func (l *Listener) Close() {
	l.feed.mu.Lock()
	defer l.feed.mu.Unlock()
	delete(l.feed.listeners, l)
}

// Heartbeat says that the feed is alive.
func (s *Server) Heartbeat(lastSent uint64) feed.Heartbeat {
	return feed.Heartbeat{Sequence: lastSent, At: s.Now()}
}

// Revoked reports whether a grant or one of its tokens was revoked, for the
// server's own API.
func (s *Server) Revoked(grantID, jti string) bool { return s.feed.revoked(grantID, jti, s.Now()) }
