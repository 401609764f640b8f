// Package feed is the wire of the revocation feed
// ({issuer}/oauth/revocations): what the server sends, what a resource server
// reads, and the state that the reader keeps. Pure: the reader's clock and
// connection are the caller's.
//
// The feed is a stream of Server-Sent Events (WHATWG HTML §9.2), each with
// `event`, `id` (the sequence number) and `data` (one JSON object):
//
//	snapshot   {"seq":7,"issued_at":…,"grants":[{"id":"grt_…","until":…}],"tokens":[{"jti":"jti_…","until":…}]}
//	revoked    {"seq":9,"prev":7,"at":…,"grant":"grt_…","until":…}      or "jti" in place of "grant"
//	revoked    {"seq":9,"prev":7,"at":…,"grant":"grt_…","before":…,"until":…}
//	heartbeat  {"seq":9,"at":…}
//
// Times are RFC 3339 in UTC with microseconds. A snapshot comes first and may
// come again. It holds what was revoked and could still be alive: an entry
// ends at `until`, when the last access token that it could concern has
// expired. A grant with `before`, there or in a snapshot, was locked and not
// revoked: its tokens with an earlier `iat` are over, and later ones are good. Revocations follow in commit order. Sequence numbers grow but need
// not be dense, since a resource server hears only of what concerns it; each
// revocation therefore names the one before it on this stream (`prev`), and
// each heartbeat, sent every HeartbeatEvery, the last one. So a loss is seen,
// and the reader asks for a new snapshot by connecting again.
package feed

import (
	"errors"
	"time"
)

// ContentType of the stream.
const ContentType = "text/event-stream"

// Bounds and times.
const (
	HeartbeatEvery = 250 * time.Millisecond
	StaleAfter     = 5 * time.Second // without a heartbeat a reader must not trust its state

	// PruneGrace is how long an entry is kept after its end, for clock leeway.
	PruneGrace = 5 * time.Minute

	MaxLine    = 16 << 10  // bytes of one line
	MaxEvent   = 192 << 20 // bytes of one event's data: a snapshot of MaxEntries
	MaxEntries = 1 << 20   // grants and tokens that a State holds
	MaxID      = 64        // bytes of a grant id or jti
)

// Errors.
var (
	// ErrFormat: not this feed, or not in its form.
	ErrFormat = errors.New("feed: malformed")
	// ErrGap: an event was lost; connect again for a snapshot.
	ErrGap = errors.New("feed: an event is missing")
	// ErrFull: more entries than MaxEntries; the state is not ready any more.
	ErrFull = errors.New("feed: too many revocations")
)

// Event is one of *Snapshot, *Revoked and *Heartbeat.
type Event interface {
	// Seq is the event's sequence number.
	Seq() uint64
}

// Entry is a revoked grant or token and the time at which nothing of it can
// be alive any more.
type Entry struct {
	ID     string
	Before time.Time // of a grant: only its tokens issued before this; zero: all
	Until  time.Time
}

// Snapshot is all that is revoked and could still be alive.
type Snapshot struct {
	Sequence uint64
	IssuedAt time.Time
	Grants   []Entry // by grant id
	Tokens   []Entry // by jti
}

// Revoked is one revocation: of a grant or of a single token.
type Revoked struct {
	Sequence uint64
	Prev     uint64 // sequence of the event before it on this stream
	At       time.Time
	Grant    string    // either this
	JTI      string    // or this
	Before   time.Time // of a grant: only its tokens issued before this; zero: all
	Until    time.Time
}

// Heartbeat says that the stream is alive and what its last revocation was.
type Heartbeat struct {
	Sequence uint64
	At       time.Time
}

// Seq implements Event.
func (e *Snapshot) Seq() uint64 { return e.Sequence }

// Seq implements Event.
func (e *Revoked) Seq() uint64 { return e.Sequence }

// Seq implements Event.
func (e *Heartbeat) Seq() uint64 { return e.Sequence }
