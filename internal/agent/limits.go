package agent

import "time"

// Every bound of this package, each with its reason.
const (
	// loginTime is what a person has from the link to the end: SSO portals and
	// second factors are slow. The server gives sign-in and consent as long.
	loginTime = 15 * time.Minute

	// deviceTime bounds a device login, whatever the server says of its code.
	deviceTime = 30 * time.Minute

	// fallTime is how long a browser may be away before a device code is offered
	// beside it. Something between may swallow its answer (a proxy, a sign-in
	// portal, a browser that opens https alone); a person who is merely slow loses
	// nothing.
	fallTime = time.Minute

	// endTime is how long a login that was called off may take to end, and the agent
	// all it left: a person who allowed it in the last moment has 30 s of exchange,
	// the cancelling call 5 s. After that something hangs (a store, a TPM), and
	// nobody waits for it.
	endTime = 40 * time.Second

	// maxLogins run at once; each holds a listener, and nobody has more browsers.
	maxLogins = 8

	// waitingEvery is how often a login's stream says that it lives.
	waitingEvery = 15 * time.Second

	// idleTime is how long an agent without grants stays up for the next command.
	idleTime = 30 * time.Minute

	// renewMin and renewPart: a token is renewed when less than the greater of
	// 30 s and a fifth of its life is left, behind the caller's back.
	renewMin  = 30 * time.Second
	renewPart = 5

	// nearEnd: a token with less left is not handed out any more, for it would
	// die on the way; of a very short life a fifth.
	nearEnd = 10 * time.Second

	// renewTime bounds one renewal, retries of the transport included.
	renewTime = 40 * time.Second

	// retryAfter is how long a renewal that failed behind a caller's back is not
	// tried again, so that a busy caller does not knock at a dead server.
	retryAfter = 5 * time.Second

	// revokeTime bounds what a person waits at a logout without network.
	revokeTime = 8 * time.Second

	// clockDoubt is how wrong this machine's clock may be: one that two systems keep in different
	// time zones is off by up to 14 h until the network sets it.
	clockDoubt = 24 * time.Hour

	// maxCached bounds the access tokens per profile: one per scope in use.
	maxCached = 64

	// maxProfiles bounds the profiles, and so what a caller can make us hold.
	maxProfiles = 128

	// wrongWait is how long no passphrase is looked at after a wrong one.
	wrongWait = time.Second

	// unlockTime bounds the opening of a store with a passphrase: scrypt takes a second of a
	// machine that is not busy.
	unlockTime = 30 * time.Second

	// maxLog is when the log file is turned over; one old one is kept.
	maxLog = 1 << 20

	// storeTime bounds one use of a store, opening included: the OS keychain gives up after 3 s.
	storeTime = 5 * time.Second

	// findEvery is how often a store that holds logins and could not be opened is
	// tried again while somebody asks for one of them.
	findEvery = 2 * time.Second

	// watchEvery is how soon the end of a session is noticed.
	watchEvery = 2 * time.Second

	// sleptMin: a shorter suspension is none; clocks are read one after the other.
	sleptMin = time.Second

	// stopTime bounds what answers have to go out when the agent ends.
	stopTime = 2 * time.Second
)
