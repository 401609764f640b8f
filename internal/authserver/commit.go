package authserver

import (
	"context"
	"errors"

	"github.com/keytether/keytether/internal/feed"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// collect sorts effects into a change. IssueToken and RevokeGrant are not
// state: their makers act on them.
func (s *Server) collect(c *store.Change, effects []grant.Effect) {
	for _, e := range effects {
		switch e := e.(type) {
		case grant.Record:
			c.Records = append(c.Records, e.Record)
		case grant.NewGrant:
			c.Grants = append(c.Grants, store.Versioned[grant.Grant]{Value: e.Grant})
		case grant.RevokedToken:
			c.RevokedTokens = append(c.RevokedTokens, e)
		}
	}
}

// apply commits a change and tells the revocation feed. ErrConflict comes back
// as it is, for retry. Once it is decided it no longer hangs on whether anybody
// waits for the answer: a commit that goes on without us could revoke what the
// feed never hears of.
func (s *Server) apply(ctx context.Context, c store.Change) error {
	if c.IsEmpty() {
		return nil
	}
	if err := s.store.Commit(context.WithoutCancel(ctx), s.tenant, c); err != nil {
		if errors.Is(err, store.ErrConflict) {
			return err
		}
		return problem(err)
	}
	s.trips.heed(c.Records)
	now := s.Now()
	for _, g := range c.Grants {
		if g.Value.Status == grant.Revoked && now.Before(g.Value.AccessUntil.Add(feed.PruneGrace)) {
			s.feed.publish(revocation{grant: g.Value.ID, resource: g.Value.Resource, at: g.Value.EndedAt, until: g.Value.AccessUntil})
		}
	}
	for _, t := range c.RevokedTokens {
		s.feed.publish(revocation{jti: t.JTI, resource: t.Resource, at: now, until: t.Until})
	}
	return nil
}

// stepGrant applies an event to a grant that was read and adds the outcome to c.
func (s *Server) stepGrant(c *store.Change, g store.Versioned[grant.Grant], e grant.GrantEvent, env grant.Env) (grant.AccessToken, error) {
	next, effects, err := grant.StepGrant(g.Value, e, env)
	var token grant.AccessToken
	if len(effects) > 0 {
		s.collect(c, effects)
		c.Grants = append(c.Grants, store.Versioned[grant.Grant]{Value: next, Version: g.Version})
		for _, e := range effects {
			if t, ok := e.(grant.IssueToken); ok {
				token = t.Token
			}
		}
	}
	return token, err
}
