package authserver

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// Bounds of what the tripwire keeps in memory. Like rate limits it is volatile,
// but for the alarms, which are read from the audit log again at start.
const (
	// reportsPerMinute is what one resource server may tell. Each report names
	// another token, for verify tells of each once; a flood of them is a fault.
	reportsPerMinute = 600

	maxTripped   = 1 << 14 // grants whose tokens were used by others
	maxPlaces    = 1 << 16 // grants and where they were refreshed last
	maxAlarmed   = 1 << 14 // people who have alarms
	maxAlarms    = 20      // of one person; the newest
	alarmLife    = 7 * 24 * time.Hour
	alarmRecords = 20_000 // newest records of the audit log that are read at start
)

// trips is what the tripwire remembers. Maps have two generations: when the
// younger is full the older is forgotten.
type trips struct {
	mu      sync.Mutex
	grants  generations[tripTimes]
	places  generations[string]
	alarms  generations[[]Alarm]
	reports map[string]reportWindow // by resource
}

type tripTimes struct{ copied, bearer time.Time }

type reportWindow struct {
	since time.Time
	n     int
}

func newTrips() *trips {
	return &trips{
		grants: generations[tripTimes]{max: maxTripped}, places: generations[string]{max: maxPlaces},
		alarms: generations[[]Alarm]{max: maxAlarmed}, reports: make(map[string]reportWindow),
	}
}

// generations is a bounded map that forgets what was not put for longest.
type generations[V any] struct {
	max        int
	young, old map[string]V
}

func (g *generations[V]) get(key string) V {
	if v, ok := g.young[key]; ok {
		return v
	}
	return g.old[key]
}

func (g *generations[V]) put(key string, v V) {
	if _, ok := g.young[key]; !ok && len(g.young) >= g.max || g.young == nil {
		g.young, g.old = make(map[string]V), g.young
	}
	g.young[key] = v
}

// admit counts a report of a resource server. Resources are the config's, so
// that they are few.
func (t *trips) admit(resource string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.reports[resource]
	if d := now.Sub(w.since); d < 0 || d >= time.Minute {
		w = reportWindow{since: now}
	}
	w.n++
	t.reports[resource] = w
	return w.n <= reportsPerMinute
}

// bearerDue reports whether another token of the grant may end for a use as
// Bearer.
func (t *trips) bearerDue(grantID string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.grants.get(grantID).bearer
	return last.IsZero() || now.Sub(last) >= grant.TripBearerPause
}

// copied is when a token of the grant was last used with a wrong key.
func (t *trips) copied(grantID string) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.grants.get(grantID).copied
}

func (t *trips) note(grantID string, kind grant.TripKind, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.grants.get(grantID)
	if kind == grant.TripWrongKey {
		v.copied = now
	} else {
		v.bearer = now
	}
	t.grants.put(grantID, v)
}

func (t *trips) seenAt(grantID, address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.places.put(grantID, address)
}

func (t *trips) place(grantID string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.places.get(grantID)
}

// Alarm tells a person that somebody used a copy of a token of theirs.
type Alarm struct {
	At       time.Time
	Grant    string
	Client   string // its id
	Resource string // its identifier; empty for a refresh token
	Address  string // where the copy was used from; may be empty
	Kind     grant.TripKind
	Refresh  bool // it was a refresh token
	Ended    bool // the whole login was ended for it
	Burned   bool // nothing was used: who held a copy ended it (/burn)
}

// alarming says which records a person is told of.
func alarming(r event.Record) bool {
	return r.Name == event.TokenTripped || r.Name == event.RefreshReused || r.Name == event.GrantRevoked && r.Reason == event.ReasonBurned
}

// heed takes the alarms out of records that were committed together.
func (t *trips) heed(records []event.Record) {
	for _, r := range records {
		if !alarming(r) || r.Subject == "" {
			continue
		}
		a := Alarm{
			At: r.Time, Grant: r.Grant, Client: r.Client, Resource: r.Resource, Address: r.Facts.Address,
			Kind: grant.TripKind(r.Detail), Refresh: r.Name == event.RefreshReused, Burned: r.Name == event.GrantRevoked,
			Ended: slices.ContainsFunc(records, func(o event.Record) bool { return o.Name == event.GrantRevoked && o.Grant == r.Grant }),
		}
		t.mu.Lock()
		list := append([]Alarm{a}, t.alarms.get(r.Subject)...)
		t.alarms.put(r.Subject, list[:min(len(list), maxAlarms)])
		t.mu.Unlock()
	}
}

// Alarms are what a person must be told, newest first.
func (s *Server) Alarms(account string) []Alarm {
	s.trips.mu.Lock()
	list := slices.Clone(s.trips.alarms.get(account))
	s.trips.mu.Unlock()
	now := s.Now()
	list = slices.DeleteFunc(list, func(a Alarm) bool { return now.Sub(a.At) >= alarmLife })
	for i := range list {
		if c, err := s.Registry().Client(list[i].Client); err == nil {
			list[i].Client = c.Name
		}
		if r, err := s.Registry().Resource(list[i].Resource); err == nil {
			list[i].Resource = r.Name
		}
	}
	return list
}

// loadAlarms reads those of the newest records, so that a restart silences none.
func (s *Server) loadAlarms(ctx context.Context) error {
	size, err := s.store.Size(ctx, s.tenant)
	if err != nil {
		return problem(err)
	}
	var tail []event.Record
	err = s.store.Leaves(ctx, s.tenant, max(0, size-alarmRecords), size, func(l store.Leaf) error {
		leaf, err := audit.DecodeLeaf(l.Data)
		if err != nil {
			return nil // verify says so; a start must not depend on it
		}
		switch r := leaf.Record; {
		case alarming(r):
			if side, err := audit.DecodeSidecar(l.Sidecar); err == nil {
				r.Facts = side.Facts
			}
			tail = append(tail, r)
		case r.Name == event.GrantRevoked: // recorded right behind what it came of
			if n := len(tail) - 1; n >= 0 && tail[n].Grant == r.Grant && tail[n].Time.Equal(r.Time) {
				s.trips.heed([]event.Record{tail[n], r})
				tail = tail[:n]
			}
		default:
			if n := len(tail); n > 0 {
				s.trips.heed(tail)
				tail = tail[:0]
			}
		}
		return nil
	})
	s.trips.heed(tail)
	return problem(err)
}
