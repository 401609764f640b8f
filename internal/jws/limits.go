package jws

// Every bound of this package, each with its reason.
const (
	// MaxCompact is the longest compact JWS that is looked at, in bytes. Our
	// access tokens stay below 1 KiB; HTTP servers commonly cap a header at 8 KiB.
	MaxCompact = 8 << 10
	// maxHeaderPart bounds the base64url of a JOSE header: a 4096-bit RSA JWK
	// takes 950 bytes of it.
	maxHeaderPart = 2 << 10
	// MaxJWK bounds one JWK, MaxJWKS a key set document.
	MaxJWK  = 4 << 10
	MaxJWKS = 64 << 10
	// maxKeys bounds the keys of a set: some old, one in use, one to come.
	maxKeys = 64
	// maxKeyID and maxType bound "kid" and "typ"; both end up in lookups and errors.
	maxKeyID = 256
	maxType  = 64
	// maxMembers bounds a JSON object; it keeps the search for duplicates cheap.
	maxMembers = 64
	// maxDepth bounds nesting: "act" within "act" is the deepest thing we know.
	maxDepth = 16
	// RSA moduli: below 2048 bits is weak (RFC 7518 §3.3), above 4096 lets a
	// stranger's key cost us too much.
	minRSABits = 2048
	maxRSABits = 4096
)
