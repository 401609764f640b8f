package authserver

import (
	"context"
	"errors"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/store"
)

// Held is one installation of a person's and what it may do: what /me shows.
type Held struct {
	Installation store.Installation // zero ID: grants that are bound to no key
	Grants       []HeldGrant
}

// HeldGrant is one active grant in words.
type HeldGrant struct {
	ID       string
	Client   string
	Resource string
	Scopes   []Scope
	Since    time.Time
	Ends     time.Time
	Used     time.Time // when it was last renewed
	Bearer   bool
	Flow     string
}

// Mine lists a person's active grants by installation, newest first.
func (s *Server) Mine(ctx context.Context, account string) ([]Held, error) {
	list, err := s.store.GrantsOf(ctx, s.tenant, store.GrantQuery{Subject: account, ActiveOnly: true})
	if err != nil {
		return nil, problem(err)
	}
	now := s.Now()
	var out []Held
	at := make(map[string]int)
	for _, v := range list {
		g := v.Value
		if !now.Before(g.EndsAt) || !now.Before(g.RotatedAt.Add(g.Lifetimes.Idle)) {
			continue
		}
		i, ok := at[g.Installation]
		if !ok {
			h := Held{}
			if g.Installation != "" {
				in, err := s.store.Installation(ctx, s.tenant, g.Installation)
				if err != nil {
					return nil, problem(err)
				}
				h.Installation = in.Value
			}
			i = len(out)
			at[g.Installation] = i
			out = append(out, h)
		}
		out[i].Grants = append(out[i].Grants, s.heldGrant(g))
	}
	return out, nil
}

func (s *Server) heldGrant(g grant.Grant) HeldGrant {
	h := HeldGrant{
		ID: g.ID, Client: g.Client, Resource: g.Resource, Since: g.CreatedAt, Ends: g.EndsAt,
		Used: g.RotatedAt, Bearer: g.Thumbprint == "", Flow: g.Flow,
	}
	if c, err := s.Registry().Client(g.Client); err == nil {
		h.Client = c.Name
	}
	res, err := s.Registry().Resource(g.Resource)
	if err != nil {
		res = &Resource{ID: g.Resource}
	} else {
		h.Resource = res.Name
	}
	for _, sc := range g.Scope {
		h.Scopes = append(h.Scopes, res.Explain(sc))
	}
	return h
}

// RevokeMine ends one of a person's grants.
func (s *Server) RevokeMine(ctx context.Context, account, grantID string) error {
	g, err := s.store.Grant(ctx, s.tenant, grantID)
	if errors.Is(err, store.ErrNotFound) || err == nil && g.Value.Subject != account {
		return oauth.Fail(oauth.NotFound)
	}
	if err != nil {
		return problem(err)
	}
	return s.endGrant(ctx, grantID, "", grant.Revoke{Reason: event.ReasonPerson})
}

// Disown is "This wasn't me": it ends every grant of an installation, or, with
// an empty installation and a grant, that grant.
func (s *Server) Disown(ctx context.Context, account, installation string) (int, error) {
	in, err := s.store.Installation(ctx, s.tenant, installation)
	if errors.Is(err, store.ErrNotFound) || err == nil && in.Value.Subject != account {
		return 0, oauth.Fail(oauth.NotFound)
	}
	if err != nil {
		return 0, problem(err)
	}
	n, err := s.revokeWhere(ctx, store.GrantQuery{Subject: account, Installation: installation}, event.ReasonNotMe)
	if err != nil {
		return n, err
	}
	return n, s.dropLock(ctx, account, installation)
}

// revokeWhere ends all active grants that a query finds: many in one change, and
// one by one where somebody is just using one of them.
func (s *Server) revokeWhere(ctx context.Context, q store.GrantQuery, reason event.Reason) (int, error) {
	q.ActiveOnly, q.Limit = true, revokeBatch
	total := 0
	for {
		list, err := s.store.GrantsOf(ctx, s.tenant, q)
		if err != nil {
			return total, problem(err)
		}
		e := grant.Revoke{Reason: reason}
		if err := s.revokeThese(ctx, list, e); errors.Is(err, store.ErrConflict) {
			for _, g := range list {
				if err := s.endGrant(ctx, g.Value.ID, "", e); err != nil {
					return total, err
				}
				total++
			}
		} else if err != nil {
			return total, err
		} else {
			total += len(list)
		}
		if len(list) < revokeBatch {
			return total, nil
		}
	}
}

func (s *Server) revokeThese(ctx context.Context, list []store.Versioned[grant.Grant], e grant.Revoke) error {
	var change store.Change
	env := s.env()
	for _, g := range list {
		if _, err := s.stepGrant(&change, g, e, env); err != nil && !errors.Is(err, grant.ErrExpired) {
			return problem(err)
		}
	}
	return s.apply(ctx, change)
}
