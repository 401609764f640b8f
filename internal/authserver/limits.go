package authserver

import (
	"time"

	"github.com/keytether/keytether/internal/oauth"
)

// Bounds of what is kept in memory.
const (
	// maxPending authorization requests that nobody has opened, of about 2 KiB.
	maxPending = 50_000

	// maxProofs is how many DPoP proofs are remembered, of about 100 bytes.
	maxProofs = 1 << 20

	// maxHeaders is how many proof keys are kept parsed, of at most 2 KiB.
	maxHeaders = 1 << 14

	// maxAssertions is how many client assertions are remembered.
	maxAssertions = 1 << 16

	// assertionLife is how far ahead a client assertion's exp may be (RFC 7523
	// §3: "may reject with an unreasonably far exp").
	assertionLife = 10 * time.Minute

	// leeway between our clock and that of a client that signs assertions.
	leeway = 60 * time.Second

	// feedQueue is how many revocations a slow reader of the feed may be behind
	// before it is sent away to begin again with a snapshot.
	feedQueue = 4096

	// revokeBatch is how many grants are revoked in one transaction.
	revokeBatch = 500

	// maxDevices device authorizations wait for a person at once, of less than
	// 400 bytes each in memory: limits by address do not hold who has many.
	maxDevices = 2_000_000

	// maxWaiting polls are held open for their decision at once; others are
	// answered authorization_pending and come again (Prefer: wait).
	maxWaiting = 20_000

	// maxRegistered clients that registered themselves, of at most 25 KiB and
	// mostly 1, and maxRegisteredByOne with one initial access token: whoever
	// has that must not fill the room of others.
	maxRegistered      = 5_000
	maxRegisteredByOne = 1_000

	// MaxWait is how long one poll is held open.
	MaxWait = oauth.DeviceWait * time.Second
)
