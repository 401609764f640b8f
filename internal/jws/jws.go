// Package jws reads, checks and makes compact JSON Web Signatures (RFC 7515
// §7.1) with exactly three algorithms: ES256, RS256 and EdDSA with Ed25519.
//
// It is small because it sits on the hot path of every refresh and every API
// call, and strict because a JWS is the first thing an attacker writes: three
// parts, canonical base64url, no duplicate members, no "crit", no "none", no
// key that the message brings along. The one exception, the "jwk" of a DPoP
// proof, has a reader of its own, [ParseEmbedded].
//
// Reading a message proves nothing. Call [Message.Verify] (or
// [Message.VerifyEmbedded]) before believing a byte of it.
package jws

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// Errors. Every error of this package is one of these for errors.Is.
var (
	// ErrMalformed: not a compact JWS, JWK or JSON object as we accept them.
	ErrMalformed = errors.New("jws: malformed")
	// ErrAlgorithm: "alg" is missing, not one of ours, or does not fit the key.
	ErrAlgorithm = errors.New("jws: algorithm refused")
	// ErrHeader: the header holds a member that we refuse: crit, jku, x5u, x5c,
	// b64, or jwk where none is allowed (RFC 7515 §4.1).
	ErrHeader = errors.New("jws: header member refused")
	// ErrKey: a key that is not usable: unknown type or curve, point not on the
	// curve, RSA below 2048 bits.
	ErrKey = errors.New("jws: key refused")
	// ErrPrivateKey: private members where a public key belongs. It is also an ErrKey.
	ErrPrivateKey = fmt.Errorf("%w: private members in a public key", ErrKey)
	// ErrSignature: the signature is not that key's over this message.
	ErrSignature = errors.New("jws: signature does not verify")
)

// Algorithm is the "alg" of a JWS (RFC 7518 §3.1, RFC 8037 §3.1).
type Algorithm string

// The algorithms that exist here. There is no way to add one at run time.
const (
	ES256 Algorithm = "ES256" // ECDSA, P-256, SHA-256; signature is r||s, 64 bytes
	RS256 Algorithm = "RS256" // RSASSA-PKCS1-v1_5, SHA-256, modulus of 2048 to 4096 bits
	EdDSA Algorithm = "EdDSA" // Ed25519 only
)

// Header is the part of a JOSE header that we read.
type Header struct {
	Algorithm Algorithm
	KeyID     string     // "kid", may be empty; a name to look up, never a path or a query
	Type      string     // "typ", may be empty
	Key       *PublicKey // "jwk"; nil unless read by ParseEmbedded
}

// Message is a compact JWS that has been read and NOT been verified.
type Message struct {
	Header  Header
	Payload []byte

	input string // header and payload as they stood on the wire
	sig   []byte
	cache *HeaderCache
	fresh bool // the header is not in the cache yet
}

// b64 is base64url without padding, trailing bits must be zero. It still skips
// line breaks; decodePart refuses those by length.
var b64 = base64.RawURLEncoding.Strict()

// Parse reads a compact JWS whose key the caller looks up. A header with an
// embedded key or a pointer to one is refused with ErrHeader.
func Parse(compact string) (Message, error) {
	return parse(compact, false, nil)
}

// ParseEmbedded reads a compact JWS that must carry its public key in "jwk"
// (RFC 9449 §4.2). Such a signature proves only possession of that key: the
// caller must still compare the key with something it trusts.
// The cache may be nil.
func ParseEmbedded(compact string, cache *HeaderCache) (Message, error) {
	return parse(compact, true, cache)
}

func parse(compact string, embedded bool, cache *HeaderCache) (Message, error) {
	if len(compact) > MaxCompact {
		return Message{}, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxCompact)
	}
	first := strings.IndexByte(compact, '.')
	last := strings.LastIndexByte(compact, '.')
	if first < 0 || first == last || strings.IndexByte(compact[first+1:last], '.') >= 0 {
		return Message{}, fmt.Errorf("%w: a compact JWS has three parts", ErrMalformed)
	}
	head, body, tail := compact[:first], compact[first+1:last], compact[last+1:]
	if len(head) == 0 || len(head) > maxHeaderPart || len(tail) == 0 {
		return Message{}, fmt.Errorf("%w: header or signature of wrong size", ErrMalformed)
	}
	m := Message{input: compact[:last]}
	if embedded && cache != nil {
		m.cache = cache
		if h, ok := cache.get(head); ok {
			m.Header = h
		} else {
			m.fresh = true
		}
	}
	if m.Header.Algorithm == "" {
		raw, err := decodePart(nil, head)
		if err != nil {
			return Message{}, err
		}
		if m.Header, err = parseHeader(raw, embedded); err != nil {
			return Message{}, err
		}
	}
	buf := make([]byte, 0, b64.DecodedLen(len(body))+b64.DecodedLen(len(tail)))
	buf, err := decodePart(buf, body)
	if err != nil {
		return Message{}, err
	}
	n := len(buf)
	if buf, err = decodePart(buf, tail); err != nil {
		return Message{}, err
	}
	m.Payload, m.sig = buf[:n:n], buf[n:]
	return m, nil
}

// decodePart appends the decoded part to dst. Decoding skips line breaks, so a
// result shorter than the part's length says there was one.
func decodePart(dst []byte, part string) ([]byte, error) {
	want := b64.DecodedLen(len(part))
	n := len(dst)
	if cap(dst)-n < want {
		dst = append(make([]byte, 0, n+want), dst...)
	}
	got, err := b64.Decode(dst[n:n+want], []byte(part))
	if err != nil || got != want {
		return nil, fmt.Errorf("%w: not canonical base64url", ErrMalformed)
	}
	return dst[:n+want], nil
}

// Verify checks the signature with a key that the caller trusts. The key's own
// algorithm decides; a header that names another one is ErrAlgorithm.
func (m *Message) Verify(key *PublicKey) error {
	if key == nil {
		return fmt.Errorf("%w: no key", ErrKey)
	}
	if m.input == "" {
		return fmt.Errorf("%w: empty message", ErrMalformed)
	}
	if key.alg != m.Header.Algorithm {
		return fmt.Errorf("%w: the key is for %s", ErrAlgorithm, key.alg)
	}
	if !key.verify([]byte(m.input), m.sig) {
		return ErrSignature
	}
	return nil
}

// VerifyEmbedded checks the signature with the message's own key, for messages
// from [ParseEmbedded]. A header that verified is remembered by its cache.
func (m *Message) VerifyEmbedded() error {
	if err := m.Verify(m.Header.Key); err != nil {
		return err
	}
	if m.fresh {
		m.cache.put(m.input[:strings.IndexByte(m.input, '.')], m.Header)
	}
	return nil
}

// TypeIs reports whether a header's "typ" names the media type
// application/want: with or without that prefix, in any case (RFC 7515 §4.1.9).
func TypeIs(typ, want string) bool {
	const prefix = "application/"
	if len(typ) == len(prefix)+len(want) && strings.EqualFold(typ[:len(prefix)], prefix) {
		typ = typ[len(prefix):]
	}
	return len(typ) == len(want) && strings.EqualFold(typ, want)
}
