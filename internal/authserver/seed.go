package authserver

import (
	"context"
	"errors"
	"slices"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/identity"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// Named is one entry of the config, as the seed sees it.
type Named struct {
	Kind   store.EntryKind
	ID     string
	Digest [32]byte
}

// SeedAccount is an account that the config names, made if missing.
type SeedAccount struct {
	Email    string
	Roles    []string
	Password secret.Value // taken only when the account is made
	OneTime  bool         // made because nothing was there
}

// Start records that the server started, and what a restart ends.
func (s *Server) Start(ctx context.Context) error {
	return s.apply(ctx, store.Change{Records: []event.Record{{
		Name: event.ServerStarted, Tenant: s.tenant, Time: s.Now(), Reason: event.ReasonVolatile, Detail: s.version,
	}}})
}

// Seed makes the store agree with the config: accounts that are missing are
// made; what was named before and is no longer is disabled, its grants revoked,
// and that recorded; changes are recorded.
func (s *Server) Seed(ctx context.Context, named []Named, accounts []SeedAccount) error {
	for _, a := range accounts {
		if err := s.seedAccount(ctx, a); err != nil {
			return err
		}
	}
	have, err := s.store.Entries(ctx, s.tenant)
	if err != nil {
		return problem(err)
	}
	type key struct {
		kind store.EntryKind
		id   string
	}
	before := make(map[key]store.Versioned[store.Entry], len(have))
	for _, e := range have {
		before[key{e.Value.Kind, e.Value.ID}] = e
	}
	var change store.Change
	for _, n := range named {
		k := key{n.Kind, n.ID}
		e, known := before[k]
		delete(before, k)
		if known && !e.Value.Disabled && e.Value.Digest == n.Digest {
			continue
		}
		name := entryEvent(n.Kind, known)
		e.Value = store.Entry{Kind: n.Kind, ID: n.ID, Digest: n.Digest, Since: s.Now()}
		change.Entries = append(change.Entries, e)
		change.Records = append(change.Records, s.entryRecord(name, n.Kind, n.ID))
	}
	if err := s.apply(ctx, change); err != nil {
		return err
	}
	for k, e := range before {
		if !e.Value.Disabled {
			if err := s.disable(ctx, k.kind, e); err != nil {
				return err
			}
		}
	}
	return s.settleRegistered(ctx)
}

// disable ends what an entry allowed, before it marks the entry: a crash between
// the two repeats the first.
func (s *Server) disable(ctx context.Context, kind store.EntryKind, e store.Versioned[store.Entry]) error {
	var err error
	name := event.ClientDisabled
	change := store.Change{}
	switch kind {
	case store.EntryClient:
		_, err = s.revokeWhere(ctx, store.GrantQuery{Client: e.Value.ID}, event.ReasonClientGone)
	case store.EntryResource:
		name = event.ResourceDisabled
		_, err = s.revokeWhere(ctx, store.GrantQuery{Resource: e.Value.ID}, event.ReasonResourceGone)
	case store.EntryAccount:
		name = event.AccountDisabled
		err = s.disableAccount(ctx, e.Value.ID, &change)
	}
	if err != nil {
		return err
	}
	e.Value.Disabled, e.Value.Since = true, s.Now()
	change.Entries = append(change.Entries, e)
	change.Records = append(change.Records, s.entryRecord(name, kind, e.Value.ID))
	if err := s.apply(ctx, change); err != nil {
		return err
	}
	// A login that was just being finished may have made a grant after the first
	// look; none is made from here on.
	for _, acc := range change.Accounts {
		if _, err := s.revokeWhere(ctx, store.GrantQuery{Subject: acc.Value.ID}, event.ReasonAccountGone); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) disableAccount(ctx context.Context, email string, c *store.Change) error {
	acc, err := s.store.AccountByEmail(ctx, s.tenant, email)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return problem(err)
	}
	if _, err := s.revokeWhere(ctx, store.GrantQuery{Subject: acc.Value.ID}, event.ReasonAccountGone); err != nil {
		return err
	}
	acc.Value.Disabled = true
	c.Accounts = append(c.Accounts, acc)
	return nil
}

// seedAccount makes an account, or enables again and gives the config's roles
// to one that is there. A password is set only when the account is made.
func (s *Server) seedAccount(ctx context.Context, a SeedAccount) error {
	email := identity.FoldEmail(a.Email)
	acc, err := s.store.AccountByEmail(ctx, s.tenant, email)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return problem(err)
	}
	now := s.Now()
	rec := event.Record{Name: event.AccountChanged, Tenant: s.tenant, Time: now, Reason: event.ReasonConfig, Facts: event.Facts{Email: email}}
	if acc.Version == 0 {
		hash, err := s.people.Hash(ctx, a.Password)
		if err != nil {
			return err
		}
		acc.Value = store.Account{ID: id.New(id.Account, now, s.draw10()), Email: email, PasswordHash: hash, Since: now, FromConfig: !a.OneTime}
		rec.Name = event.AccountCreated
		if a.OneTime {
			rec.Reason = event.ReasonFirstStart
		}
	} else if !acc.Value.Disabled && slices.Equal(acc.Value.Roles, a.Roles) {
		return nil
	}
	if acc.Value.Disabled { // who was signed in before signs in again
		acc.Value.Since = now
	}
	acc.Value.Roles, acc.Value.Disabled = a.Roles, false
	rec.Subject = acc.Value.ID
	return s.apply(ctx, store.Change{Accounts: []store.Versioned[store.Account]{acc}, Records: []event.Record{rec}})
}

func entryEvent(kind store.EntryKind, known bool) event.Name {
	switch {
	case kind == store.EntryResource && known:
		return event.ResourceChanged
	case kind == store.EntryResource:
		return event.ResourceAdded
	case kind == store.EntryClient && known:
		return event.ClientChanged
	case kind == store.EntryClient:
		return event.ClientAdded
	}
	return event.AccountChanged
}

// entryRecord names an entry: clients and resources in their own fields, an
// account only as a fact.
func (s *Server) entryRecord(name event.Name, kind store.EntryKind, entry string) event.Record {
	r := event.Record{Name: name, Tenant: s.tenant, Time: s.Now(), Reason: event.ReasonConfig}
	switch kind {
	case store.EntryClient:
		r.Client = entry
	case store.EntryResource:
		r.Resource = entry
	case store.EntryAccount:
		r.Facts.Email = entry
	}
	return r
}
