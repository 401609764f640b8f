package grant

import (
	"testing"
	"time"
)

// TestTripRules judges each rule by each case.
//
// Invariant: TW-3
func TestTripRules(t *testing.T) {
	now := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	first := TripFacts{Kind: TripWrongKey}
	again := TripFacts{Kind: TripWrongKey, Before: now.Add(-TripWindow)}
	late := TripFacts{Kind: TripWrongKey, Before: now.Add(-TripWindow - time.Second)}
	elsewhere := TripFacts{Kind: TripWrongKey, Elsewhere: true}
	bearer := TripFacts{Kind: TripBearer, Before: now, Elsewhere: true}
	for rule, want := range map[TripRule][5]bool{
		TripNever:        {},
		TripRepetition:   {false, true, false, false, false},
		"":               {false, true, false, false, false},
		"nonsense":       {false, true, false, false, false},
		TripOtherNetwork: {false, true, false, true, false},
		TripAlways:       {true, true, true, true, true},
	} {
		for i, f := range []TripFacts{first, again, late, elsewhere, bearer} {
			if got := rule.Revokes(f, now); got != want[i] {
				t.Errorf("%q %+v: %v", rule, f, got)
			}
		}
	}
}
