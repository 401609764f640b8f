package jws

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"math/big"
)

// namedKey is one JWK with what a key set needs to know of it.
type namedKey struct {
	key *PublicKey
	kid string
}

// ParseJWK reads one public JWK (RFC 7517, RFC 7518 §6, RFC 8037 §2). Private or
// symmetric members are ErrPrivateKey; an unknown type or curve, a point off the
// curve, or "use", "key_ops" or "alg" for something else than our signature is ErrKey.
func ParseJWK(raw []byte) (*PublicKey, error) {
	k, err := parseJWK(raw)
	return k.key, err
}

type jwkMembers struct {
	kty, crv, x, y, n, e string
	kid, use, alg        string
	ops                  Value
	private              bool
}

func parseJWK(raw []byte) (namedKey, error) {
	if len(raw) > MaxJWK {
		return namedKey{}, fmt.Errorf("%w: JWK longer than %d bytes", ErrMalformed, MaxJWK)
	}
	var m jwkMembers
	err := EachMember(raw, func(name string, v Value) (err error) {
		switch name {
		case "kty":
			m.kty, err = v.Text()
		case "crv":
			m.crv, err = v.Text()
		case "x":
			m.x, err = v.Text()
		case "y":
			m.y, err = v.Text()
		case "n":
			m.n, err = v.Text()
		case "e":
			m.e, err = v.Text()
		case "kid":
			m.kid, err = v.boundedString(maxKeyID)
		case "use":
			m.use, err = v.Text()
		case "alg":
			m.alg, err = v.Text()
		case "key_ops":
			m.ops = v
		case "d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv":
			m.private = true
		}
		return err
	})
	if err != nil {
		return namedKey{}, err
	}
	if m.private {
		return namedKey{}, ErrPrivateKey
	}
	key, err := m.public()
	if err != nil {
		return namedKey{}, err
	}
	if m.use != "" && m.use != "sig" {
		return namedKey{}, fmt.Errorf("%w: use is not sig", ErrKey)
	}
	if m.alg != "" && m.alg != string(key.alg) {
		return namedKey{}, fmt.Errorf("%w: alg does not fit the key", ErrKey)
	}
	if err := checkKeyOps(m.ops); err != nil {
		return namedKey{}, err
	}
	return namedKey{key: key, kid: m.kid}, nil
}

func checkKeyOps(ops Value) error {
	if ops == nil {
		return nil
	}
	verify := false
	err := EachElement(ops, func(v Value) error {
		s, err := v.Text()
		verify = verify || s == "verify"
		return err
	})
	if err == nil && !verify {
		return fmt.Errorf("%w: key_ops without verify", ErrKey)
	}
	return err
}

func (m *jwkMembers) public() (*PublicKey, error) {
	switch {
	case m.kty == "EC" && m.crv == "P-256":
		var point [65]byte
		point[0] = 4 // uncompressed
		if !decodeFixed(point[1:33], m.x) || !decodeFixed(point[33:], m.y) {
			return nil, fmt.Errorf("%w: coordinate of wrong length", ErrKey)
		}
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point[:])
		if err != nil {
			return nil, fmt.Errorf("%w: point not on P-256", ErrKey)
		}
		return newES256(pub, point[1:]), nil
	case m.kty == "OKP" && m.crv == "Ed25519":
		point := make([]byte, ed25519.PublicKeySize)
		if !decodeFixed(point, m.x) {
			return nil, fmt.Errorf("%w: coordinate of wrong length", ErrKey)
		}
		return newEdDSA(point)
	case m.kty == "RSA":
		n, err := decodeInt(m.n)
		if err != nil {
			return nil, err
		}
		e, err := decodeInt(m.e)
		if err != nil {
			return nil, err
		}
		if !e.IsInt64() || e.Int64() > 1<<31-1 {
			return nil, fmt.Errorf("%w: RSA exponent out of range", ErrKey)
		}
		return newRS256(&rsa.PublicKey{N: n, E: int(e.Int64())})
	}
	return nil, fmt.Errorf("%w: unknown key type or curve", ErrKey)
}

// decodeFixed fills dst exactly.
func decodeFixed(dst []byte, s string) bool {
	if len(s) != b64.EncodedLen(len(dst)) {
		return false
	}
	out, err := decodePart(dst[:0:len(dst)], s)
	return err == nil && len(out) == len(dst)
}

// decodeInt reads a Base64urlUInt: big-endian without leading zeros (RFC 7518 §2).
func decodeInt(s string) (*big.Int, error) {
	raw, err := decodePart(nil, s)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 || raw[0] == 0 {
		return nil, fmt.Errorf("%w: integer is not minimal", ErrKey)
	}
	return new(big.Int).SetBytes(raw), nil
}

// AppendJWK appends the key as a JWK that has just the required members, in
// lexical order and without white space: the form that RFC 7638 §3 hashes.
func (k *PublicKey) AppendJWK(dst []byte) []byte { return append(dst, k.jwk...) }

// MarshalJSON is the JWK of [PublicKey.AppendJWK].
func (k *PublicKey) MarshalJSON() ([]byte, error) { return bytes.Clone(k.jwk), nil }
