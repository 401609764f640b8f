// Package secret holds the types of what must not be seen: a string that
// redacts itself in every way Go can print it, and the formats of the secrets
// that Keytether mints (refresh tokens, codes, device codes, request handles).
//
// Every minted secret says its type in its first four characters and ends in a
// checksum, so that a scanner knows one at sight and drops look-alikes.
// At rest only a Hash is kept.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Redacted is what a Value shows of itself.
const Redacted = "[redacted]"

// Value is a secret string. It redacts itself in String, Format, MarshalJSON,
// MarshalText and LogValue, and cannot be compared with == (the compiler
// refuses). Only Reveal gives it away.
type Value struct {
	_ [0]func()
	s string
}

// New wraps s.
func New(s string) Value { return Value{s: s} }

// Reveal gives the secret itself, to be written to where it is meant for.
func (v Value) Reveal() string { return v.s }

// IsZero reports whether there is no secret at all.
func (v Value) IsZero() bool { return v.s == "" }

// Equal compares in constant time.
func (v Value) Equal(o Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.s), []byte(o.s)) == 1
}

// String redacts.
func (v Value) String() string { return Redacted }

// GoString redacts.
func (v Value) GoString() string { return Redacted }

// Format redacts for every verb.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// MarshalJSON redacts.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// MarshalText redacts.
func (v Value) MarshalText() ([]byte, error) { return []byte(Redacted), nil }

// LogValue redacts.
func (v Value) LogValue() slog.Value { return slog.StringValue(Redacted) }

// Hash is what is kept of a secret at rest: SHA-256 under a domain of its own.
// The secrets have 256 random bits, so a plain hash suffices.
type Hash [sha256.Size]byte

const hashDomain = "keytether/secret/v1\x00"

// Hash computes the value's hash.
func (v Value) Hash() Hash {
	h := sha256.New()
	_, _ = io.WriteString(h, hashDomain)
	_, _ = io.WriteString(h, v.s)
	var out Hash
	h.Sum(out[:0])
	return out
}

// ParseHash reads what Base64 wrote, or ErrMalformed.
func ParseHash(s string) (Hash, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != sha256.Size || strings.ContainsAny(s, "\r\n") {
		return Hash{}, ErrMalformed
	}
	return Hash(b), nil
}

// IsZero reports whether the hash is unset.
func (h Hash) IsZero() bool { return h == Hash{} }

// Equal compares in constant time.
func (h Hash) Equal(o Hash) bool { return subtle.ConstantTimeCompare(h[:], o[:]) == 1 }

// String shows the first eight bytes, enough to tell two apart.
func (h Hash) String() string { return hex.EncodeToString(h[:8]) }

// Base64 is the whole hash in base64url without padding.
func (h Hash) Base64() string { return base64.RawURLEncoding.EncodeToString(h[:]) }

// Key is a symmetric key of the server (for nonces, refresh tags, CSRF). It
// redacts itself like Value.
type Key struct {
	_ [0]func()
	b [32]byte
}

// NewKey copies b.
func NewKey(b [32]byte) Key { return Key{b: b} }

// Bytes gives the key itself.
func (k Key) Bytes() []byte { return k.b[:] }

// IsZero reports whether the key is unset.
func (k Key) IsZero() bool { return k.b == [32]byte{} }

// String redacts.
func (k Key) String() string { return Redacted }

// GoString redacts.
func (k Key) GoString() string { return Redacted }

// Format redacts for every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// MarshalJSON redacts.
func (k Key) MarshalJSON() ([]byte, error) { return []byte(`"` + Redacted + `"`), nil }

// LogValue redacts.
func (k Key) LogValue() slog.Value { return slog.StringValue(Redacted) }
