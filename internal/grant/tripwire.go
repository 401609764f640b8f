package grant

import (
	"time"

	"github.com/keytether/keytether/internal/event"
)

// TripKind is how an access token that is bound to a key was used by somebody
// who did not show that key.
type TripKind string

// The kinds.
const (
	TripWrongKey TripKind = "wrong_key" // with a valid proof by another key: on purpose
	TripBearer   TripKind = "bearer"    // with no proof, as Bearer: a copy, a curl, or a gateway that drops headers
)

// TripRule says when the use of a copy ends the whole grant and not the copied
// token alone. Each ends it wherever the one before does.
type TripRule string

// The rules, from the mildest. TripRepetition is what a config without a rule
// means: whoever finds one token in a log can end that token, and no more.
const (
	TripNever        TripRule = "never"
	TripRepetition   TripRule = "repetition"    // another token of the grant, within TripWindow
	TripOtherNetwork TripRule = "other_network" // or from another network than the grant's tool
	TripAlways       TripRule = "always"        // whenever, and for TripBearer too
)

// TripRules lists every rule.
func TripRules() []TripRule {
	return []TripRule{TripNever, TripRepetition, TripOtherNetwork, TripAlways}
}

// TripFacts are what a rule judges by.
type TripFacts struct {
	Kind      TripKind
	Before    time.Time // when another token of the grant was used with a wrong key; zero: never
	Elsewhere bool      // certainly on another network than the grant's tool
}

// Revokes reports whether the grant ends. A rule that is not known is the
// default.
func (r TripRule) Revokes(f TripFacts, now time.Time) bool {
	again := !f.Before.IsZero() && now.Sub(f.Before) <= TripWindow
	switch {
	case r == TripAlways:
		return true
	case r == TripNever, f.Kind != TripWrongKey:
		return false
	case r == TripOtherNetwork:
		return again || f.Elsewhere
	}
	return again
}

// Trip says that an access token of the grant was used by somebody without the
// grant's key. Whether it is a token of this grant was checked before.
type Trip struct {
	Kind    TripKind
	JTI     string
	Until   time.Time // its exp
	Address string    // where it was used from; may be empty
	Revoke  bool      // the whole grant; see TripRule
}

func (Trip) grantEvent() {}

func stepTrip(g Grant, e Trip, env Env) (Grant, []Effect, error) {
	switch {
	case g.Status != Active:
		return g, nil, ErrInactive
	case g.Thumbprint == "": // bound to no key, so that every holder is the right one
		return g, nil, ErrUnknownToken
	}
	seen := g.record(event.TokenTripped, env)
	seen.JTI, seen.Until, seen.Resource, seen.Detail = e.JTI, e.Until, g.Resource, string(e.Kind)
	seen.Facts.Address = e.Address
	if e.Revoke {
		g, effects := g.end(Revoked, event.ReasonCopied, env)
		return g, append([]Effect{Record{seen}}, effects...), nil
	}
	r := g.record(event.TokenRevoked, env)
	r.JTI, r.Until, r.Reason = e.JTI, e.Until, event.ReasonCopied
	return g, []Effect{Record{seen}, Record{r}, RevokedToken{Grant: g.ID, JTI: e.JTI, Resource: g.Resource, Until: e.Until}}, nil
}
