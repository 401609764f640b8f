// Package keystore keeps what a login leaves on this machine: per profile a proof key, the
// refresh token and some facts that are not secret. Memory is the only store today; the OS
// keychain, the kernel keyring, a TPM and a sealed file will be others behind the same
// interface, and keystoretest is the suite that each of them passes.
//
// A key may never leave its store (a TPM), so stores make keys themselves and give out handles
// that sign. No error of a store holds a value.
package keystore

import (
	"context"
	"errors"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/secret"
)

// Sentinels, for errors.Is.
var (
	ErrNotFound = errors.New("keystore: there is no such entry")
	ErrNoKey    = errors.New("keystore: there is no such proof key")
	ErrUnusable = errors.New("keystore: this store cannot be used") // exit code 7, once no other store works
	ErrName     = errors.New("keystore: not a profile's name")
)

// MaxName is the longest name of a profile, in bytes.
const MaxName = 128

// Key is a proof key in a store: a handle that signs with ES256. Handles stay usable until
// the store deletes the key or is closed; then Sign gives an error that wraps ErrNoKey.
type Key = jws.Signer

// Entry is what a login leaves for a profile. Its key is found by Store.Key under the same name.
type Entry struct {
	RefreshToken secret.Value
	Metadata     []byte // JSON without secrets: issuer, client_id, grant_id, scope, …
}

// Store keeps one key and one entry per profile. Its methods are safe for concurrent use, and
// each takes effect as a whole or not at all. A name is 1 to MaxName bytes of letters, digits,
// and "-", "_", ".", "@"; others give ErrName. Stores that may hang (D-Bus) heed ctx.
type Store interface {
	// NewKey makes a P-256 key for the name. It replaces the key that was there, and deletes
	// the entry, whose refresh token was bound to the old key.
	NewKey(ctx context.Context, name string) (Key, error)
	// Key gives the key of the name, or ErrNoKey.
	Key(ctx context.Context, name string) (Key, error)
	// Put writes the entry of the name, in place of one that was there. Without a key: ErrNoKey.
	Put(ctx context.Context, name string, e Entry) error
	// Get gives a copy of the entry, or ErrNotFound.
	Get(ctx context.Context, name string) (Entry, error)
	// Delete wipes key and entry. That there are none is no error.
	Delete(ctx context.Context, name string) error
	// Names lists, sorted, the profiles that have an entry.
	Names(ctx context.Context) ([]string, error)
}

// CheckName gives ErrName for what is no name. Every store calls it first.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName {
		return ErrName
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.' || c == '@') {
			return ErrName
		}
	}
	return nil
}
