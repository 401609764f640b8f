package authserver

import (
	"net/netip"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/secret"
)

// Wrong user codes are counted in windows of this length.
const guessWindow = grant.UserCodeLife

// How many wrong user codes are taken in a window.
const (
	guessesPerPerson  = 5  // a person mistypes, and reads the code again
	guessesPerNetwork = 30 // an office shares an address

	// guessOdds bounds, for everybody together, the odds that any code is hit in
	// a window: attempts × outstanding / 20^8 (RFC 8628 §5.1).
	guessOdds = 1e-4

	guessesAtLeast = 50       // for everybody together, however many codes are out
	maxGuesses     = 20 << 10 // for everybody together, however few codes are out
	maxGuessers    = 3 * maxGuesses
)

// guesser is who tries a user code. Who is signed in is counted by account
// alone: nobody else's guesses can keep them out.
type guesser struct {
	account string // acc_…; empty: nobody is signed in
	session grant.Hash
	network string
}

func newGuesser(account string, b Browser) guesser {
	g := guesser{account: account, network: customer(b.Address)}
	if !b.Session.IsZero() {
		g.session = grant.Hash(b.Session.Hash())
	}
	return g
}

// customer is what one customer of a provider has: an IPv4 address, or 64 bits
// of IPv6, so that nobody has more tries, or more room, for having more addresses.
func customer(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	if a = a.Unmap().WithZone(""); a.Is4() {
		return a.String()
	}
	p, err := a.Prefix(64)
	if err != nil {
		return ""
	}
	return p.String()
}

// guesses counts wrong user codes per person, per network and in all.
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

// begin counts a try before it is made, so that many at once are no way round
// the limits. What turned out right is given back with right. If the limits are
// reached, it says how long to wait, and whether to sign in is a way out.
func (g *guesses) begin(who guesser, now time.Time, outstanding int) (wait time.Duration, signIn bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn(now)
	left := g.begun.Add(guessWindow).Sub(now)
	switch {
	case g.by[who.person()] >= guessesPerPerson:
		return left, false
	case who.account != "":
	case g.by[who.network] >= guessesPerNetwork || g.all >= budget(outstanding) || len(g.by) >= maxGuessers:
		return left, true
	}
	g.add(who, 1)
	return 0, false
}

// right takes a try back: it was no guess.
func (g *guesses) right(who guesser, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.turn(now)
	if g.by[who.person()] > 0 {
		g.add(who, -1)
	}
}

func (g *guesses) add(who guesser, n int) {
	g.by[who.person()] += n
	g.all += n
	if who.account == "" {
		g.by[who.network] += n
	}
}

func (w guesser) person() string {
	if w.account != "" {
		return w.account
	}
	return "session " + string(w.session[:])
}

// turn begins a new window when the old one is over.
func (g *guesses) turn(now time.Time) {
	if now.Sub(g.begun) >= guessWindow || now.Before(g.begun) {
		g.begun, g.all = now, 0
		clear(g.by)
	}
}
