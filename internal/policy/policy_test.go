package policy

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var at = time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)

// TestDevice names the verdict of every rule.
//
// Invariant: DF-13c
func TestDevice(t *testing.T) {
	const home, office = "198.51.100.7", "203.0.113.9"
	both := []string{"read", "write"}
	for _, c := range []struct {
		name  string
		rules DeviceRules
		facts DeviceFacts
		want  Action
		scope []string
	}{
		{name: "default, here", facts: DeviceFacts{Approver: home}, want: Allow},
		{name: "default, elsewhere", facts: DeviceFacts{Approver: office}, want: Confirm},
		{name: "default, nobody can tell", facts: DeviceFacts{}, want: Confirm},
		{name: "default, elsewhere, confirmed", facts: DeviceFacts{Approver: office, Confirmed: true}, want: Allow},
		{name: "default, elsewhere, signed", facts: DeviceFacts{Approver: office, Installation: true}, want: Allow},
		{name: "confirm here too", rules: DeviceRules{SameNetwork: Confirm}, facts: DeviceFacts{Approver: home}, want: Confirm},
		{name: "allow elsewhere", rules: DeviceRules{OtherNetwork: Allow}, facts: DeviceFacts{Approver: office}, want: Allow},
		{name: "narrow", rules: DeviceRules{OtherNetwork: Narrow, NarrowTo: []string{"read"}}, facts: DeviceFacts{Approver: office}, want: Confirm, scope: []string{"read"}},
		{name: "narrow, confirmed", rules: DeviceRules{OtherNetwork: Narrow, NarrowTo: []string{"read"}}, facts: DeviceFacts{Approver: office, Confirmed: true}, want: Allow, scope: []string{"read"}},
		{name: "narrow, signed", rules: DeviceRules{OtherNetwork: Narrow, NarrowTo: []string{"read"}}, facts: DeviceFacts{Approver: office, Installation: true}, want: Allow, scope: []string{"read"}},
		{name: "narrow to nothing", rules: DeviceRules{OtherNetwork: Narrow, NarrowTo: []string{"other"}}, facts: DeviceFacts{Approver: office, Confirmed: true}, want: Refuse, scope: []string{}},
		{name: "narrow, here", rules: DeviceRules{OtherNetwork: Narrow, NarrowTo: []string{"read"}}, facts: DeviceFacts{Approver: home}, want: Allow},
		{name: "sign in again", rules: DeviceRules{OtherNetwork: SignInAgain}, facts: DeviceFacts{Approver: office, Confirmed: true, AskedAt: at, AuthTime: at.Add(-1)}, want: SignInAgain},
		{name: "signed in again", rules: DeviceRules{OtherNetwork: SignInAgain}, facts: DeviceFacts{Approver: office, AskedAt: at, AuthTime: at}, want: Confirm},
		{name: "signed in again, confirmed", rules: DeviceRules{OtherNetwork: SignInAgain}, facts: DeviceFacts{Approver: office, Confirmed: true, AskedAt: at, AuthTime: at}, want: Allow},
		{name: "sign in again, signed", rules: DeviceRules{OtherNetwork: SignInAgain}, facts: DeviceFacts{Approver: office, Installation: true, AskedAt: at, AuthTime: at.Add(-1)}, want: SignInAgain},
		{name: "trusted", rules: DeviceRules{OtherNetwork: Trusted}, facts: DeviceFacts{Approver: office, Confirmed: true}, want: Trusted},
		{name: "trusted, signed", rules: DeviceRules{OtherNetwork: Trusted}, facts: DeviceFacts{Approver: office, Installation: true}, want: Allow},
		{name: "refuse", rules: DeviceRules{OtherNetwork: Refuse}, facts: DeviceFacts{Approver: office, Confirmed: true, Installation: true}, want: Refuse},
		{name: "refuse elsewhere, here", rules: DeviceRules{OtherNetwork: Refuse}, facts: DeviceFacts{Approver: home}, want: Allow},
		{name: "refuse here", rules: DeviceRules{SameNetwork: Refuse}, facts: DeviceFacts{Approver: home}, want: Refuse},
		{name: "a word that is none", rules: DeviceRules{OtherNetwork: "alow"}, facts: DeviceFacts{Approver: office, Confirmed: true}, want: Refuse},
	} {
		c.facts.Device, c.facts.Scope = home, both
		if c.name == "default, nobody can tell" {
			c.facts.Device = ""
		}
		if c.scope == nil {
			c.scope = both
		}
		got := Device(c.rules, c.facts)
		if got.Action != c.want || len(got.Scope) != len(c.scope) || !slices.Equal(got.Scope, c.scope) && len(c.scope) > 0 {
			t.Errorf("%s: %+v, want %s %v", c.name, got, c.want, c.scope)
		}
	}
}

