package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"
)

// PublicKey is a key that can check signatures of exactly one algorithm. It is
// immutable and has been validated.
type PublicKey struct {
	alg        Algorithm
	ec         *ecdsa.PublicKey
	rsa        *rsa.PublicKey
	ed         ed25519.PublicKey
	jwk        []byte // required members only, RFC 7638 form
	thumbprint string
}

// NewPublicKey takes an *ecdsa.PublicKey on P-256, an *rsa.PublicKey of 2048 to
// 4096 bits or an ed25519.PublicKey. Anything else is ErrKey.
func NewPublicKey(key crypto.PublicKey) (*PublicKey, error) {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		//lint:ignore SA1019 a key without coordinates would make Bytes panic
		if k == nil || k.Curve != elliptic.P256() || k.X == nil || k.Y == nil {
			return nil, fmt.Errorf("%w: curve is not P-256", ErrKey)
		}
		point, err := k.Bytes()
		if err != nil {
			return nil, fmt.Errorf("%w: point not on P-256", ErrKey)
		}
		own, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
		if err != nil {
			return nil, fmt.Errorf("%w: point not on P-256", ErrKey)
		}
		return newES256(own, point[1:]), nil
	case *rsa.PublicKey:
		if k == nil || k.N == nil {
			return nil, fmt.Errorf("%w: no RSA modulus", ErrKey)
		}
		return newRS256(&rsa.PublicKey{N: new(big.Int).Set(k.N), E: k.E})
	case ed25519.PublicKey:
		return newEdDSA(append([]byte(nil), k...))
	}
	return nil, fmt.Errorf("%w: unknown key type", ErrKey)
}

// Algorithm is the one algorithm this key is used with.
func (k *PublicKey) Algorithm() Algorithm { return k.alg }

// Thumbprint is the key's RFC 7638 SHA-256 thumbprint in base64url, 43 bytes:
// what DPoP calls jkt.
func (k *PublicKey) Thumbprint() string { return k.thumbprint }

// String names the key by algorithm and thumbprint.
func (k *PublicKey) String() string {
	if k == nil {
		return "no key"
	}
	return string(k.alg) + " key " + k.thumbprint
}

// Equal reports whether both are the same key for the same algorithm.
func (k *PublicKey) Equal(other *PublicKey) bool {
	return k != nil && other != nil && k.alg == other.alg && string(k.jwk) == string(other.jwk)
}

// Standard is the key as crypto/ecdsa, crypto/rsa or crypto/ed25519 know it, a
// copy; for libraries that want those types.
func (k *PublicKey) Standard() crypto.PublicKey {
	switch k.alg {
	case ES256:
		c := *k.ec
		return &c
	case RS256:
		return &rsa.PublicKey{N: new(big.Int).Set(k.rsa.N), E: k.rsa.E}
	default:
		return append(ed25519.PublicKey(nil), k.ed...)
	}
}

func (k *PublicKey) finish() *PublicKey {
	sum := sha256.Sum256(k.jwk)
	k.thumbprint = b64.EncodeToString(sum[:])
	return k
}

// newES256 takes a validated key and its coordinates x||y.
func newES256(pub *ecdsa.PublicKey, xy []byte) *PublicKey {
	jwk := make([]byte, 0, 128)
	jwk = append(jwk, `{"crv":"P-256","kty":"EC","x":"`...)
	jwk = b64.AppendEncode(jwk, xy[:32])
	jwk = append(jwk, `","y":"`...)
	jwk = b64.AppendEncode(jwk, xy[32:])
	jwk = append(jwk, `"}`...)
	return (&PublicKey{alg: ES256, ec: pub, jwk: jwk}).finish()
}

func newRS256(pub *rsa.PublicKey) (*PublicKey, error) {
	if bits := pub.N.BitLen(); pub.N.Sign() <= 0 || bits < minRSABits || bits > maxRSABits || pub.N.Bit(0) == 0 {
		return nil, fmt.Errorf("%w: RSA modulus must be odd and of %d to %d bits", ErrKey, minRSABits, maxRSABits)
	}
	// 65537 is what everybody uses and the least that FIPS 186-5 §A.1.1 allows.
	if pub.E < 65537 || pub.E > 1<<31-1 || pub.E&1 == 0 {
		return nil, fmt.Errorf("%w: RSA exponent out of range", ErrKey)
	}
	jwk := append([]byte(nil), `{"e":"`...)
	jwk = b64.AppendEncode(jwk, big.NewInt(int64(pub.E)).Bytes())
	jwk = append(jwk, `","kty":"RSA","n":"`...)
	jwk = b64.AppendEncode(jwk, pub.N.Bytes())
	jwk = append(jwk, `"}`...)
	return (&PublicKey{alg: RS256, rsa: pub, jwk: jwk}).finish(), nil
}

func newEdDSA(point []byte) (*PublicKey, error) {
	if !validEd25519(point) {
		return nil, fmt.Errorf("%w: not a point of Ed25519's large group", ErrKey)
	}
	jwk := append([]byte(nil), `{"crv":"Ed25519","kty":"OKP","x":"`...)
	jwk = b64.AppendEncode(jwk, point)
	jwk = append(jwk, `"}`...)
	return (&PublicKey{alg: EdDSA, ed: point, jwk: jwk}).finish(), nil
}

// verify reports whether sig is the key's over input.
func (k *PublicKey) verify(input, sig []byte) bool {
	switch k.alg {
	case ES256:
		if len(sig) != sizeES256 {
			return false
		}
		digest := sha256.Sum256(input)
		var room [maxDER]byte
		return ecdsa.VerifyASN1(k.ec, digest[:], appendDER(room[:0], sig))
	case RS256:
		digest := sha256.Sum256(input)
		return rsa.VerifyPKCS1v15(k.rsa, crypto.SHA256, digest[:], sig) == nil
	case EdDSA:
		return len(sig) == ed25519.SignatureSize && ed25519.Verify(k.ed, input, sig)
	}
	return false
}
