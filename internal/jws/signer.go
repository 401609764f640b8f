package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// ErrSigner: the signer failed or gave something that is not a signature.
var ErrSigner = errors.New("jws: signing failed")

// Signer signs with one private key. Server keys, the agent's proof key and keys
// in hardware are behind it; the private part never comes out.
// Implementations are safe for concurrent use.
type Signer interface {
	// Algorithm is the one algorithm this key signs with.
	Algorithm() Algorithm
	// KeyID is the "kid" that goes into headers; empty for none.
	KeyID() string
	// Public is the public half.
	Public() *PublicKey
	// Sign gives the JWS signature over a signing input (RFC 7515 §5.1): for
	// ES256 the 64 bytes r||s. A key store that signs digests and answers in
	// ASN.1 uses SHA-256 and [ES256FromASN1], or [NewSigner].
	Sign(input []byte) ([]byte, error)
}

// NewES256Signer signs with a P-256 key in memory. Since Go 1.26 crypto/ecdsa
// draws from the system's generator whatever reader it is given and mixes that
// with key and message; random nil asks for the deterministic signatures of RFC
// 6979 instead, as vectors need them.
func NewES256Signer(kid string, key *ecdsa.PrivateKey, random io.Reader) (Signer, error) {
	if key == nil {
		return nil, fmt.Errorf("%w: no key", ErrKey)
	}
	return NewSigner(kid, key, random)
}

// NewRS256Signer signs with an RSA key in memory. RSASSA-PKCS1-v1_5 needs no
// randomness.
func NewRS256Signer(kid string, key *rsa.PrivateKey) (Signer, error) {
	if key == nil {
		return nil, fmt.Errorf("%w: no key", ErrKey)
	}
	return NewSigner(kid, key, nil)
}

// NewEdDSASigner signs with an Ed25519 key in memory. Ed25519 needs no randomness.
func NewEdDSASigner(kid string, key ed25519.PrivateKey) (Signer, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("%w: Ed25519 key of wrong size", ErrKey)
	}
	return NewSigner(kid, key, nil)
}

// NewSigner signs with anything that crypto.Signer describes, such as a key in a
// TPM or behind PKCS#11. The public key decides the algorithm. Random goes to
// the key as it is.
func NewSigner(kid string, key crypto.Signer, random io.Reader) (Signer, error) {
	if key == nil {
		return nil, fmt.Errorf("%w: no key", ErrKey)
	}
	if len(kid) > maxKeyID || !ValidString(kid) {
		return nil, fmt.Errorf("%w: kid is too long or not UTF-8", ErrKey)
	}
	pub, err := NewPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return &signer{kid: kid, pub: pub, key: key, random: random}, nil
}

type signer struct {
	_      [0]func() // no ==
	kid    string
	pub    *PublicKey
	key    crypto.Signer
	random io.Reader
}

func (s *signer) Algorithm() Algorithm { return s.pub.alg }
func (s *signer) KeyID() string        { return s.kid }
func (s *signer) Public() *PublicKey   { return s.pub }

func (s *signer) Sign(input []byte) ([]byte, error) {
	message, opts := input, crypto.SignerOpts(crypto.Hash(0))
	if s.pub.alg != EdDSA {
		digest := sha256.Sum256(input)
		message, opts = digest[:], crypto.SHA256
	}
	sig, err := s.key.Sign(s.random, message, opts)
	if err != nil {
		// The key's own words are not ours to repeat: they may describe the key.
		return nil, fmt.Errorf("%w: the key refused", ErrSigner)
	}
	if s.pub.alg == ES256 {
		return ES256FromASN1(sig)
	}
	return sig, nil
}

// String, Format, MarshalJSON and LogValue show algorithm, kid and thumbprint,
// and never the key.
func (s *signer) String() string {
	return "signer " + s.kid + " (" + s.pub.String() + ")"
}

// Format is String for every verb.
func (s *signer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalJSON is String as a JSON string.
func (s *signer) MarshalJSON() ([]byte, error) { return AppendString(nil, s.String()), nil }

// LogValue is String.
func (s *signer) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Sign makes a compact JWS with header typ, alg and, where the signer has one, kid.
func Sign(s Signer, typ string, payload []byte) (string, error) {
	return sign(s, typ, payload, false)
}

// SignEmbedded makes a compact JWS with header typ, alg and the signer's public
// key as jwk, and no kid: what RFC 9449 §4.2 asks of a DPoP proof.
func SignEmbedded(s Signer, typ string, payload []byte) (string, error) {
	return sign(s, typ, payload, true)
}

func sign(s Signer, typ string, payload []byte, embed bool) (string, error) {
	if !ValidString(typ) || len(typ) > maxType {
		return "", fmt.Errorf("%w: typ is too long or not UTF-8", ErrMalformed)
	}
	var room [512]byte
	h := append(room[:0], '{')
	if typ != "" {
		h = append(h, `"typ":`...)
		h = AppendString(h, typ)
		h = append(h, ',')
	}
	h = append(h, `"alg":"`...)
	h = append(h, s.Algorithm()...)
	h = append(h, '"')
	switch kid := s.KeyID(); {
	case embed:
		h = append(h, `,"jwk":`...)
		h = s.Public().AppendJWK(h)
	case kid != "":
		h = append(h, `,"kid":`...)
		h = AppendString(h, kid)
	}
	h = append(h, '}')

	// 683 bytes hold the signature of a 4096-bit RSA key.
	out := make([]byte, 0, b64.EncodedLen(len(h))+b64.EncodedLen(len(payload))+2+sigRoom(s.Algorithm()))
	out = b64.AppendEncode(out, h)
	out = append(out, '.')
	out = b64.AppendEncode(out, payload)
	sig, err := s.Sign(out)
	if err != nil {
		return "", err
	}
	if len(sig) == 0 || s.Algorithm() != RS256 && len(sig) != sizeES256 {
		return "", fmt.Errorf("%w: signature of wrong length", ErrSigner)
	}
	out = append(out, '.')
	out = b64.AppendEncode(out, sig)
	if len(out) > MaxCompact {
		return "", fmt.Errorf("%w: longer than %d bytes", ErrMalformed, MaxCompact)
	}
	return string(out), nil
}

// sigRoom is the length of a signature in base64url, at most.
func sigRoom(a Algorithm) int {
	if a == RS256 {
		return 683 // 4096 bits
	}
	return 86 // 64 bytes
}
