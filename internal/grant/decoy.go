package grant

import (
	"time"

	"github.com/keytether/keytether/internal/event"
)

// Decoy is a string that looks like a refresh token and that nobody honest ever
// uses. Whoever presents it has read what was not theirs: the installation that
// it was planted on is locked until its person unlocks it (ADR 0007).
//
//	planted ── Fire ──▶ fired (the lock) ── Unlock ──▶ spent
//
// It fires once. A copy that is known to be out there locks nobody again.
type Decoy struct {
	Tenant       string
	ID           string // dcy_…
	Hash         Hash   // of the string
	Subject      string // acc_…
	Installation string // ins_…
	Kind         string // the form in which it was written
	Ending       string // the string's checksum, by which its owner finds it again
	PlantedAt    time.Time
	FiredAt      time.Time
	FiredFrom    string // address; may be empty
	UnlockedAt   time.Time
}

// DecoyKinds lists the forms in which a decoy is written to a file.
func DecoyKinds() []string { return []string{"token", "env", "netrc", "npmrc", "json"} }

// Locks reports whether the decoy keeps its installation locked.
func (d Decoy) Locks() bool { return !d.FiredAt.IsZero() && d.UnlockedAt.IsZero() }

// DecoyEvent is what can happen to a decoy.
type DecoyEvent interface{ decoyEvent() }

// Fire says that the decoy was presented.
type Fire struct {
	Where   string // a word for the endpoint
	Address string
}

// Unlock lifts the lock that the decoy is.
type Unlock struct {
	Session      string // of the person's browser; or
	Installation string // another one of the person's
	Address      string
	Reason       event.Reason // the installation's grants ended instead; empty: they go on
}

func (Fire) decoyEvent()   {}
func (Unlock) decoyEvent() {}

// Plant records a new decoy.
func (d Decoy) Plant(env Env) (Decoy, []Effect) {
	d.PlantedAt = env.Now
	r := d.record(event.DecoyPlanted, env)
	r.Detail = d.Kind
	return d, []Effect{Record{r}}
}

// StepDecoy applies one event to a decoy. What has happened to it already happens
// not again, and is no error.
func StepDecoy(d Decoy, e DecoyEvent, env Env) (Decoy, []Effect) {
	switch e := e.(type) {
	case Fire:
		if !d.FiredAt.IsZero() {
			return d, nil
		}
		d.FiredAt, d.FiredFrom = env.Now, e.Address
		r := d.record(event.DecoyFired, env)
		r.Detail, r.Facts.Address = e.Where, e.Address
		return d, []Effect{Record{r}}
	case Unlock:
		if !d.Locks() {
			return d, nil
		}
		d.UnlockedAt = env.Now
		r := d.record(event.InstallationUnlocked, env)
		r.Session, r.Detail, r.Reason, r.Facts.Address = e.Session, e.Installation, e.Reason, e.Address
		return d, []Effect{Record{r}}
	}
	panic("grant: unknown decoy event")
}

func (d Decoy) record(name event.Name, env Env) event.Record {
	return event.Record{Name: name, Tenant: d.Tenant, Time: env.Now, Subject: d.Subject, Installation: d.Installation}
}
