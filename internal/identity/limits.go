package identity

import "time"

// Bounds of this package, each with its reason.
const (
	// MinPassword: NIST SP 800-63B-4 §3.1.1.2 asks for 8 as the least where a
	// password is one of several factors; config says 8, and length is all that
	// is asked. In characters.
	MinPassword = 8
	// MaxPassword bounds what is hashed, in bytes; a passphrase fits many times.
	MaxPassword = 1024
	// MaxEmail is what fits into SMTP's path (RFC 5321 §4.5.3.1.3), maxLocal
	// §4.5.3.1.1.
	MaxEmail = 254
	maxLocal = 64

	// Argon2id: OWASP Password Storage Cheat Sheet's 19 MiB, 2 passes, 1 lane is
	// the least; these are RFC 9106 §4's second choice with less memory, about
	// 60 ms on a laptop's core.
	argonMemory  = 46 * 1024 // KiB
	argonPasses  = 2
	argonLanes   = 1
	argonSaltLen = 16
	argonHashLen = 32

	// What is accepted in a stored hash. Less is no protection, more lets a
	// changed database stop the server.
	minMemory, maxMemory = 19 * 1024, 256 * 1024
	minPasses, maxPasses = 1, 10
	maxLanes             = 8
	minSalt, maxSalt     = 8, 64
	minHash, maxHash     = 16, 64
	maxPHC               = 256

	// HashesAtOnce: so many hashes of 46 MiB are computed at once; others wait
	// their turn. It is the memory that is bounded, not the sign-ins.
	HashesAtOnce = 4

	// Sign-in failures. freeFailures may be typing errors; each one after that
	// doubles the wait, from firstDelay to maxDelay. A stranger who never stops
	// keeps an account's wait at maxDelay; who signs in from where the account has
	// signed in within homeLife does not feel it. An address may be an office
	// behind one NAT, so that it has more tries.
	freeFailures        = 5
	freeAddressFailures = 30
	firstDelay          = 2 * time.Second
	maxDelay            = 5 * time.Minute
	// forgetAfter: failures are forgotten this long after the last one.
	forgetAfter = time.Hour
	homeLife    = 30 * 24 * time.Hour
	// maxTracked bounds the memory of the limiter: entries per kind, about 100
	// bytes each. When it is full the longest untouched one is forgotten.
	maxTracked = 50_000
)
