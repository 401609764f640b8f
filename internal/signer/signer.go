// Package signer keeps the server's own keys: those that sign tokens and
// checkpoints, and those under which refresh tokens and forms are recognised.
//
// At rest every key is sealed under one root key (Root), bound to its tenant,
// use and id. In memory they are a Ring: parsed once, immutable, safe for many
// goroutines, and asked with the time, so that a planned rotation takes place
// without anybody doing anything.
//
// # Rotation
//
// A signing key lives through four states:
//
//	pending ──NotBefore──▶ active ──RetiredAt──▶ retired ──keep──▶ gone
//	published              signs, published      published         neither
//
// Relying parties keep a copy of the JWKS. A key that signs from the moment it
// is made would be unknown to those copies, so a new key is published PublishLead
// before it signs, and the old one signs until then. After that it stays
// published until all that it signed has died. When a key may be known to
// somebody else that patience is wrong: RotateCompromised destroys the old keys
// at once, and what they made is refused from then on.
//
// Rotate and Plan decide and change nothing: they return a store.Change, with its
// audit records, that the caller commits.
package signer

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/store"
)

// Errors of this package, for errors.Is.
var (
	// ErrNoRoot: there is no root key where one was looked for, and sealed keys
	// exist, so that a new one would not help.
	ErrNoRoot = errors.New("signer: no root key")
	// ErrRootFile: the root key's file is not fit: its owner, its permissions, a
	// symbolic link, or its content.
	ErrRootFile = errors.New("signer: root key file refused")
	// ErrWrongRoot: a sealed key was not sealed under this root key, or was changed.
	ErrWrongRoot = errors.New("signer: the root key does not open the server's keys")
	// ErrSealed: what is in the store is no sealed key of a version we know.
	ErrSealed = errors.New("signer: not a sealed key")
	// ErrRotating: the use already has a key that waits for its time.
	ErrRotating = errors.New("signer: a rotation is under way")
	// ErrUse: there is no such use.
	ErrUse = errors.New("signer: unknown use")
	// ErrNoKey: no key of that use is active at that time.
	ErrNoKey = errors.New("signer: no active key")
)

// Use is what a key is for. It is kept in store.SealedKey.Use.
type Use string

// The closed list of uses. A key is never used for two of them.
const (
	SignES256  Use = "sign-es256"  // access tokens; ID tokens by registration
	SignRS256  Use = "sign-rs256"  // ID tokens (OIDC Discovery §3 asks for RS256), RSA 2048
	RefreshMAC Use = "refresh-mac" // tag of refresh tokens (secret.SealRefresh)
	CSRF       Use = "csrf"        // tag of forms
	AuditNote  Use = "audit-note"  // Ed25519, checkpoints of the audit log (C2SP signed-note)
	DPoPNonce  Use = "dpop-nonce"  // never kept: fresh at every start of a single server
)

// Uses lists the uses whose keys are kept, in the order they are made.
func Uses() []Use { return []Use{SignES256, SignRS256, RefreshMAC, CSRF, AuditNote} }

// Env is what a decision needs from outside.
type Env struct {
	Root   *Root
	Tenant string
	Now    time.Time
	Random io.Reader // crypto/rand.Reader
	Former *Ring     // the ring in use, whose nonce key is kept; nil at start
}

func (e Env) now() time.Time { return e.Now.UTC().Truncate(time.Microsecond) }

// Plan opens the keys that are kept and makes those that are missing. Commit
// the change (it may be empty) before using the ring. Errors: ErrWrongRoot,
// ErrSealed. On store.ErrConflict another process was faster: load and plan
// again.
func Plan(env Env, existing []store.Versioned[store.SealedKey]) (store.Change, *Ring, error) {
	ring, err := open(env, existing)
	if err != nil {
		return store.Change{}, nil, err
	}
	var change store.Change
	now := env.now()
	for _, use := range Uses() {
		if ring.lasting(use, now) {
			continue
		}
		if err := ring.add(env, &change, use, now, event.ReasonFirstStart); err != nil {
			return store.Change{}, nil, err
		}
	}
	return change, ring, nil
}

