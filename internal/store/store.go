// Package store says what the server needs kept, in small interfaces split by
// the consistency that each one needs. A driver (store/sqlite) provides them
// all, and store/storetest is the one suite that every driver passes.
//
// Three kinds of consistency, and no more:
//
//   - Committer is linearizable compare-and-swap: a change is applied whole, with
//     its audit records, if every state in it still has the version at which it
//     was read, and is on disk when Commit returns.
//   - Reads of Requests, Grants, Decoys, People and Registry see every commit that
//     returned before they began.
//   - Log grows only; its readers may be a moment behind.
//
// Tenant is the first argument of every method and the first column of every
// key. Times are kept in UTC microseconds. No secret is ever given to a store:
// only hashes, and keys that are already sealed.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
)

// DefaultTenant is the tenant at the root issuer.
const DefaultTenant = "default"

// What a driver answers when it does not do what was asked.
var (
	// ErrNotFound: there is no such thing.
	ErrNotFound = errors.New("store: not found")
	// ErrConflict: a state has changed since it was read, or a new one's key is
	// taken. Nothing was changed. Load, decide and commit again.
	ErrConflict = errors.New("store: conflict")
	// ErrFull: the disk is full. Nothing was changed.
	ErrFull = errors.New("store: no space left")
	// ErrUnavailable: the store cannot answer now. A Commit that returns it may
	// or may not have been applied.
	ErrUnavailable = errors.New("store: unavailable")
	// ErrNewerSchema: the data was written by a newer version of Keytether.
	ErrNewerSchema = errors.New("store: the data is of a newer version")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store: closed")
)

// Versioned is a state and the version it was read at. Version 0 means that it
// is new and must not exist yet.
type Versioned[T any] struct {
	Value   T
	Version uint64
}

// Change is what one decision commits: everything or nothing.
type Change struct {
	Requests      []Versioned[grant.Request]
	Grants        []Versioned[grant.Grant]
	Devices       []Versioned[grant.Device]
	RevokedTokens []grant.RevokedToken
	Accounts      []Versioned[Account]
	Sessions      []Versioned[Session]
	Installations []Versioned[Installation]
	Entries       []Versioned[Entry]
	Keys          []Versioned[SealedKey]
	Clients       []Versioned[RegisteredClient]
	Decoys        []Versioned[grant.Decoy]
	Records       []event.Record
}

// IsEmpty reports whether there is nothing to commit.
func (c Change) IsEmpty() bool {
	return len(c.Requests)+len(c.Grants)+len(c.Devices)+len(c.RevokedTokens)+len(c.Accounts)+len(c.Sessions)+
		len(c.Installations)+len(c.Entries)+len(c.Keys)+len(c.Clients)+len(c.Decoys)+len(c.Records) == 0
}

// Committer applies changes. Commit is atomic and durable when it returns nil;
// it returns ErrConflict, ErrFull, ErrUnavailable or ErrClosed. Commits are
// totally ordered, and audit records take places in the log in that order.
type Committer interface {
	Commit(ctx context.Context, tenant string, c Change) error
}

// Requests reads authorization requests that a person has opened. (Unopened
// ones are volatile and never come to a store.)
type Requests interface {
	Request(ctx context.Context, tenant, id string) (Versioned[grant.Request], error)
	// RequestByHandle finds a request by the SHA-256 of its request_uri.
	RequestByHandle(ctx context.Context, tenant string, handle grant.Hash) (Versioned[grant.Request], error)
	// RequestByCode finds a request by the hash of its code, redeemed or not.
	RequestByCode(ctx context.Context, tenant string, code grant.Hash) (Versioned[grant.Request], error)
	// PruneRequests drops requests that ended, or were to end, before t. It
	// keeps at most what a code's reuse must still find.
	PruneRequests(ctx context.Context, tenant string, t time.Time) (int, error)
}

