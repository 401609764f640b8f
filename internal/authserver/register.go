package authserver

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// Registration says who may register clients (RFC 7591), and what all of them
// have in common.
type Registration struct {
	Tokens []InitialToken
	// Like has the resources, lifetimes and rules of every registered client.
	Like Client
	// Disabled are the ids of registered clients that are so no longer.
	Disabled []string
}

// InitialToken is an initial access token: its name, which stands in records, and
// what is kept of it. Clients are registered for as long as the name stands.
type InitialToken struct {
	Name string
	Hash secret.Hash
}

// holder finds whose initial access token was sent (RFC 6750 §2.1).
func (r *Registration) holder(authorization []string) (string, error) {
	if len(authorization) == 0 {
		return "", oauth.Fail(oauth.TokenMissing)
	}
	scheme, text, _ := strings.Cut(authorization[0], " ")
	if len(authorization) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return "", oauth.Fail(oauth.InitialTokenInvalid)
	}
	if _, err := secret.Parse(secret.Initial, text); err != nil {
		return "", oauth.Fail(oauth.InitialTokenInvalid)
	}
	hash, name := secret.New(text).Hash(), ""
	for _, t := range r.Tokens {
		if t.Hash.Equal(hash) {
			name = t.Name
		}
	}
	if name == "" {
		return "", oauth.Fail(oauth.InitialTokenInvalid)
	}
	return name, nil
}

// allows reports whether a registered client is so still.
func (r *Registration) allows(c store.RegisteredClient) bool {
	return r != nil && !slices.Contains(r.Disabled, c.ID) &&
		slices.ContainsFunc(r.Tokens, func(t InitialToken) bool { return t.Name == c.Token })
}

// WithRegistration gives the same registry with clients that register themselves;
// nil: there are none.
func (r *Registry) WithRegistration(reg *Registration) *Registry {
	out := *r
	out.registration = reg
	return &out
}

// registered are the clients that registered themselves, in memory: they are few,
// and are asked for at every request.
type registered struct {
	adding  sync.Mutex // one registration at a time, so that they can be counted
	mu      sync.RWMutex
	clients map[string]store.Versioned[store.RegisteredClient]
}

func (r *registered) get(name string) (store.RegisteredClient, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	v, ok := r.clients[name]
	return v.Value, ok
}

// put takes over what was committed.
func (r *registered) put(v store.Versioned[store.RegisteredClient]) {
	v.Version++
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients[v.Value.ID] = v
}

func (r *registered) all() []store.Versioned[store.RegisteredClient] {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Values(r.clients))
}

// room reports whether one more may be registered with an initial access token.
func (r *registered) room(token string) bool {
	total, own := 0, 0
	for _, v := range r.all() {
		if v.Value.Disabled {
			continue
		}
		total++
		if v.Value.Token == token {
			own++
		}
	}
	return total < maxRegistered && own < maxRegisteredByOne
}

// registeredClient finds a client that registered itself, as the config has such
// clients now.
func (r *Registry) registeredClient(name string) (*Client, bool) {
	if r.registration == nil || r.registered == nil {
		return nil, false
	}
	v, ok := r.registered.get(name)
	if !ok || v.Disabled || !r.registration.allows(v) {
		return nil, false
	}
	c := r.registration.Like
	c.ID, c.Name, c.RedirectURIs, c.GrantTypes, c.Scopes = v.ID, v.Name, v.RedirectURIs, v.GrantTypes, v.Scopes
	c.DPoPRequired, c.Handshake, c.PARRequired = v.DPoPRequired, v.Handshake, v.PARRequired
	c.IDTokenAlg, c.Authentication = jws.Algorithm(v.IDTokenAlg), Authentication{}
	c.ResponseModes = []string{"query", "form_post"}
	if v.Handshake {
		c.ResponseModes = []string{"form_post"}
	}
	return &c, true
}

// RegisterCall is a request to the client registration endpoint.
type RegisterCall struct {
	Authorization []string // every Authorization header
	Body          []byte   // JSON
	Address       string   // of the caller
}

// RegistrationOpen reports whether clients may register themselves.
func (s *Server) RegistrationOpen() bool { return s.Registry().registration != nil }

