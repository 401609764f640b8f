package tpm

import (
	"context"
	"errors"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/keystore"
)

// key is a handle. Whether its key is still there the file says, since another process may have
// deleted it.
type key struct {
	store *Store
	name  string
	blob  blob
	pub   *jws.PublicKey
}

func (k *key) Algorithm() jws.Algorithm { return jws.ES256 }
func (k *key) KeyID() string            { return "" }
func (k *key) Public() *jws.PublicKey   { return k.pub }

// Sign signs in the chip, and takes as long as the chip and those before take.
func (k *key) Sign(input []byte) ([]byte, error) {
	c, err := k.store.read()
	if err != nil {
		return nil, k.store.problem(err)
	}
	if b, ok := c.Keys[k.name]; !ok || string(b.Priv) != string(k.blob.Priv) {
		return nil, keystore.ErrNoKey
	}
	sig, err := k.store.chip.sign(context.Background(), k.blob, k.pub, input)
	if errors.Is(err, errClosed) || errors.Is(err, errOther) {
		err = errors.Join(err, keystore.ErrNoKey)
	}
	return sig, k.store.problem(err)
}

// String and GoString say what it is.
func (k *key) String() string { return "proof key in the TPM" }

// GoString is String.
func (k *key) GoString() string { return k.String() }
