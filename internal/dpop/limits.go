package dpop

import "time"

// Every bound of this package, each with its reason.
const (
	// maxProof is the longest proof that is looked at, in bytes: a P-256 key, a URL
	// of 2 KiB and a nonce fit.
	maxProof = 4 << 10
	// maxJTI keeps the identifier a thing to remember; UUIDs and 256-bit strings fit.
	maxJTI = 256
	// maxNonce is more than any nonce of ours; other servers' may be longer.
	maxNonce = 512
	// maxURL bounds htu after its query is cut off.
	maxURL = 2 << 10
	// nonceSkew is how far ahead another server of the tenant may date its nonces.
	nonceSkew = 5 * time.Second
	// replayShards spreads the lock of the replay cache.
	replayShards = 16
)

// NonceWindow is how long a nonce is accepted: RFC 9449 §8.2 wants them short, and
// a client that makes its proof just before sending needs no more.
const NonceWindow = 60 * time.Second
