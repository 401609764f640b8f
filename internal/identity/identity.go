// Package identity finds out who somebody is. Today that is a local account
// with a password; passkeys and a company's identity provider come in beside it
// and end in the same Result.
//
// Three things are kept in mind. A guess costs the guesser: passwords are
// hashed with argon2id, and failures delay the next try (Limiter). A guess
// tells nothing: an unknown account takes as long as a wrong password. And
// guessing costs nobody else: only so many hashes are computed at once.
package identity

import (
	"errors"
	"time"

	"github.com/keytether/keytether/internal/store"
)

// Errors of this package, for errors.Is.
var (
	// ErrWrong: the password is not that account's, or there is no such account,
	// or it is disabled or has no password. What a person sees must not tell which.
	ErrWrong = errors.New("identity: email or password is wrong")
	// ErrBusy: too many sign-ins at once; try again in a moment. The context
	// ended while waiting for its turn.
	ErrBusy = errors.New("identity: too many sign-ins at once")
	// ErrHash: what is stored is no password hash that we accept. It is a fault
	// of the data, not of the person.
	ErrHash = errors.New("identity: stored password hash not usable")
	// ErrPassword: the password cannot be taken: too short, too long, not UTF-8.
	ErrPassword = errors.New("identity: password not acceptable")
	// ErrEmail: not an email address as we take them.
	ErrEmail = errors.New("identity: not an email address")
)

// ACR is an authentication context class (OIDC Core §2, `acr`): how sure we are.
type ACR string

// The classes, weakest first. They are URNs of ours; a client that asks for one
// of them (RFC 9470 §4) writes it as it stands here.
const (
	ACRPassword ACR = "urn:keytether:acr:password" // something the person knows
)

// ACRs lists the classes that this server can reach, for `acr_values_supported`.
func ACRs() []string { return []string{string(ACRPassword)} }

// AMRPassword is the authentication method of a password (RFC 8176 §2).
const AMRPassword = "pwd"

// Result is what every source of identity ends in: who it is, how sure, since
// when.
type Result struct {
	Account  store.Account
	ACR      ACR
	AMR      []string // RFC 8176
	AuthTime time.Time
	Rehash   bool // password only: make a new hash, the stored one has old parameters
}
