package authserver

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// Bounds of planting. None is taken away to make room: whoever is on a machine
// could disarm it by planting.
const (
	maxDecoysEach   = 20  // that wait, on one installation
	maxDecoysHourly = 20  // of one person
	maxDecoys       = 500 // of one person, fired ones too, of about 200 bytes
)

// evenly is the grid of answers to what may be a decoy: the commit of a lock takes
// milliseconds, and an answer must not tell by its time that there was one.
const evenly = 25 * time.Millisecond

// Plant makes a decoy for the installation that asks. The string is the second
// result, and is not kept. Errors: ApproverUnfit (the login is bound to no
// installation), BadRequest, DecoysFull.
func (s *Server) Plant(ctx context.Context, who Caller, kind string) (grant.Decoy, secret.Value, error) {
	var none secret.Value
	if !slices.Contains(grant.DecoyKinds(), kind) {
		return grant.Decoy{}, none, oauth.FailParam(oauth.BadRequest, "kind")
	}
	g, err := s.store.Grant(ctx, s.tenant, who.Token.GrantID)
	if err != nil {
		return grant.Decoy{}, none, problem(err)
	}
	if g.Value.Installation == "" {
		return grant.Decoy{}, none, oauth.Fail(oauth.ApproverUnfit)
	}
	s.locks.serial.Lock()
	defer s.locks.serial.Unlock()
	list, err := s.store.DecoysOf(ctx, s.tenant, who.Account.ID)
	if err != nil {
		return grant.Decoy{}, none, problem(err)
	}
	env := s.env()
	waiting, lately := 0, 0
	for _, d := range list {
		if d.Value.Installation == g.Value.Installation && d.Value.FiredAt.IsZero() {
			waiting++
		}
		if env.Now.Sub(d.Value.PlantedAt) < time.Hour {
			lately++
		}
	}
	if waiting >= maxDecoysEach || lately >= maxDecoysHourly || len(list) >= maxDecoys {
		return grant.Decoy{}, none, oauth.Fail(oauth.DecoysFull)
	}
	name := id.New(id.Decoy, env.Now, s.draw10())
	raw, err := id.Parse(id.Decoy, name)
	if err != nil {
		return grant.Decoy{}, none, problem(err)
	}
	random := s.draw32()
	// Like a token that was renewed some times, as one in use would be.
	h := secret.RefreshHandle{Grant: raw, Generation: uint32(s.draw10()[0]) % 100}
	text := secret.SealRefresh(s.Keys().RefreshKey(env.Now), s.tenant, h, random)
	shown := text.Reveal()
	d, effects := grant.Decoy{
		Tenant: s.tenant, ID: name, Hash: grant.Hash(text.Hash()), Subject: who.Account.ID, Installation: g.Value.Installation,
		Kind: kind, Ending: shown[len(shown)-secret.ChecksumLen:],
	}.Plant(env)
	change := store.Change{Decoys: []store.Versioned[grant.Decoy]{{Value: d}}}
	s.collect(&change, effects)
	return d, text, s.apply(ctx, change)
}

// Planted is a decoy of a person's, and the installation that it stands on.
type Planted struct {
	grant.Decoy
	Host string // of the installation, as it reported it
	Here bool   // it is the caller's
}

// Decoys lists a person's, newest first.
func (s *Server) Decoys(ctx context.Context, who Caller) ([]Planted, error) {
	list, err := s.store.DecoysOf(ctx, s.tenant, who.Account.ID)
	if err != nil {
		return nil, problem(err)
	}
	g, err := s.store.Grant(ctx, s.tenant, who.Token.GrantID)
	if err != nil {
		return nil, problem(err)
	}
	hosts := make(map[string]string)
	out := make([]Planted, 0, len(list))
	for _, d := range list {
		host, ok := hosts[d.Value.Installation]
		if !ok {
			in, err := s.store.Installation(ctx, s.tenant, d.Value.Installation)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return nil, problem(err)
			}
			host = in.Value.Facts.Host
			hosts[d.Value.Installation] = host
		}
		out = append(out, Planted{Decoy: d.Value, Host: host, Here: d.Value.Installation == g.Value.Installation})
	}
	return out, nil
}

// suspect looks at a refresh token that an endpoint did not know, or did not come
// to look at. If it is a decoy, its installation is locked. It returns at the same
// points in time whether or not it is; what the endpoint answers is not for it to
// say.
func (s *Server) suspect(ctx context.Context, text, where string, from netip.Addr) {
	if _, err := secret.Parse(secret.Refresh, text); err != nil {
		return
	}
	began := time.Now()
	if h, ok := s.openRefresh(text); ok {
		if _, err := s.store.Grant(ctx, s.tenant, id.Raw(h.Grant).String(id.Grant)); err == nil {
			return // a grant's
		}
	}
	hash := grant.Hash(secret.New(text).Hash())
	if err := s.spring(context.WithoutCancel(ctx), hash, grant.Fire{Where: where, Address: written(from)}); err != nil {
		s.log.ErrorContext(ctx, "a string that may be a decoy could not be looked at", "error", err)
	}
	rest(ctx, began)
}