// Rotate makes a new key for use, published now and signing after PublishLead;
// until then the old one goes on, after that it is retired but stays published
// for as long as anything it made can live. The ring is the one after the
// commit. Errors: ErrUse, ErrRotating (also within PublishLead of the last
// time), ErrWrongRoot, ErrSealed.
func Rotate(env Env, existing []store.Versioned[store.SealedKey], use Use) (store.Change, *Ring, error) {
	ring, err := openFor(env, existing, use)
	if err != nil {
		return store.Change{}, nil, err
	}
	now := env.now()
	for _, k := range ring.keys[use] {
		if k.state(now) == Pending {
			return store.Change{}, nil, fmt.Errorf("%w: %s waits until %s; to replace it at once, say that the keys are compromised",
				ErrRotating, k.ID, k.NotBefore.Format(time.RFC3339))
		}
	}
	var change store.Change
	start := now.Add(PublishLead)
	for _, old := range existing {
		k, known := ring.find(use, old.Value.ID)
		if !known || k.state(now) != Active {
			continue
		}
		old.Value.RetiredAt = start
		change.Keys = append(change.Keys, old)
		change.Records = append(change.Records, record(env, event.KeyRetired, use, old.Value.ID, event.ReasonRotation, start))
		k.RetiredAt = start
	}
	if err := ring.add(env, &change, use, start, event.ReasonRotation); err != nil {
		return store.Change{}, nil, err
	}
	return change, ring, nil
}

// RotateCompromised makes a new key for use that signs at once, and destroys all
// others of that use: their sealed private parts are erased and their public
// parts are published no longer. Tokens under them are refused as soon as
// relying parties fetch the JWKS again; for RefreshMAC everybody must log in
// again. Errors: ErrUse, ErrWrongRoot, ErrSealed.
func RotateCompromised(env Env, existing []store.Versioned[store.SealedKey], use Use) (store.Change, *Ring, error) {
	ring, err := openFor(env, existing, use)
	if err != nil {
		return store.Change{}, nil, err
	}
	var change store.Change
	now := env.now()
	for _, old := range existing {
		if Use(old.Value.Use) != use || len(old.Value.Sealed) == 0 {
			continue
		}
		old.Value.Sealed = nil
		if old.Value.RetiredAt.IsZero() || old.Value.RetiredAt.After(now) {
			old.Value.RetiredAt = now
		}
		change.Keys = append(change.Keys, old)
		change.Records = append(change.Records, record(env, event.KeyRetired, use, old.Value.ID, event.ReasonAdmin, now))
	}
	if use == AuditNote {
		for _, k := range ring.keys[use] {
			ring.bury(k.public())
		}
	}
	ring.keys[use] = nil
	if err := ring.add(env, &change, use, now, event.ReasonAdmin); err != nil {
		return store.Change{}, nil, err
	}
	return change, ring, nil
}

func openFor(env Env, existing []store.Versioned[store.SealedKey], use Use) (*Ring, error) {
	for _, u := range Uses() {
		if u == use {
			return open(env, existing)
		}
	}
	return nil, fmt.Errorf("%w %q: it is one of %v", ErrUse, use, Uses())
}

// record says that a key came or went. Detail names use and id; Until is when
// a retired key stops signing.
func record(env Env, name event.Name, use Use, keyID string, why event.Reason, until time.Time) event.Record {
	return event.Record{
		Name: name, Tenant: env.Tenant, Time: env.now(), Reason: why,
		Detail: string(use) + " " + keyID, Until: until,
	}
}

func newID(env Env) (string, error) {
	var random [10]byte
	if _, err := io.ReadFull(env.Random, random[:]); err != nil {
		return "", fmt.Errorf("signer: no randomness: %w", err)
	}
	return id.New(id.Key, env.now(), random), nil
}
