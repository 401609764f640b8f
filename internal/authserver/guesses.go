package authserver

import (
	"sync"
	"time"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/secret"
)

// Wrong user codes are counted in windows of this length.
const guessWindow = grant.UserCodeLife

// How many wrong user codes are taken in a window.
const (
	guessesPerSession = 5  // a person mistypes, and reads the code again
	guessesPerAddress = 30 // an office shares an address

	// guessOdds bounds, for everybody together, the odds that any code is hit in
	// a window: attempts × outstanding / 20^8 (RFC 8628 §5.1).
	guessOdds = 1e-4

	guessesAtLeast = 50       // for everybody together, however many codes are out
	maxGuessers    = 1 << 16  // sessions and addresses that are counted
	maxGuesses     = 20 << 10 // for everybody together, however few codes are out
)

// guesses counts wrong user codes per browser session, per address and in all.
type guesses struct {
	mu    sync.Mutex
	begun time.Time
	by    map[string]int
	all   int
}

func newGuesses() *guesses { return &guesses{by: make(map[string]int)} }

// budget is how many wrong codes everybody together may try while so many are
// outstanding.
func budget(outstanding int) int {
	n := int(guessOdds * secret.UserCodes / float64(max(outstanding, 1)))
	return min(max(n, guessesAtLeast), maxGuesses)
}

// blocked says how long this browser must wait; zero: not at all.
func (g *guesses) blocked(b Browser, now time.Time, outstanding int) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn(now)
	if g.by[sessionKey(b)] >= guessesPerSession || g.by[b.Address] >= guessesPerAddress ||
		g.all >= budget(outstanding) || len(g.by) >= maxGuessers {
		return g.begun.Add(guessWindow).Sub(now)
	}
	return 0
}

// wrong counts a wrong code.
func (g *guesses) wrong(b Browser, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn(now)
	g.by[sessionKey(b)]++
	g.by[b.Address]++
	g.all++
}

// turn begins a new window when the old one is over.
func (g *guesses) turn(now time.Time) {
	if now.Sub(g.begun) >= guessWindow || now.Before(g.begun) {
		g.begun, g.all = now, 0
		clear(g.by)
	}
}

func sessionKey(b Browser) string { return "session " + b.Session.Hash().Base64() }