// rest waits for the next point of the grid.
func rest(ctx context.Context, began time.Time) {
	t := time.NewTimer(evenly - time.Since(began)%evenly)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func written(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().WithZone("").String()
}

// spring fires the decoy with that hash, if there is one.
func (s *Server) spring(ctx context.Context, hash grant.Hash, e grant.Fire) error {
	d, err := s.store.DecoyByHash(ctx, s.tenant, hash)
	if errors.Is(err, store.ErrNotFound) || err == nil && !d.Value.FiredAt.IsZero() {
		return nil
	}
	if err != nil {
		return problem(err)
	}
	s.locks.serial.Lock()
	defer s.locks.serial.Unlock()
	_, err = retry(func() (struct{}, error) {
		d, err := s.store.DecoyByHash(ctx, s.tenant, hash)
		if err != nil {
			return struct{}{}, problem(err)
		}
		if !d.Value.FiredAt.IsZero() {
			return struct{}{}, nil
		}
		// First no new tokens, then the time, then which are to end: one that was
		// answered before is no younger, and belongs to a grant that is found now.
		s.locks.add(d.Value, s.Now(), e.Address)
		next, effects := grant.StepDecoy(d.Value, e, s.env())
		ends, err := s.endings(ctx, next)
		if err != nil {
			return struct{}{}, err
		}
		change := store.Change{Decoys: []store.Versioned[grant.Decoy]{{Value: next, Version: d.Version}}}
		s.collect(&change, effects)
		if err := s.apply(ctx, change); err != nil {
			return struct{}{}, err
		}
		for _, r := range ends {
			s.feed.publish(r)
		}
		return struct{}{}, nil
	})
	return err
}

// endings are what the feed must hear of a lock: the tokens that the installation
// was given before it.
func (s *Server) endings(ctx context.Context, d grant.Decoy) ([]revocation, error) {
	list, err := s.store.GrantsOf(ctx, s.tenant, store.GrantQuery{Installation: d.Installation, ActiveOnly: true, Limit: 100_000})
	if err != nil {
		return nil, problem(err)
	}
	var out []revocation
	for _, g := range list {
		until := d.FiredAt.Add(g.Value.Lifetimes.Access)
		if g.Value.AccessUntil.Before(until) {
			until = g.Value.AccessUntil
		}
		if g.Value.CreatedAt.After(d.FiredAt) {
			continue
		}
		out = append(out, revocation{
			grant: g.Value.ID, resource: g.Value.Resource, at: d.FiredAt, until: until,
			before: d.FiredAt.Truncate(time.Second).Add(time.Second), // iat has whole seconds
		})
	}
	return out, nil
}

// ErrUnlockSignIn: the person must sign in again first, for a browser session from
// before the lock may be in the same hands as the decoy.
var ErrUnlockSignIn = errors.New("authserver: sign in again to unlock")

// UnlockHere lifts the lock of an installation of a person who signed in, in this
// browser, since it was locked. Errors: ErrUnlockSignIn, NotFound.
func (s *Server) UnlockHere(ctx context.Context, who Person, installation, address string) error {
	return s.unlock(ctx, who.Account.ID, installation, func(l Lock) error {
		if !who.Session.AuthTime.After(l.At) {
			return ErrUnlockSignIn
		}
		return nil
	}, grant.Unlock{Session: who.Session.ID, Address: address})
}

// dropLock lifts it when the installation's grants were ended: there is nothing to
// keep locked.
func (s *Server) dropLock(ctx context.Context, account, installation string) error {
	err := s.unlock(ctx, account, installation, func(Lock) error { return nil }, grant.Unlock{Reason: event.ReasonNotMe})
	if errors.Is(err, oauth.Fail(oauth.NotFound)) {
		return nil
	}
	return err
}

// UnlockFrom lifts it from another installation that the person trusts. Errors:
// NotFound, UnlockerUnfit.
func (s *Server) UnlockFrom(ctx context.Context, who Caller, installation, address string) error {
	by, err := s.approver(ctx, who)
	if errors.Is(err, oauth.Fail(oauth.ApproverUnfit)) {
		return oauth.Fail(oauth.UnlockerUnfit)
	}
	if err != nil {
		return err
	}
	return s.unlock(ctx, who.Account.ID, installation, func(Lock) error {
		if by == installation || s.locks.locked(by) {
			return oauth.Fail(oauth.UnlockerUnfit)
		}
		return nil
	}, grant.Unlock{Installation: by, Address: address})
}

func (s *Server) unlock(ctx context.Context, account, installation string, allowed func(Lock) error, e grant.Unlock) error {
	s.locks.serial.Lock()
	defer s.locks.serial.Unlock()
	l, ok := s.locks.get(installation)
	if !ok || l.Subject != account {
		return oauth.Fail(oauth.NotFound)
	}
	if err := allowed(l); err != nil {
		return err
	}
	list, err := s.store.DecoysOf(ctx, s.tenant, account)
	if err != nil {
		return problem(err)
	}
	var change store.Change
	env := s.env()
	for _, d := range list {
		if d.Value.Installation != installation {
			continue
		}
		next, effects := grant.StepDecoy(d.Value, e, env)
		if len(effects) > 0 {
			change.Decoys = append(change.Decoys, store.Versioned[grant.Decoy]{Value: next, Version: d.Version})
			s.collect(&change, effects)
		}
	}
	if err := s.apply(ctx, change); err != nil {
		return problem(err)
	}
	s.locks.remove(installation)
	return nil
}
