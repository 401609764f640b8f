package grant

import "time"

// Pace is how one tool has polled so far. It is volatile: a restart forgets it,
// to the tool's favour.
type Pace struct {
	Interval time.Duration // between two polls, as it stands now
	Last     time.Time     // of the last accepted poll; zero before the first
	Raised   bool          // the interval was raised since the last accepted poll
	Refused  int           // polls refused in a row
}

// PollAnswer is what a poll's pace deserves.
type PollAnswer int

// The answers.
const (
	PollAccepted PollAnswer = iota
	PollSlowDown            // RFC 8628 §3.5
	PollDenied              // it hammers on in spite of every slow_down
)

// Poll judges one poll of a tool (RFC 8628 §3.5). The first is never refused. A
// second of jitter is forgiven. A refused poll does not move the clock, so that
// a steady client that is a little too fast is not locked out; the interval is
// raised at most once between two accepted polls, by 5 s, up to MaxPollInterval.
// Where our own clock was set back nobody can tell, and the poll is accepted; two
// at once may be judged the wrong way round, and that is no sign of it.
func (p Pace) Poll(now time.Time) (Pace, PollAnswer) {
	if p.Last.IsZero() || p.Last.Sub(now) > PollJitter || now.Sub(p.Last) >= p.Interval-PollJitter {
		p.Last, p.Raised, p.Refused = now, false, 0
		return p, PollAccepted
	}
	p.Refused++
	if !p.Raised {
		p.Interval, p.Raised = max(p.Interval, min(p.Interval+SlowDownStep, MaxPollInterval)), true
	}
	if p.Refused > MaxRefusedPolls {
		return p, PollDenied
	}
	return p, PollSlowDown
}

// OfferInterval is the interval that a new device authorization is offered when
// so many are pending: as long as it must be for all of them together to poll no
// more than PollsPerSecond, so that a million waiting tools cannot drown the
// server. It shrinks again with their number.
func OfferInterval(pending int) time.Duration {
	most := int(MaxOfferedInterval/time.Second) * PollsPerSecond
	d := time.Duration(min(pending, most)) * time.Second / PollsPerSecond
	d = (d + time.Second - 1).Truncate(time.Second)
	return min(max(d, PollInterval), MaxOfferedInterval)
}
