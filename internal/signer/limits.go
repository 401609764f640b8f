package signer

import "time"

// How long keys wait and stay, each with its reason.
const (
	// JWKSMaxAge is the max-age to serve the JWKS with: relying parties that
	// honour it see a new key long before it signs.
	JWKSMaxAge = 15 * time.Minute

	// PublishLead is how long a new key is published before it signs. It is
	// four times JWKSMaxAge, for caches in between and for the other servers of
	// a tenant, which read the keys anew at least every ReloadEvery.
	PublishLead = time.Hour

	// ReloadEvery is how often a server must read its keys from the store, so
	// that a rotation by command reaches it in good time.
	ReloadEvery = 5 * time.Minute

	// KeepPublished is how long a retired signing key stays in the JWKS. It must
	// exceed the longest life of an access or ID token (15 minutes) and a clock
	// that is wrong by a few minutes.
	KeepPublished = time.Hour

	// KeepRefresh is how long a former key still recognises refresh tokens: the
	// longest life of a grant, and a day.
	KeepRefresh = 31 * 24 * time.Hour

	// KeepCSRF: a form may stand open in a browser for as long as its session.
	KeepCSRF = 9 * time.Hour

	// KeepNote is how long a former audit key co-signs checkpoints, so that an
	// auditor who holds only the old key sees the new one vouched for.
	KeepNote = 30 * 24 * time.Hour
)

func keep(use Use) time.Duration {
	switch use {
	case RefreshMAC:
		return KeepRefresh
	case CSRF:
		return KeepCSRF
	case AuditNote:
		return KeepNote
	default:
		return KeepPublished
	}
}

// rsaBits: 2048 is what every relying party can check; the key rotates.
const rsaBits = 2048

// maxRootFile bounds what is read from a root key file, in bytes.
const maxRootFile = 4 << 10
