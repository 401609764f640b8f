// Package softkey has the P-256 proof key of stores that have no hardware. It can be copied, so
// that a login moves from one such store to the next, and it is what they write down: 32 bytes,
// the scalar of SEC 1 section 2.3.7, big-endian.
//
// Dropping a key overwrites the scalar that this package holds. crypto/ecdsa keeps a copy of its
// own for as long as the key is reachable, and the garbage collector may have copied neither or
// both: Go promises no more.
package softkey

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"

	"github.com/keytether/keytether/internal/jws"
)

// Size is the length of a scalar in bytes.
const Size = 32

// ErrScalar: the bytes are not the scalar of a P-256 key. It never holds them.
var ErrScalar = errors.New("softkey: not a P-256 scalar")

// Key is a proof key in memory that signs with ES256 until it is dropped.
type Key struct {
	mu     sync.RWMutex
	scalar []byte
	signer jws.Signer
	gone   error
	pub    *jws.PublicKey
}

var _ jws.Signer = (*Key)(nil)

// New makes a key.
func New() (*Key, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("softkey: making a key: %w", err)
	}
	scalar, err := priv.Bytes()
	if err != nil {
		return nil, fmt.Errorf("softkey: making a key: %w", err)
	}
	return newKey(priv, scalar)
}

// FromScalar makes the key of a scalar, which it copies.
func FromScalar(scalar []byte) (*Key, error) {
	priv, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return nil, ErrScalar
	}
	return newKey(priv, append([]byte(nil), scalar...))
}

func newKey(priv *ecdsa.PrivateKey, scalar []byte) (*Key, error) {
	s, err := jws.NewES256Signer("", priv, rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("softkey: %w", err)
	}
	return &Key{scalar: scalar, signer: s, pub: s.Public()}, nil
}

// AppendScalar appends the private scalar, for a store to write down. The caller overwrites it
// after use.
func (k *Key) AppendScalar(dst []byte) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.signer == nil {
		return dst, k.gone
	}
	return append(dst, k.scalar...), nil
}

// Copy gives another handle with the same key, which lives when this one is dropped.
func (k *Key) Copy() (*Key, error) {
	scalar, err := k.AppendScalar(make([]byte, 0, Size))
	if err != nil {
		return nil, err
	}
	defer clear(scalar)
	return FromScalar(scalar)
}

// Drop overwrites the key. From then on Sign gives why. That there is no key is fine.
func (k *Key) Drop(why error) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.signer == nil {
		return
	}
	clear(k.scalar)
	k.signer, k.gone = nil, why
}

// Algorithm is ES256.
func (k *Key) Algorithm() jws.Algorithm { return jws.ES256 }

// KeyID is empty: a proof carries the public key itself.
func (k *Key) KeyID() string { return "" }

// Public is the public half.
func (k *Key) Public() *jws.PublicKey { return k.pub }

// Sign signs a JWS signing input. See jws.Signer.
func (k *Key) Sign(input []byte) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.signer == nil {
		return nil, k.gone
	}
	return k.signer.Sign(input)
}

// String and GoString keep the private key out of whatever prints a handle.
func (k *Key) String() string { return "proof key" }

// GoString is String.
func (k *Key) GoString() string { return k.String() }
