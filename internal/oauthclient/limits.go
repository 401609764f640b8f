package oauthclient

import "time"

// Every bound of this package, each with its reason.
const (
	// maxToken bounds one access or refresh token; HTTP servers commonly cap a
	// header line at 8 KiB, Active Directory's tokens come near 16.
	maxToken = 32 << 10

	// maxClientID bounds a client_id that a server made; URLs are the longest.
	maxClientID = 2048

	// maxOffset is the furthest that the server's clock is believed over ours:
	// a wrong time zone or a dead battery, not another year.
	maxOffset = 2 * time.Hour

	// minOffset below it our own clock is taken: Date has whole seconds and the
	// network takes time.
	minOffset = 5 * time.Second

	// idLeeway is how far clocks may be apart for an ID token that was just made.
	idLeeway = time.Minute

	// maxNonces is how often a person may press "Try again" in one login.
	maxNonces = 5

	// minNonce and maxNonce bound a handshake nonce in characters.
	minNonce, maxNonce = 43, 256

	// defaultLife is assumed for an access token without expires_in (RFC 6749
	// §5.1 only recommends it): short, so that it is renewed rather than refused.
	defaultLife = 5 * time.Minute

	// maxLife is the longest life that is believed; more would overflow clocks.
	maxLife = 400 * 24 * time.Hour

	// exchangeTime is how long the redemption of a code may take. The code itself
	// dies after 30 s at our server, a minute at others.
	exchangeTime = 30 * time.Second

	// linger is how long the listener stays up for the last page.
	linger = 2 * time.Second

	// bindTries is how often another port is tried when a free one on 127.0.0.1
	// is taken on ::1.
	bindTries = 16

	// readTime bounds how long a stray connection may hold the listener.
	readTime = 10 * time.Second

	// pollInterval is meant where the server names none (RFC 8628 §3.2).
	pollInterval = 5 * time.Second

	// slowDownStep is added to the interval at each slow_down (RFC 8628 §3.5).
	slowDownStep = 5 * time.Second

	// maxBackOff is where doubling ends: a person waits in front of it.
	maxBackOff = time.Minute

	// impatient is after how many lost answers in a row no answer is asked to be
	// kept back any more.
	impatient = 2

	// maxDeviceWait is the longest that an answer is asked to be kept back: package
	// outbound gives up after 30 s.
	maxDeviceWait = 25 * time.Second

	// cancelTime bounds telling the server that a login was called off.
	cancelTime = 5 * time.Second

	// maxUserCode bounds a user code in characters; somebody has to type it.
	maxUserCode = 64
)
