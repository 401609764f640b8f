// Package id makes the identifiers of everything that is named in a database,
// an audit record or a page: a type prefix, an underscore and 26 characters of
// Crockford's base 32 (a ULID: 48 bits of milliseconds, 80 random bits).
//
// They sort by the time they were made, say what they name, and are no
// secrets: nothing is ever granted to somebody because he knows an id.
package id

import (
	"errors"
	"strings"
	"time"
)

// Prefix is the type of what an id names.
type Prefix string

// The closed list of prefixes. A new one is a decision (ADR 0001).
const (
	Request      Prefix = "req" // authorization request (RFC 9126)
	Device       Prefix = "dev" // device authorization (RFC 8628)
	Grant        Prefix = "grt" // grant
	Installation Prefix = "ins" // one agent on one machine
	Session      Prefix = "ses" // browser session
	Account      Prefix = "acc" // local account; the `sub` of tokens
	TokenID      Prefix = "jti" // a token's jti
	Key          Prefix = "key" // a signing key's kid
	Decoy        Prefix = "dcy" // a decoy that was planted
	Client       Prefix = "cli" // a client that registered itself; its client_id
)

// ErrMalformed is returned for a string that is no id of the asked type.
var ErrMalformed = errors.New("id: malformed")

const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// Raw is an id's 16 bytes without its prefix: big-endian milliseconds since
// 1970 in the first six, randomness in the rest.
type Raw [16]byte

// NewRaw joins the time (milliseconds are kept) and ten random bytes.
func NewRaw(now time.Time, random [10]byte) Raw {
	var r Raw
	ms := uint64(now.UnixMilli())
	for i := range 6 {
		r[i] = byte(ms >> (40 - 8*i))
	}
	copy(r[6:], random[:])
	return r
}

// New makes an id of type p at time now.
func New(p Prefix, now time.Time, random [10]byte) string {
	return NewRaw(now, random).String(p)
}

// String renders the raw id with its prefix.
func (r Raw) String(p Prefix) string {
	out := make([]byte, 0, len(p)+27)
	out = append(out, p...)
	out = append(out, '_')
	// 128 bits in 26 characters of 5 bits: the first character holds 3.
	var acc uint32
	bits := uint(2) // two leading zero bits
	for _, b := range r {
		acc = acc<<8 | uint32(b)
		bits += 8
		for bits >= 5 {
			bits -= 5
			out = append(out, alphabet[acc>>bits&31])
		}
	}
	return string(out)
}

// Parse checks that s is an id of type p and gives its bytes.
func Parse(p Prefix, s string) (Raw, error) {
	var r Raw
	body, ok := strings.CutPrefix(s, string(p)+"_")
	if !ok || len(body) != 26 {
		return r, ErrMalformed
	}
	var acc uint64
	var bits uint
	n := 0
	for i := range len(body) {
		v := strings.IndexByte(alphabet, body[i])
		if v < 0 || (i == 0 && v > 7) {
			return r, ErrMalformed
		}
		if i == 0 {
			acc, bits = uint64(v), 3
			continue
		}
		acc = acc<<5 | uint64(v)
		bits += 5
		if bits >= 8 {
			bits -= 8
			r[n] = byte(acc >> bits)
			n++
		}
	}
	return r, nil
}

// Time is the moment the id was made, to the millisecond.
func (r Raw) Time() time.Time {
	var ms uint64
	for i := range 6 {
		ms = ms<<8 | uint64(r[i])
	}
	return time.UnixMilli(int64(ms)).UTC()
}
