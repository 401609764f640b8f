// Package policy says what a login may come to, by rules of the config and facts
// of the case. It answers from its arguments alone.
//
// So far it judges device authorizations (RFC 8628), the flow whose tool and
// browser may be on different machines, and whose consent may therefore have
// been asked for by somebody else than the person (RFC 10027 §3).
package policy

import (
	"net/netip"
	"slices"
	"time"
)

// Action is what a rule asks for. From Confirm on, each includes the second,
// deliberate step.
type Action string

// The actions, from the mildest.
const (
	Allow       Action = "allow"         // Allow suffices
	Confirm     Action = "confirm"       // a second, deliberate step after Allow
	Narrow      Action = "narrow"        // the same, and only the scopes of NarrowTo
	SignInAgain Action = "sign_in_again" // the same, and a sign-in since the code was typed
	Trusted     Action = "trusted"       // only an installation that the person trusts may approve
	Refuse      Action = "refuse"        // nobody may
)

// Actions lists every action.
func Actions() []Action { return []Action{Allow, Confirm, Narrow, SignInAgain, Trusted, Refuse} }

// DeviceRules are a client's rules for device logins. The zero value's actions
// mean the defaults of DefaultDeviceRules.
type DeviceRules struct {
	SameNetwork  Action // browser and device are on one network
	OtherNetwork Action // they are not, or nobody can tell
	NarrowTo     []string
	Grant        time.Duration // the longest that the grant of a device login lasts; 0: as any other
}

// DefaultDeviceRules are the rules of a client whose config says nothing.
func DefaultDeviceRules() DeviceRules {
	return DeviceRules{SameNetwork: Allow, OtherNetwork: Confirm}
}

// DeviceFacts are what is known when somebody is about to approve.
type DeviceFacts struct {
	Device   string   // the address that the login was started from
	Approver string   // the address of the browser or installation that approves
	Scope    []string // of the resource, that the person may grant

	// Installation: it is approved by an installation that the person trusts,
	// which has shown where the login was started and signed the approval.
	Installation bool
	Confirmed    bool      // the second step was taken
	AskedAt      time.Time // when the user code was typed
	AuthTime     time.Time // when the person last signed in
}

// Verdict is the answer.
type Verdict struct {
	// Action is what is still wanting: Allow (nothing), Confirm, SignInAgain,
	// Trusted or Refuse.
	Action Action
	// Elsewhere: the device is on another network than who approves.
	Elsewhere bool
	Scope     []string      // what may be granted; never more than the facts have
	Grant     time.Duration // the longest that the grant lasts; 0: as any other
}

// Device judges one device authorization.
func Device(r DeviceRules, f DeviceFacts) Verdict {
	v := Verdict{Elsewhere: !SameNetwork(f.Device, f.Approver), Scope: f.Scope, Grant: r.Grant}
	def := DefaultDeviceRules()
	rule := or(r.SameNetwork, def.SameNetwork)
	if v.Elsewhere {
		rule = or(r.OtherNetwork, def.OtherNetwork)
	}
	if rule == Narrow {
		v.Scope = narrowed(f.Scope, r.NarrowTo)
	}
	v.Action = wanting(rule, f, len(v.Scope) > 0)
	return v
}

// wanting says what a rule still asks for. A rule that is not known refuses.
func wanting(rule Action, f DeviceFacts, something bool) Action {
	confirmed := f.Confirmed || f.Installation // who signs has been asked already
	switch {
	case !something || !slices.Contains(Actions(), rule):
		return Refuse
	case rule == Refuse, rule == Trusted && !f.Installation:
		return rule
	case rule == SignInAgain && f.AuthTime.Before(f.AskedAt):
		return SignInAgain
	case rule != Allow && !confirmed:
		return Confirm
	}
	return Allow
}

func or(a, b Action) Action {
	if a == "" {
		return b
	}
	return a
}

func narrowed(scope, to []string) []string {
	var out []string
	for _, s := range scope {
		if slices.Contains(to, s) {
			out = append(out, s)
		}
	}
	return out
}

// SameNetwork reports whether two addresses are one customer's, as far as a
// server can tell: the same public IPv4 address (a household or an office comes
// from one), the same 24 bits of a private one, the same 64 bits of IPv6, or
// both on loopback. Addresses that are missing or of two families are not: a
// needless second step costs a moment, a missing one may cost the account.
func SameNetwork(a, b string) bool {
	x, err1 := netip.ParseAddr(a)
	y, err2 := netip.ParseAddr(b)
	if err1 != nil || err2 != nil {
		return false
	}
	x, y = x.Unmap().WithZone(""), y.Unmap().WithZone("")
	if x.IsLoopback() && y.IsLoopback() {
		return true
	}
	if x.Is4() != y.Is4() {
		return false
	}
	bits := 64
	if x.Is4() {
		bits = 32
		if x.IsPrivate() && y.IsPrivate() || x.IsLinkLocalUnicast() && y.IsLinkLocalUnicast() {
			bits = 24
		}
	}
	p, err := x.Prefix(bits)
	return err == nil && p.Contains(y)
}
