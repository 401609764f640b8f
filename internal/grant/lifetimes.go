package grant

import "time"

// Lifetimes of everything the server issues, with the reason of each. Nothing
// else in the repository decides how long something lives.
const (
	// RequestURILife: a link may be printed and opened late. It counts until a
	// person uses it, not until a browser fetches it: reloads, prefetches and
	// link scanners also fetch. This is what the client is told (RFC 9126 §2.2).
	RequestURILife = 10 * time.Minute

	// RequestURIGrace is how much longer it is taken: a company's portal before
	// our first page may use up what the link had left, and the person behind it
	// did nothing wrong.
	RequestURIGrace = 5 * time.Minute

	// SignInLife: SSO portals and second factors are slow. The request may be
	// slow; the code may not.
	SignInLife = 15 * time.Minute

	// CodeLife: a code is redeemed by a process on the person's machine.
	CodeLife = 30 * time.Second

	// HandshakeLife: the loopback answer is made by a process on the machine
	// of the browser, so that seconds suffice; a person who carries it by hand
	// needs longer.
	HandshakeLife = 3 * time.Second

	// AccessTokenLife: a copy is stale before it is useful.
	AccessTokenLife = 5 * time.Minute

	// RefreshIdleLife and GrantLife: a working day.
	RefreshIdleLife = 8 * time.Hour
	GrantLife       = 24 * time.Hour

	// IDTokenLife: it says who signed in, once, to the client that asked.
	IDTokenLife = 5 * time.Minute

	// SupersededGrace: a late repeat of a refresh request by the same key (a
	// retry that was under way when its answer came) is no theft.
	SupersededGrace = 30 * time.Second

	// TripWindow: whoever uses copies of two tokens of a grant within it gets at
	// them as they are issued (an access token lives AccessTokenLife).
	TripWindow = 10 * time.Minute

	// TripBearerPause: a gateway that drops proofs makes every request look like
	// a copy. One token of a grant ends in this time, and one record is made.
	TripBearerPause = time.Minute

	// DecoyLife: a decoy is looked for as long as a stolen copy of a disk may lie
	// about before somebody tries what is on it.
	DecoyLife = 365 * 24 * time.Hour

	// ProofLife: a DPoP proof without a server nonce.
	ProofLife = 60 * time.Second

	// NonceLife: how old a server's DPoP nonce may be. The proof's age is its
	// nonce's age, because a laptop's clock may be wrong by an hour.
	NonceLife = 60 * time.Second

	// UserCodeLife is the time to type a user code: the seed of phishing is a
	// long-lived code (RFC 8628 §5.4, RFC 10027).
	UserCodeLife = 5 * time.Minute

	// DeviceCodeLife is the whole device authorization's: after the code is
	// typed the portal may be slow.
	DeviceCodeLife = 20 * time.Minute

	// SessionLife: the browser's cookie at the server. Signing in again is
	// cheap; a forgotten session on a shared browser is not.
	SessionLife = 8 * time.Hour
)

// Lifetimes is what a grant takes with it when it is made, so that a changed
// default does not lengthen what a person has consented to.
type Lifetimes struct {
	Access time.Duration // of each access token
	Idle   time.Duration // between two refreshes
	Grant  time.Duration // of the whole grant
}

// DefaultLifetimes are those of a client that has none of its own.
func DefaultLifetimes() Lifetimes {
	return Lifetimes{Access: AccessTokenLife, Idle: RefreshIdleLife, Grant: GrantLife}
}

// How polls are paced (RFC 8628 §3.5).
const (
	// PollInterval is offered when the server has little to do.
	PollInterval = 5 * time.Second

	// SlowDownStep is what slow_down adds, for good.
	SlowDownStep = 5 * time.Second

	// MaxPollInterval is where slow_down ends, unless more was offered.
	MaxPollInterval = 60 * time.Second

	// PollJitter is forgiven: timers and networks are not exact.
	PollJitter = time.Second

	// PollsPerSecond is what all pending tools together are let poll. One core
	// answers several times as many (make bench).
	PollsPerSecond = 2000

	// MaxOfferedInterval: a person who has pressed Allow waits that long at most,
	// under a load of more than half a million waiting tools. Tools that wait in
	// one request (Prefer: wait) hear at once all the same.
	MaxOfferedInterval = 5 * time.Minute

	// MaxRefusedPolls in a row are answered slow_down; a tool that goes on is
	// denied. A conforming one waits at least the interval after the first.
	MaxRefusedPolls = 20
)
