// Package keystore keeps what logins leave on this machine: proof keys, and per login the
// refresh token that is bound to one of them and some facts that are not secret. Memory is the
// store here; the OS keychain, the kernel keyring, a TPM and a sealed file are others behind the
// same interface, in packages below, and keystoretest is the suite that each of them passes.
//
// Keys and entries have names of their own kinds: a key and an entry may have the same name and
// nothing to do with each other. Several entries may be bound to one key.
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
	ErrName     = errors.New("keystore: not the name of a key or an entry")

	// Of a store that a person opens with a passphrase (Kind.Unlock).
	ErrPassphrase    = errors.New("keystore: this store is locked and wants its passphrase")
	ErrNewPassphrase = errors.New("keystore: this store is not there yet and wants a passphrase to be made with")
)

// MaxName is the longest name of a key or an entry, in bytes.
const MaxName = 128

// Key is a proof key in a store: a handle that signs with ES256. Handles stay usable until
// the store deletes the key or is closed; then Sign gives an error that wraps ErrNoKey.
type Key = jws.Signer

// Entry is what a login leaves.
type Entry struct {
	Key          string // name of the key that the refresh token is bound to
	RefreshToken secret.Value
	Metadata     []byte // JSON without secrets: issuer, client_id, grant_id, scope, …
}

// Store keeps keys and entries. Its methods are safe for concurrent use, and each takes effect
// as a whole or not at all. A name is 1 to MaxName bytes of letters, digits, and "-", "_", ".",
// "@"; others give ErrName. Stores that may hang (D-Bus) heed ctx.
type Store interface {
	// NewKey makes a P-256 key of that name. It replaces the key that was there, and deletes
	// the entries that were bound to it.
	NewKey(ctx context.Context, name string) (Key, error)
	// Key gives the key of that name, or ErrNoKey.
	Key(ctx context.Context, name string) (Key, error)
	// Put writes the entry of that name, in place of one that was there; a key that only that
	// one was bound to stays. Without a key of the name e.Key: ErrNoKey.
	Put(ctx context.Context, name string, e Entry) error
	// Get gives a copy of the entry of that name, or ErrNotFound.
	Get(ctx context.Context, name string) (Entry, error)
	// Delete wipes the entry of that name and then the key it was bound to, or the key of that
	// name if there is no such entry; but no key that another entry is bound to. That there is
	// nothing to wipe is no error.
	Delete(ctx context.Context, name string) error
	// Names lists, sorted, the names of the entries.
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