// TestDeviceNeverGivesMore: whatever the rules and the facts, a verdict widens
// nothing, and Allow is reached over a boundary between networks only by who
// confirmed, signed, or has a rule that says so.
func TestDeviceNeverGivesMore(t *testing.T) {
	address := rapid.SampledFrom([]string{"", "x", "10.1.2.3", "10.1.2.9", "10.1.3.3", "198.51.100.7", "198.51.100.8", "::1", "127.0.0.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"})
	action := rapid.SampledFrom(append(Actions(), "", "nonsense"))
	scopes := rapid.SliceOf(rapid.SampledFrom([]string{"read", "write", "delete"}))
	rapid.Check(t, func(t *rapid.T) {
		r := DeviceRules{SameNetwork: action.Draw(t, "same"), OtherNetwork: action.Draw(t, "other"), NarrowTo: scopes.Draw(t, "to"), Grant: time.Hour}
		f := DeviceFacts{
			Device: address.Draw(t, "device"), Approver: address.Draw(t, "approver"), Scope: scopes.Draw(t, "scope"),
			Installation: rapid.Bool().Draw(t, "installation"), Confirmed: rapid.Bool().Draw(t, "confirmed"),
			AskedAt: at, AuthTime: at.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "auth"))),
		}
		v := Device(r, f)
		rule := r.SameNetwork
		if v.Elsewhere {
			rule = r.OtherNetwork
		}
		for _, s := range v.Scope {
			if !slices.Contains(f.Scope, s) || rule == Narrow && !slices.Contains(r.NarrowTo, s) {
				t.Fatalf("%s was not to be had", s)
			}
		}
		if v.Elsewhere != !SameNetwork(f.Approver, f.Device) || v.Grant != r.Grant {
			t.Fatal("networks are of two kinds, seen from either side, and a grant has its bound")
		}
		if v.Action != Allow {
			return
		}
		switch {
		case len(v.Scope) == 0, rule == Refuse, rule == "nonsense":
			t.Fatalf("allowed by %q", rule)
		case rule == Trusted && !f.Installation:
			t.Fatal("allowed without an installation that is trusted")
		case rule == SignInAgain && f.AuthTime.Before(f.AskedAt):
			t.Fatal("allowed by an old sign-in")
		case v.Elsewhere && rule != Allow && !f.Confirmed && !f.Installation:
			t.Fatal("allowed from another network at the first click")
		}
	})
}

func TestSameNetwork(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"198.51.100.7", "198.51.100.7", true},
		{"198.51.100.7", "198.51.100.8", false}, // a neighbour at the same provider is a stranger
		{"192.168.1.7", "192.168.1.200", true},
		{"192.168.1.7", "192.168.2.7", false},
		{"10.0.0.1", "192.168.0.1", false},
		{"169.254.3.4", "169.254.3.9", true},
		{"2001:db8:1:2::7", "2001:db8:1:2:ffff::1", true},
		{"2001:db8:1:2::7", "2001:db8:1:3::7", false},
		{"::ffff:198.51.100.7", "198.51.100.7", true},
		{"127.0.0.1", "::1", true},
		{"127.0.0.1", "127.8.9.1", true},
		{"127.0.0.1", "198.51.100.7", false},
		{"198.51.100.7", "2001:db8::7", false},
		{"", "", false},
		{"invalid IP", "invalid IP", false},
	} {
		if got := SameNetwork(c.a, c.b); got != c.want {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
	}
}
