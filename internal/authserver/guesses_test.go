package authserver

import (
	"testing"

	"github.com/keytether/keytether/internal/secret"
)

// TestGuessBudget does the arithmetic of RFC 8628 §5.1 at many outstanding codes
// at once: attempts × outstanding / 20^8 are the odds that any of them is hit in a
// window. They stay under 1 in 10,000 to 51,200 codes; above that a floor keeps
// people's mistakes possible, and at a million they are 1 in 500.
//
// Invariant: DF-12b
func TestGuessBudget(t *testing.T) {
	before := maxGuesses + 1
	for outstanding, worst := range map[int]float64{
		0: 1e-4, 1: 1e-4, 124: 1e-4, 125: 1e-4, 126: 1e-4, 1_000: 1e-4, 30_000: 1e-4, 51_200: 1e-4, 51_201: 1.01e-4, 1_000_000: 1.0 / 500,
	} {
		n := budget(outstanding)
		if odds := float64(n) * float64(outstanding) / secret.UserCodes; odds > worst {
			t.Errorf("%d outstanding codes and %d attempts: the odds are %g", outstanding, n, odds)
		}
		if n < guessesAtLeast || n > maxGuesses {
			t.Errorf("%d outstanding codes: %d attempts", outstanding, n)
		}
	}
	for outstanding := 1; outstanding < 1<<22; outstanding = outstanding*3/2 + 1 {
		n := budget(outstanding)
		if n > before {
			t.Errorf("%d outstanding codes get more attempts than fewer did: %d", outstanding, n)
		}
		before = n
	}
}
