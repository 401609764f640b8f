// Package grant decides. It holds the machines that turn a login into a grant
// and a grant into tokens, as pure functions: a state and an event go in; a new
// state, what must be persisted or said, and the answer come out. Time and
// randomness are values in Env; secrets never come here, only their hashes.
//
// Authorization request (RFC 9126, RFC 6749 §4.1), type Request:
//
//	          Open            Approve             Redeem
//	pending ───────▶ pending ─────────▶ approved ────────▶ redeemed
//	   │   (a browser    │                 │  OfferNonce · Answer  (loopback handshake)
//	   │    session)     │ Deny            │  IssueCode            (clients without it)
//	   │                 ▼                 │
//	   │               denied              │
//	   └───────────────── time ────────────┴──────▶ expired
//
// Grant, type Grant:
//
//	   Refresh (rotates, or repeats a lost answer)
//	  ┌───┐
//	  ▼   │
//	active ── Revoke, reuse, wrong key ──▶ revoked
//	  └────── idle, lifetime ────────────▶ expired
//
// Every Step returns the state and the effects that must be committed
// together, in one transaction, *whether or not* it returns an error: an error
// is the answer to whoever asked, and a refusal can itself change state (a code
// used twice revokes). If the effects are empty the state is unchanged and
// there is nothing to commit.
package grant

import (
	"errors"
	"time"

	"github.com/keytether/keytether/internal/event"
)

// Hash is the SHA-256 of a secret (secret.Hash).
type Hash [32]byte

// Salt makes a refresh token's successor derivable until it is erased
// (secret.Salt).
type Salt [16]byte

// Env is what a decision needs from the world: the time, in UTC microseconds,
// and random bytes drawn before.
type Env struct {
	Now    time.Time
	Random Random
}

// Random holds pre-drawn random bytes, each used for one thing only.
type Random struct {
	Grant [10]byte // of a new grant's id
	Token [10]byte // of a new access token's jti
	Salt  Salt     // of a new refresh generation
}

// Effect is what must be persisted or said besides the new state.
type Effect interface{ effect() }

// Record must be appended to the audit log.
type Record struct{ event.Record }

// NewGrant must be stored.
type NewGrant struct{ Grant Grant }

// RevokeGrant asks for Revoke on another machine, in the same transaction.
type RevokeGrant struct {
	Grant  string
	Reason event.Reason
}

// IssueToken allows the caller to mint exactly one access token.
type IssueToken struct{ Token AccessToken }

// RevokedToken ends one access token at the resource servers.
type RevokedToken struct {
	Grant    string
	JTI      string
	Resource string    // its audience
	Until    time.Time // when it would have ended anyway
}

func (Record) effect()       {}
func (NewGrant) effect()     {}
func (RevokeGrant) effect()  {}
func (IssueToken) effect()   {}
func (RevokedToken) effect() {}

// AccessToken is what an access token may say (RFC 9068 §2.2). It is an effect,
// so that none can be minted without a decision and its audit record.
type AccessToken struct {
	JTI        string
	Grant      string // sid
	Subject    string
	Client     string
	Scope      []string
	Resource   string // aud
	Thumbprint string // cnf.jkt; empty for a bearer token
	// Installation is not in the token: nothing is minted for one that is locked.
	Installation string
	AuthTime     time.Time
	ACR          string
	IssuedAt     time.Time
	ExpiresAt    time.Time
}

// The answers that a Step can give. Package authserver turns them into the
// error catalogue of package oauth.
var (
	ErrExpired        = errors.New("grant: expired")
	ErrNotPending     = errors.New("grant: the request was already decided")
	ErrNotApproved    = errors.New("grant: the request is not approved")
	ErrNotOpened      = errors.New("grant: the request was not opened in this browser")
	ErrForeignSession = errors.New("grant: the request belongs to another browser session")
	ErrScope          = errors.New("grant: scope is wider than what was asked or granted")
	ErrResource       = errors.New("grant: another resource than the grant's")
	ErrHandshake      = errors.New("grant: the client must answer the loopback handshake first")
	ErrNoHandshake    = errors.New("grant: the client has no loopback handshake")
	ErrHandshakeLate  = errors.New("grant: the loopback answer came too late")
	ErrHandshakeWrong = errors.New("grant: the loopback answer does not belong to this request")
	ErrCodeIssued     = errors.New("grant: the code was already issued")
	ErrCodeForeign    = errors.New("grant: the code belongs to another client")
	ErrCodeRedirect   = errors.New("grant: redirect_uri differs from the request's")
	ErrCodeVerifier   = errors.New("grant: code_verifier does not match")
	ErrCodeKey        = errors.New("grant: the proof is by another key than the request's")
	ErrCodeReused     = errors.New("grant: the code was already used")
	ErrProofRequired  = errors.New("grant: a proof is required")
	ErrNoBearer       = errors.New("grant: bound to no key, and that is not allowed any more")
	ErrBound          = errors.New("grant: a token bound to no key is not allowed here")
	ErrPending        = errors.New("grant: the person has not decided yet")
	ErrDenied         = errors.New("grant: the person denied it")
	ErrInactive       = errors.New("grant: not active")
	ErrForeignClient  = errors.New("grant: belongs to another client")
	ErrNoRefresh      = errors.New("grant: has no refresh token")
	ErrSuperseded     = errors.New("grant: the refresh token was replaced, and its successor used")
	ErrReused         = errors.New("grant: an old refresh token was used again")
	ErrWrongKey       = errors.New("grant: the refresh token came with a proof by another key")
	ErrLocked         = errors.New("grant: the installation is locked, because a decoy was used")
	ErrUnknownToken   = errors.New("grant: not a token of this grant")
)

// Subset reports whether every scope of a is in b.
func Subset(a, b []string) bool {
	for _, s := range a {
		found := false
		for _, t := range b {
			if s == t {
				found = true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}