// Devices reads device authorizations (RFC 8628). They are durable from their
// start: a restart between start and poll loses none.
type Devices interface {
	// DeviceByCode finds one by the hash of its device code. It is read at every
	// poll and must be cheap.
	DeviceByCode(ctx context.Context, tenant string, code grant.Hash) (Versioned[grant.Device], error)
	// DeviceByUserCode finds the newest one with that user code's hash.
	DeviceByUserCode(ctx context.Context, tenant string, user grant.Hash) (Versioned[grant.Device], error)
	// PendingDevices counts those that could still be polled at t.
	PendingDevices(ctx context.Context, tenant string, t time.Time) (int, error)
	// PruneDevices drops those that ended, or were to end, before t.
	PruneDevices(ctx context.Context, tenant string, t time.Time) (int, error)
}

// Decoys reads decoys.
type Decoys interface {
	// DecoyByHash finds one by the hash of its string, whatever became of it.
	DecoyByHash(ctx context.Context, tenant string, h grant.Hash) (Versioned[grant.Decoy], error)
	// DecoysOf lists a person's, newest first.
	DecoysOf(ctx context.Context, tenant, subject string) ([]Versioned[grant.Decoy], error)
	// FiredDecoys lists those that keep an installation locked, and those that
	// fired at t or later, in the order in which they fired.
	FiredDecoys(ctx context.Context, tenant string, t time.Time) ([]Versioned[grant.Decoy], error)
	// PruneDecoys drops those that were planted before t, but none that keeps an
	// installation locked.
	PruneDecoys(ctx context.Context, tenant string, t time.Time) (int, error)
}

// Grants reads grants.
type Grants interface {
	Grant(ctx context.Context, tenant, id string) (Versioned[grant.Grant], error)
	// GrantsOf lists grants, newest first.
	GrantsOf(ctx context.Context, tenant string, q GrantQuery) ([]Versioned[grant.Grant], error)
	// RevokedSince lists grants and single tokens that were revoked and of which
	// an access token could still be alive after t, in commit order.
	RevokedSince(ctx context.Context, tenant string, t time.Time) ([]Revoked, error)
	// PruneRevoked drops revocations whose last token ended before t.
	PruneRevoked(ctx context.Context, tenant string, t time.Time) (int, error)
	Installation(ctx context.Context, tenant, id string) (Versioned[Installation], error)
	// InstallationByKey finds a person's installation by its proof key.
	InstallationByKey(ctx context.Context, tenant, subject, thumbprint string) (Versioned[Installation], error)
}

// GrantQuery selects grants; empty fields select all.
type GrantQuery struct {
	Subject      string
	Client       string
	Resource     string
	Installation string
	ActiveOnly   bool
	Limit        int // 0 means 1000
}

// Revoked is one entry of the revocation feed: a grant or a single token.
type Revoked struct {
	Grant    string // set when the whole grant was revoked
	JTI      string // set when one token was
	Resource string // the audience of the tokens concerned
	At       time.Time
	Until    time.Time // when the last token concerned ends anyway
}

// People reads accounts and browser sessions.
type People interface {
	Account(ctx context.Context, tenant, id string) (Versioned[Account], error)
	AccountByEmail(ctx context.Context, tenant, email string) (Versioned[Account], error)
	Accounts(ctx context.Context, tenant string) ([]Versioned[Account], error)
	// SessionByHash finds a browser session by the hash of its cookie.
	SessionByHash(ctx context.Context, tenant string, h grant.Hash) (Versioned[Session], error)
	// Session finds a browser session by its id.
	Session(ctx context.Context, tenant, id string) (Versioned[Session], error)
	// PruneSessions drops sessions that ended or ran out before t.
	PruneSessions(ctx context.Context, tenant string, t time.Time) (int, error)
}

// Registry reads what the config has named so far (so that the removal of an
// entry is noticed), the clients that registered themselves, and the sealed keys.
type Registry interface {
	Entries(ctx context.Context, tenant string) ([]Versioned[Entry], error)
	Keys(ctx context.Context, tenant string) ([]Versioned[SealedKey], error)
	// Clients lists those that registered themselves, in the order of ids, which
	// is that of their time.
	Clients(ctx context.Context, tenant string) ([]Versioned[RegisteredClient], error)
}

