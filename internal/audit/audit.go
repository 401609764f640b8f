// Package audit is the form of the audit log: how a record becomes a leaf, how
// leaves become a Merkle tree (RFC 6962 hashing, golang.org/x/mod/sumdb/tlog),
// how the tree's head is signed (C2SP tlog-checkpoint and signed-note), how a
// log is written to a file, and how an auditor proves from that file alone
// that nothing was changed, dropped or reordered since a checkpoint he holds.
//
// # Leaf
//
// A leaf is a version byte (1) and one JSON object with its members in a fixed
// order, empty ones left out, without white space, escaping only `"` and `\`:
// one record has one encoding, in any language. Ids and protocol words stand
// in it as they are. What identifies a person (event.Facts) does not: the leaf
// holds under "commit", for each fact,
//
//	base64url(HMAC-SHA256(key, field name | 0x00 | value))
//
// with a random 32 byte key of that record alone. Key and facts form the
// Sidecar, kept beside the log. A sidecar proves its facts; without it nobody
// can tell what they were, and the log still verifies: dropping the sidecar is
// how a person is erased.
//
// # Log
//
// Leaf i is stored with the hashes that StoredHashes gives, beginning at index
// tlog.StoredHashIndex(0, i). Frontier computes roots from leaves in a stream.
//
// # Export
//
// Newline-delimited JSON: a Header, one line per leaf, each checkpoint right
// after the leaf that completes it, then the unsigned tail. See Writer.
package audit

import "errors"

// What a verifier can find. Every error of this package is one of these, with
// the place in words.
var (
	// ErrFormat: not an export, leaf, sidecar or checkpoint of a version that
	// we know, or not in its one spelling.
	ErrFormat = errors.New("audit: malformed")
	// ErrKey: the key is not one of those the auditor trusts, or is of another log.
	ErrKey = errors.New("audit: unknown key")
	// ErrSignature: a known key's signature does not verify.
	ErrSignature = errors.New("audit: bad signature")
	// ErrChanged: leaves or facts are not those that were signed.
	ErrChanged = errors.New("audit: changed after it was signed")
	// ErrDropped: there is less than was signed.
	ErrDropped = errors.New("audit: records are missing")
	// ErrReordered: leaves stand in another order than their numbers.
	ErrReordered = errors.New("audit: records are out of order")
	// ErrForked: the server signed this history, and another one before.
	ErrForked = errors.New("audit: two different histories were signed")
)