// Register registers a public native client (RFC 7591 §3). It never gets a
// secret, nor a scope of the server's own API. Errors: NotFound where nobody may
// register, TokenMissing, InitialTokenInvalid, MetadataUnfit, RedirectUnfit,
// RegistrationFull.
func (s *Server) Register(ctx context.Context, c RegisterCall) (oauth.Registered, error) {
	var none oauth.Registered
	registry := s.Registry()
	reg := registry.registration
	if reg == nil {
		return none, oauth.Fail(oauth.NotFound)
	}
	token, err := reg.holder(c.Authorization)
	if err != nil {
		return none, err
	}
	m, err := oauth.ParseClientMetadata(c.Body)
	if err != nil {
		return none, err
	}
	scopes, err := registry.registrable(m)
	if err != nil {
		return none, err
	}
	s.registered.adding.Lock()
	defer s.registered.adding.Unlock()
	if !s.registered.room(token) {
		return none, oauth.Fail(oauth.RegistrationFull)
	}
	now := s.Now()
	v := store.Versioned[store.RegisteredClient]{Value: store.RegisteredClient{
		ID: id.New(id.Client, now, s.draw10()), Name: m.ClientName, RedirectURIs: m.RedirectURIs, GrantTypes: m.GrantTypes,
		Scopes: scopes, DPoPRequired: m.DPoPBound, Handshake: m.Handshake, PARRequired: m.RequirePAR,
		IDTokenAlg: m.IDTokenAlg, Token: token, CreatedAt: now,
	}}
	record := event.Record{
		Name: event.ClientAdded, Tenant: s.tenant, Time: now, Client: v.Value.ID, Reason: event.ReasonRegistered, Detail: token,
		Facts: event.Facts{Address: c.Address},
	}
	change := store.Change{Clients: []store.Versioned[store.RegisteredClient]{v}, Records: []event.Record{record}}
	if err := s.apply(ctx, change); err != nil {
		return none, problem(err)
	}
	s.registered.put(v)
	return oauth.Registered{ClientID: v.Value.ID, IssuedAt: now.Unix(), ClientMetadata: m}, nil
}

// registrable checks what depends on the config: scopes that some registered
// client may ask for, and no name by which people know another client.
func (r *Registry) registrable(m oauth.ClientMetadata) ([]string, error) {
	for _, c := range r.clients {
		if strings.EqualFold(c.Name, m.ClientName) {
			return nil, oauth.FailParam(oauth.MetadataUnfit, "client_name")
		}
	}
	scopes, err := oauth.ParseScope(m.Scope)
	if err != nil {
		return nil, oauth.FailParam(oauth.MetadataUnfit, "scope")
	}
	for _, name := range scopes {
		if _, ok := builtin(name); ok {
			continue
		}
		if !slices.ContainsFunc(r.registration.Like.Resources, func(res string) bool {
			_, ok := r.resources[res].scope(name)
			return ok
		}) {
			return nil, oauth.FailParam(oauth.MetadataUnfit, "scope")
		}
	}
	return scopes, nil
}

func (s *Server) loadRegistered(ctx context.Context) error {
	list, err := s.store.Clients(ctx, s.tenant)
	if err != nil {
		return problem(err)
	}
	for _, v := range list {
		s.registered.clients[v.Value.ID] = v
	}
	return nil
}

// settleRegistered makes registered clients agree with the config: whose initial
// access token is gone, or who is disabled by name, has its grants revoked, as a
// client whose entry is removed.
func (s *Server) settleRegistered(ctx context.Context) error {
	reg := s.Registry().registration
	for _, v := range s.registered.all() {
		if v.Value.Disabled == !reg.allows(v.Value) {
			continue
		}
		name := event.ClientChanged
		if !v.Value.Disabled {
			name = event.ClientDisabled
			if _, err := s.revokeWhere(ctx, store.GrantQuery{Client: v.Value.ID}, event.ReasonClientGone); err != nil {
				return err
			}
		}
		v.Value.Disabled = !v.Value.Disabled
		err := s.apply(ctx, store.Change{
			Clients: []store.Versioned[store.RegisteredClient]{v},
			Records: []event.Record{s.entryRecord(name, store.EntryClient, v.Value.ID)},
		})
		if errors.Is(err, store.ErrConflict) {
			return problem(err)
		}
		if err != nil {
			return err
		}
		s.registered.put(v)
	}
	return nil
}