// Log reads the audit log and keeps what the sequencer makes of it. Leaves have
// dense indices from 0, in commit order.
type Log interface {
	// Size is the number of leaves committed so far.
	Size(ctx context.Context, tenant string) (int64, error)
	// Leaves calls f for the leaves from ≤ index < to, in order, until f fails.
	Leaves(ctx context.Context, tenant string, from, to int64, f func(Leaf) error) error
	// Checkpoint gives the newest signed checkpoint (a signed note), or
	// ErrNotFound.
	Checkpoint(ctx context.Context, tenant string) ([]byte, error)
	// Sequenced keeps a signed checkpoint and the Merkle hashes that became
	// complete with it (index per x/mod/sumdb/tlog.StoredHashIndex).
	Sequenced(ctx context.Context, tenant string, checkpoint []byte, firstHash int64, hashes [][32]byte) error
	// Hashes reads stored Merkle hashes by index.
	Hashes(ctx context.Context, tenant string, indexes []int64) ([][32]byte, error)
	// Erase drops the personal facts beside a leaf. The leaf stays.
	Erase(ctx context.Context, tenant string, index int64) error
}

// Leaf is one leaf of the audit log.
type Leaf struct {
	Index   int64
	Data    []byte // audit.EncodeLeaf
	Sidecar []byte // personal facts and the key of their commitments; nil when erased or none
}

// Account is a local account.
type Account struct {
	ID           string // acc_…
	Email        string // as given; compared without case
	PasswordHash string // argon2id in PHC string format; empty: cannot sign in by password
	Roles        []string
	Disabled     bool
	Since        time.Time // when it was made, or enabled again: sessions of before are over
	FromConfig   bool
	// LoginsSeen: device logins until then are known to the person.
	LoginsSeen time.Time
}

// Session is a browser session: the cookie at the server. Not a grant. Before
// sign-in its Account is empty.
type Session struct {
	ID        string     // ses_…
	Hash      grant.Hash // of the cookie's secret
	Account   string     // acc_…
	AuthTime  time.Time
	ACR       string
	CreatedAt time.Time
	ExpiresAt time.Time
	Ended     bool
}

// Installation is one agent on one machine, as one person uses it.
type Installation struct {
	ID         string // ins_…
	Subject    string // acc_…
	Thumbprint string // of its proof key
	Facts      event.Facts
	FirstSeen  time.Time
	LastSeen   time.Time
}

// EntryKind is the kind of a config entry.
type EntryKind string

// The kinds of config entries that are remembered.
const (
	EntryClient   EntryKind = "client"
	EntryResource EntryKind = "resource"
	EntryAccount  EntryKind = "account"
)

// Entry remembers that the config named a client, resource or account, so that
// its removal disables it and is recorded.
type Entry struct {
	Kind     EntryKind
	ID       string
	Digest   [32]byte // of the entry's content: a change is recorded
	Disabled bool
	Since    time.Time
}

// RegisteredClient is a public native client that registered itself (RFC 7591).
type RegisteredClient struct {
	ID           string // cli_…; its client_id
	Name         string
	RedirectURIs []string
	GrantTypes   []string
	Scopes       []string // that it may ask for; empty: any
	DPoPRequired bool
	Handshake    bool
	PARRequired  bool
	IDTokenAlg   string
	Token        string // name of the initial access token that it came with
	CreatedAt    time.Time
	Disabled     bool
}

// SealedKey is a key of the server, sealed under the root key (package signer).
type SealedKey struct {
	ID        string // key_…
	Use       string // what it is for; package signer's words
	Sealed    []byte
	Public    []byte // public part, when there is one
	CreatedAt time.Time
	RetiredAt time.Time // zero while in use
}

// Store is everything a driver provides.
type Store interface {
	Committer
	Requests
	Devices
	Grants
	Decoys
	People
	Registry
	Log
	Close() error
}
