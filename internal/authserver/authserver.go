// Package authserver is the authorization server without HTTP: each use case
// loads state, lets package grant decide, and commits the new state together
// with its audit records in one transaction.
//
//	edge parses → authserver loads → grant decides → authserver commits → edge writes
//
// Time and randomness enter here, and only here, from Options. Nothing is
// answered before it is durable, and no token is minted before the record of
// its issue is.
package authserver

import (
	"context"
	"errors"
	"hash/maphash"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/identity"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/signer"
	"github.com/keytether/keytether/internal/store"
)

// Options are what a Server is made of.
type Options struct {
	Issuer   string
	Tenant   string // store.DefaultTenant when empty
	Store    store.Store
	Keys     *signer.Ring
	Registry *Registry
	People   *identity.Passwords
	Attempts *identity.Limiter // sign-in attempts
	Now      func() time.Time
	Random   io.Reader
	Log      *slog.Logger
	Version  string
}

// Server is one tenant's authorization server. It is safe for concurrent use.
type Server struct {
	issuer   string
	tenant   string
	store    store.Store
	people   *identity.Passwords
	attempts *identity.Limiter
	now      func() time.Time
	random   io.Reader
	log      *slog.Logger
	version  string

	keys     atomic.Pointer[signer.Ring]
	registry atomic.Pointer[Registry]

	nonces     *dpop.Nonces
	apiNonces  *dpop.Nonces
	proofs     *dpop.MemoryReplays
	headers    *jws.HeaderCache
	assertions *dpop.MemoryReplays
	registered *registered
	pending    *pendingRequests
	feed       *revocations
	polls      *polls
	guesses    *guesses
	logins     *deviceLogins
	turns      turns
	trips      *trips
	locks      *locks
}

// New makes a server and fills its revocation feed from the store.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Tenant == "" {
		o.Tenant = store.DefaultTenant
	}
	s := &Server{
		issuer: o.Issuer, tenant: o.Tenant, store: o.Store, people: o.People, attempts: o.Attempts,
		now: o.Now, random: o.Random, log: o.Log, version: o.Version,
		proofs:     dpop.NewMemoryReplays(maxProofs),
		headers:    jws.NewHeaderCache(maxHeaders),
		assertions: dpop.NewMemoryReplays(maxAssertions),
		pending:    newPendingRequests(),
		guesses:    newGuesses(),
		logins:     newDeviceLogins(),
		registered: &registered{clients: map[string]store.Versioned[store.RegisteredClient]{}},
		turns:      turns{seed: maphash.MakeSeed()},
		trips:      newTrips(),
		locks:      newLocks(),
	}
	s.keys.Store(o.Keys)
	s.UseRegistry(o.Registry)
	source, err := dpop.NewNonceSource(o.Keys.NonceKey().Bytes())
	if err != nil {
		return nil, err
	}
	s.nonces = source.For(o.Tenant, nonceAudience)
	s.apiNonces = source.For(o.Tenant, o.Issuer+oauth.PathAPI)
	before, err := o.Store.PendingDevices(ctx, o.Tenant, s.Now())
	if err != nil {
		return nil, err
	}
	s.polls = newPolls(before, s.Now())
	s.feed = newRevocations()
	if err := s.loadRevocations(ctx); err != nil {
		return nil, err
	}
	if err := s.loadLocks(ctx); err != nil {
		return nil, err
	}
	if err := s.loadRegistered(ctx); err != nil {
		return nil, err
	}
	if err := s.loadAlarms(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Issuer is the server's issuer identifier.
func (s *Server) Issuer() string { return s.issuer }

// Tenant is the server's tenant.
func (s *Server) Tenant() string { return s.tenant }

// Version is the version of the program.
func (s *Server) Version() string { return s.version }

// Now is the server's time, in whole microseconds of UTC.
func (s *Server) Now() time.Time { return s.now().UTC().Truncate(time.Microsecond) }

// Registry is what the config names, as it is now.
func (s *Server) Registry() *Registry { return s.registry.Load() }

// UseKeys replaces the keys, after a rotation or a reload.
func (s *Server) UseKeys(r *signer.Ring) { s.keys.Store(r) }

// UseRegistry replaces what the config names, after a reload.
func (s *Server) UseRegistry(r *Registry) {
	own := *r
	own.registered = s.registered
	s.registry.Store(&own)
}

// Keys are the keys in use.
func (s *Server) Keys() *signer.Ring { return s.keys.Load() }

// Metadata is the server's metadata document.
func (s *Server) Metadata() oauth.Metadata {
	m := oauth.MetadataFor(s.issuer, s.Registry().scopeNames())
	if s.RegistrationOpen() {
		m.RegistrationEndpoint = s.issuer + oauth.PathRegister
	}
	return m
}

// Nonce gives a fresh DPoP nonce for the authorization server's own endpoints.
func (s *Server) Nonce() string { return s.nonces.Mint(s.Now(), s.draw16()) }

// Ready reports whether the server can answer: its store reads.
func (s *Server) Ready(ctx context.Context) error {
	_, err := s.store.Size(ctx, s.tenant)
	return err
}

const nonceAudience = "as"

// env gathers what one decision needs from the world.
func (s *Server) env() grant.Env {
	e := grant.Env{Now: s.Now()}
	var b [36]byte
	s.fill(b[:])
	copy(e.Random.Grant[:], b[:10])
	copy(e.Random.Token[:], b[10:20])
	copy(e.Random.Salt[:], b[20:])
	return e
}

// fill reads randomness. A system that has none left cannot go on safely.
func (s *Server) fill(b []byte) {
	if _, err := io.ReadFull(s.random, b); err != nil {
		panic("authserver: no randomness: " + err.Error())
	}
}

func (s *Server) draw10() (b [10]byte) { s.fill(b[:]); return b }
func (s *Server) draw16() (b [16]byte) { s.fill(b[:]); return b }
func (s *Server) draw32() (b [32]byte) { s.fill(b[:]); return b }

// commitTries bounds how often a decision is taken again because what it was
// based on has changed meanwhile.
const commitTries = 16

// retry runs decide until it does not meet a conflict. When that does not come
// about, the answer is Conflict: try again.
func retry[T any](decide func() (T, error)) (T, error) {
	var out T
	var err error
	for range commitTries {
		if out, err = decide(); !errors.Is(err, store.ErrConflict) {
			return out, err
		}
	}
	return out, problem(err)
}
