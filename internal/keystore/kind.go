package keystore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/keytether/keytether/internal/secret"
)

// Life says what a kind of store outlives.
type Life int

// The lives, shortest first.
const (
	Process Life = iota // gone with the agent
	Session             // gone with the OS session or at a restart of the machine
	Machine             // there until it is wiped
)

// String gives the word that status and docs use.
func (l Life) String() string {
	switch l {
	case Session:
		return "session"
	case Machine:
		return "machine"
	}
	return "process"
}

// Kind is a kind of store that this machine may have.
type Kind struct {
	Name     string // memory, kernel, keychain, tpm or file: the word of config, status and docs
	Life     Life
	Hardware bool // proof keys are made in hardware and cannot leave it

	// Open opens the store and probes it: it makes, signs with, reads back and wipes a key and
	// an entry of its own. It asks nobody anything. An error wraps ErrUnusable, and is a
	// *Problem where there is a mend. It returns within ctx, whatever the store does.
	Open func(ctx context.Context) (Store, error)

	// Unlock lets Open open a store that a person has a passphrase for, until Lock. With fresh the
	// passphrase may be a new one, and makes the store where there is none. A passphrase that is
	// wrong or not good enough is ErrPassphrase or ErrNewPassphrase, and changes nothing. The
	// passphrase itself is not kept. Nil where nobody has one; then Lock is too.
	Unlock func(ctx context.Context, passphrase secret.Value, fresh bool) error
	// Lock overwrites what Unlock left in memory. Stores that are open stay so.
	Lock func()
}

// Importer is a store that can take over the proof key of another one, so that a login survives
// the failure of the store it began in. A store in memory takes any key, others take keys that
// can be copied; else the error wraps ErrUnusable and nothing has changed.
type Importer interface {
	// Import keeps k under that name, as NewKey keeps the key that it made.
	Import(ctx context.Context, name string, k Key) error
}

// Problem says why a store cannot be used, in words for a person. It is ErrUnusable.
type Problem struct {
	Store string // the kind's name
	Why   string // without a secret, and without a full stop
	Mend  string // what to do; may be empty
	Err   error  // the cause; may be nil
}

// Error gives the words.
func (p *Problem) Error() string {
	return fmt.Sprintf("the store %s cannot be used: %s", p.Store, p.Why)
}

// Unwrap gives ErrUnusable and the cause.
func (p *Problem) Unwrap() []error {
	if p.Err == nil {
		return []error{ErrUnusable}
	}
	return []error{ErrUnusable, p.Err}
}

// AsProblem gives err as it is if it is a *Problem, and else a *Problem of that store with its
// words.
func AsProblem(store string, err error) error {
	var p *Problem
	if errors.As(err, &p) {
		return err
	}
	why := strings.TrimPrefix(err.Error(), ErrUnusable.Error()+": ")
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		why = "it did not answer in the time it was given"
	}
	return &Problem{Store: store, Why: why, Err: err}
}
