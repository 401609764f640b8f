package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"
)

// NonceChecker judges a nonce that a proof carries. Unknown, forged, foreign and
// old nonces are all ErrNonceStale: the client gets a new one and tries again.
type NonceChecker interface {
	Check(now time.Time, nonce string) (NonceState, error)
}

// NonceState is what a good nonce tells.
type NonceState struct {
	Age       time.Duration // never negative
	Remaining time.Duration // until it is refused
	Renew     bool          // more than half of its life is over
}

// NonceRandom is the randomness of one nonce.
type NonceRandom [16]byte

// NonceSource gives out nonces without remembering them (RFC 9449 §8): each is
// its own time under a MAC. All servers of an issuer share the key; a single one
// takes a new one at start.
type NonceSource struct {
	_   [0]func() // no ==
	key [32]byte
}

// NewNonceSource takes a key of at least 32 random bytes; a shorter one is ErrKey.
func NewNonceSource(key []byte) (*NonceSource, error) {
	if len(key) < 32 {
		return nil, fmt.Errorf("%w: nonce key below 32 bytes", ErrKey)
	}
	s := &NonceSource{}
	copy(s.key[:], derive(key, "keytether dpop nonce v1"))
	return s, nil
}

// String does not show the key.
func (s *NonceSource) String() string { return "dpop.NonceSource" }

// Format is String for every verb.
func (s *NonceSource) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// For gives the nonces of one tenant at one server: "as" for the authorization
// server, the resource's identifier at a resource. Those of another tenant or
// server are refused.
func (s *NonceSource) For(tenant, audience string) *Nonces {
	n := &Nonces{}
	label := binary.BigEndian.AppendUint32(nil, uint32(len(tenant)))
	label = append(append(label, tenant...), audience...)
	copy(n.key[:], derive(s.key[:], string(label)))
	return n
}

func derive(key []byte, label string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(label))
	return h.Sum(nil)
}

// Nonces makes and checks the nonces of one tenant at one server. It is a
// NonceChecker and safe for concurrent use.
type Nonces struct {
	_   [0]func() // no ==
	key [32]byte
}

// String does not show the key.
func (n *Nonces) String() string { return "dpop.Nonces" }

// Format is String for every verb.
func (n *Nonces) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(n.String())) }

// A nonce is base64url of: version 1 | µs since 1970, 8 bytes big-endian |
// 16 random bytes | the first 16 bytes of HMAC-SHA256 over what is before.
const (
	nonceVersion = 1
	nonceBody    = 1 + 8 + len(NonceRandom{})
	nonceMAC     = 16
)

var nonceB64 = base64.RawURLEncoding.Strict()

// Mint makes a nonce for a DPoP-Nonce header: 55 characters of base64url.
func (n *Nonces) Mint(now time.Time, random NonceRandom) string {
	b := make([]byte, 0, nonceBody+sha256.Size)
	b = append(b, nonceVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(now.UnixMicro()))
	b = append(b, random[:]...)
	b = append(b, n.mac(b)...)
	return nonceB64.EncodeToString(b)
}

func (n *Nonces) mac(body []byte) []byte {
	h := hmac.New(sha256.New, n.key[:])
	h.Write(body)
	return h.Sum(nil)[:nonceMAC]
}

// Check accepts a nonce of ours that is at most NonceWindow old, or dated at most
// five seconds ahead by another server; every other is ErrNonceStale.
func (n *Nonces) Check(now time.Time, nonce string) (NonceState, error) {
	var room [nonceBody + nonceMAC]byte
	if len(nonce) != nonceB64.EncodedLen(len(room)) {
		return NonceState{}, ErrNonceStale
	}
	got, err := nonceB64.Decode(room[:], []byte(nonce))
	if err != nil || got != len(room) || room[0] != nonceVersion || !hmac.Equal(room[nonceBody:], n.mac(room[:nonceBody])) {
		return NonceState{}, ErrNonceStale
	}
	minted := time.UnixMicro(int64(binary.BigEndian.Uint64(room[1:9])))
	age := now.Sub(minted)
	if age > NonceWindow || age < -nonceSkew {
		return NonceState{}, ErrNonceStale
	}
	return NonceState{
		Age:       max(age, 0),
		Remaining: NonceWindow - age,
		Renew:     age > NonceWindow/2,
	}, nil
}
