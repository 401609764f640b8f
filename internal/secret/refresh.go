package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"io"
)

// A refresh token's body is
//
//	grant's 16 id bytes | generation, uint32 big-endian | 32 secret bytes | 16 byte tag
//
// The tag is a MAC over all before it under a key of the server, so that an
// old generation is recognised although only hashes are kept, and neither a
// forged string nor a bare grant id can do anything to a grant (ADR 0003).
const (
	tagLen       = 16
	tagDomain    = "keytether/refresh-tag/v1\x00"
	derivDomain  = "keytether/refresh-successor/v1\x00"
	genOffset    = 16
	secretOffset = 20
	tagOffset    = refreshLen - tagLen
)

// RefreshHandle is what a genuine refresh token says of itself.
type RefreshHandle struct {
	Grant      [16]byte // the grant id's raw bytes
	Generation uint32   // 0 for the first of a family
}

// SealRefresh makes the refresh token of a grant's generation from 32 random
// (or derived) bytes.
func SealRefresh(key Key, tenant string, h RefreshHandle, random [32]byte) Value {
	var body [refreshLen]byte
	copy(body[:], h.Grant[:])
	binary.BigEndian.PutUint32(body[genOffset:], h.Generation)
	copy(body[secretOffset:], random[:])
	refreshTag(key, tenant, body[:tagOffset], body[tagOffset:])
	return mint(Refresh, body[:])
}

// OpenRefresh recognises a refresh token that this server minted for this
// tenant, of whatever generation. Anything else is ErrMalformed.
func OpenRefresh(key Key, tenant, s string) (RefreshHandle, error) {
	var h RefreshHandle
	body, err := Parse(Refresh, s)
	if err != nil {
		return h, err
	}
	var want [tagLen]byte
	refreshTag(key, tenant, body[:tagOffset], want[:])
	if subtle.ConstantTimeCompare(want[:], body[tagOffset:]) != 1 {
		return h, ErrMalformed
	}
	copy(h.Grant[:], body)
	h.Generation = binary.BigEndian.Uint32(body[genOffset:])
	return h, nil
}

func refreshTag(key Key, tenant string, signed, out []byte) {
	m := hmac.New(sha256.New, key.b[:])
	_, _ = io.WriteString(m, tagDomain)
	_, _ = io.WriteString(m, tenant)
	_, _ = m.Write([]byte{0})
	_, _ = m.Write(signed)
	var sum [sha256.Size]byte
	copy(out, m.Sum(sum[:0])[:tagLen])
}

// Salt makes a successor underivable once it is erased.
type Salt [16]byte

// IsZero reports whether the salt is unset or erased.
func (s Salt) IsZero() bool { return s == Salt{} }

// Successor derives the next generation of the presented token. The same token
// and salt give the same successor; without the salt nobody can derive it, not
// even who still holds the presented token.
func Successor(key Key, tenant string, presented Value, h RefreshHandle, salt Salt) Value {
	return derive(key, tenant, presented, RefreshHandle{Grant: h.Grant, Generation: h.Generation + 1}, salt)
}

// derive makes the refresh token of a handle from an earlier secret and a salt.
func derive(key Key, tenant string, from Value, next RefreshHandle, salt Salt) Value {
	m := hmac.New(sha256.New, []byte(from.s))
	_, _ = io.WriteString(m, derivDomain)
	_, _ = io.WriteString(m, tenant)
	_, _ = m.Write([]byte{0})
	_, _ = m.Write(next.Grant[:])
	_ = binary.Write(m, binary.BigEndian, next.Generation)
	_, _ = m.Write(salt[:])
	var random [sha256.Size]byte
	m.Sum(random[:0])
	return SealRefresh(key, tenant, next, random)
}
