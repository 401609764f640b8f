package config

import "time"

// Bounds of a config, each with its reason.
const (
	// The longest lifetimes that a client may be given. MaxAccess: a copied
	// token must be stale soon, and signer.KeepPublished is built on it.
	// MaxIdle: unused consent is withdrawn after a week. MaxGrant: nobody
	// remembers for longer what he allowed.
	MaxAccess = 15 * time.Minute
	MaxIdle   = 7 * 24 * time.Hour
	MaxGrant  = 30 * 24 * time.Hour
	// MinAccess: shorter ones would be renewed all the time, and clocks differ.
	MinAccess = 30 * time.Second

	// 32 random hexadecimal digits are 128 bits. The longest fits a Basic header.
	minClientSecret = 32
	maxClientSecret = 512

	maxFile    = 256 << 10 // a thousand clients fit
	maxSecret  = 64 << 10  // a password, secret or JWKS file
	maxNesting = 200       // of brackets and list marks, a ruler of dashes fits; the YAML reader's time grows with its square
	maxEntries = 2000      // of one list
	maxName    = 100       // characters, shown on the consent page
	maxWords   = 200       // characters, one line of the consent page
	maxID      = 200       // bytes of a client id
	maxScope   = 100       // bytes of a scope's name
	maxURI     = 2000      // bytes
	maxShown   = 60        // characters of a wrong value repeated in an error
)
