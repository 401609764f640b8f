package authserver

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/policy"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/token"
)

// Tripwire takes a resource server's report that an access token for it was used
// by somebody without the token's key. The whole token is the evidence: a jti or
// a grant id is none, for anybody may read those in a log of ours. What is no
// live token of ours, or was ended already, is answered like one that was ended
// now, and nothing is recorded. Errors: those of ResourceServer, BadRequest,
// MissingParameter, ResourceOther, RateLimited.
func (s *Server) Tripwire(ctx context.Context, c Call) error {
	err := s.tripwire(ctx, c)
	s.suspect(ctx, c.Params.Get("token"), "tripwire", c.From)
	return err
}

func (s *Server) tripwire(ctx context.Context, c Call) error {
	res, err := s.ResourceServer(c)
	if err != nil {
		return err
	}
	if !s.trips.admit(res.ID, s.Now()) {
		return oauth.Fail(oauth.RateLimited)
	}
	text, err := c.Params.Need("token")
	if err != nil {
		return err
	}
	use := tripped{kind: grant.TripKind(c.Params.Get("kind")), key: c.Params.Get("proof_jkt")}
	switch _, ok := readHash(use.key); {
	case use.kind == grant.TripWrongKey && ok, use.kind == grant.TripBearer && use.key == "":
	case use.kind == grant.TripWrongKey || use.kind == grant.TripBearer:
		return oauth.FailParam(oauth.BadRequest, "proof_jkt")
	default:
		return oauth.FailParam(oauth.BadRequest, "kind")
	}
	if a := c.Params.Get("address"); a != "" {
		if use.from, err = netip.ParseAddr(a); err != nil {
			return oauth.FailParam(oauth.BadRequest, "address")
		}
	}
	t, ok := s.ownToken(text)
	switch {
	case !ok:
		return nil
	case t.Audience != res.ID:
		return oauth.Fail(oauth.ResourceOther)
	}
	return s.trip(ctx, t, use)
}

// tripped is how a token was used.
type tripped struct {
	kind grant.TripKind
	key  string     // thumbprint of the wrong key, where it is known
	from netip.Addr // may be the zero Addr
}

func (u tripped) address() string { return written(u.from) }

// trip ends a token of ours that was verified, or its grant if the config's rule
// says so.
func (s *Server) trip(ctx context.Context, t token.AccessClaims, use tripped) error {
	if t.Thumbprint == "" || t.Thumbprint == use.key { // bound to no key, or it was the right one
		return nil
	}
	_, err := retryGrant(&s.turns, t.GrantID, func() (struct{}, error) {
		return struct{}{}, s.tripOnce(ctx, t, use)
	})
	return err
}

func (s *Server) tripOnce(ctx context.Context, t token.AccessClaims, use tripped) error {
	now := s.Now()
	if s.feed.revoked(t.GrantID, t.ID, t.IssuedAt) || use.kind == grant.TripBearer && !s.trips.bearerDue(t.GrantID, now) {
		return nil
	}
	g, err := s.store.Grant(ctx, s.tenant, t.GrantID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return problem(err)
	}
	rule := s.Registry().tripRule
	facts := grant.TripFacts{Kind: use.kind, Before: s.trips.copied(t.GrantID)}
	if rule == grant.TripOtherNetwork {
		facts.Elsewhere = s.elsewhere(ctx, g.Value, use.address())
	}
	var change store.Change
	_, refused := s.stepGrant(&change, g, grant.Trip{
		Kind: use.kind, JTI: t.ID, Until: t.ExpiresAt, Address: use.address(), Revoke: rule.Revokes(facts, now),
	}, s.env())
	if err := s.apply(ctx, change); err != nil {
		return err
	}
	if refused == nil {
		s.trips.note(t.GrantID, use.kind, now)
	}
	return nil // what has ended already stays ended
}

// SeenAt remembers where a grant's tool is, for the rule that asks for it. Where
// no rule asks nothing is kept.
func (s *Server) SeenAt(grantID string, from netip.Addr) {
	if s.Registry().tripRule == grant.TripOtherNetwork && grantID != "" && from.IsValid() {
		s.trips.seenAt(grantID, from.Unmap().WithZone("").String())
	}
}

// elsewhere reports whether an address is certainly on another network than the
// grant's tool. An API may see a laptop by another of its addresses than we do,
// so that two of different families or ranges say nothing.
func (s *Server) elsewhere(ctx context.Context, g grant.Grant, address string) bool {
	last := s.trips.place(g.ID)
	if last == "" && g.Installation != "" {
		if in, err := s.store.Installation(ctx, s.tenant, g.Installation); err == nil {
			last = in.Value.Facts.Address
		}
	}
	a, err1 := netip.ParseAddr(address)
	b, err2 := netip.ParseAddr(last)
	if err1 != nil || err2 != nil || kindOf(a) != kindOf(b) {
		return false
	}
	return !policy.SameNetwork(address, last)
}

// kindOf is what two addresses must have in common to be compared.
func kindOf(a netip.Addr) [4]bool {
	a = a.Unmap()
	return [4]bool{a.Is4(), a.IsLoopback(), a.IsPrivate(), a.IsLinkLocalUnicast()}
}

// tripAPI is the tripwire of the server's own API, after a refusal: a failure of
// the wire is logged, and the refusal stands.
func (s *Server) tripAPI(ctx context.Context, c APICall, refusal error) {
	use := tripped{from: c.Address}
	switch {
	case errors.Is(refusal, dpop.ErrThumbprint):
		use.kind = grant.TripWrongKey
	case errors.Is(refusal, oauth.Fail(oauth.TokenBound)):
		use.kind = grant.TripBearer
	default:
		return
	}
	_, text, _ := strings.Cut(c.Authorization[0], " ")
	t, ok := s.ownToken(text)
	if !ok || t.Audience != s.issuer+oauth.PathAPI {
		return
	}
	if err := s.trip(ctx, t, use); err != nil {
		s.log.ErrorContext(ctx, "a copied token could not be ended", "grant", t.GrantID, "token", t.ID, "error", err)
	}
}
