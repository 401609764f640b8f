package verify

import "time"

// Every bound of this package, each with its reason.
const (
	// leeway is how far the issuer's clock may be from ours: NTP keeps servers
	// within milliseconds, and a token lives minutes.
	leeway = 5 * time.Second

	// proofAge is how old iat may be in a proof without a nonce (RFC 9449 §11.1).
	proofAge = 60 * time.Second

	// maxProofs seen are remembered, of about 100 bytes: 15,000 a second, each for
	// 65 seconds. When it is full, requests are answered 503.
	maxProofs = 1 << 20

	// maxTokens verified are remembered, of about 1 KiB: one per client in five
	// minutes.
	maxTokens = 1 << 15

	// maxHeaders of proofs are kept parsed, of at most 2 KiB.
	maxHeaders = 1 << 14

	// maxAuthorization is the longest Authorization header that is looked at: a
	// token of jws.MaxCompact and its scheme.
	maxAuthorization = 8<<10 + 16

	// Keys are fetched again when the document's max-age is over, held within these
	// bounds: a removed key must go soon, and nobody is to be asked all the time.
	minKeyAge     = 30 * time.Second
	defaultKeyAge = 5 * time.Minute
	maxKeyAge     = time.Hour
	// refetchEvery is how often at most a kid that is not known asks for the keys:
	// anybody can invent one.
	refetchEvery = 30 * time.Second
	// keysTrusted is how long keys count that could not be fetched anew.
	keysTrusted = 24 * time.Hour

	// The feed is opened again after a pause that doubles from the first to the
	// last, each a random part of itself, so that a restarted issuer is not stormed.
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
	// connectTimeout is how long the feed may take to answer.
	connectTimeout = 10 * time.Second

	// assertionLife of a client assertion: it is used at once, and clocks differ.
	assertionLife = 60 * time.Second

	// retryAfter in seconds, beside a 503: the feed is back within one as a rule.
	retryAfter = "1"

	// maxReports of copied tokens wait to be sent, of at most 16 KiB; more are
	// dropped, for the copy will be used again.
	maxReports = 64
	// maxReported tokens are remembered, so that each is told of once.
	maxReported = 1 << 12

	// readyPoll is how often WaitReady looks.
	readyPoll = 10 * time.Millisecond
)
