package authserver

import (
	"context"
	"errors"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// refresh rotates a refresh token (RFC 6749 §6, OAuth 2.1 §4.3.1). The
// successor is derived, so that the same request by the same key finds the same
// one again; grant.StepGrant decides which of the two it is, or neither.
func (s *Server) refresh(ctx context.Context, p oauth.Params, client *Client, proof dpop.Proof) (oauth.TokenResponse, error) {
	var none oauth.TokenResponse
	text, err := p.Need("refresh_token")
	if err != nil {
		return none, err
	}
	resource, err := p.Resource()
	if err != nil {
		return none, err
	}
	scope, err := oauth.ParseScope(p.Get("scope"))
	if err != nil {
		return none, err
	}
	handle, ok := s.openRefresh(text)
	if !ok {
		return none, oauth.Fail(oauth.RefreshUnknown)
	}
	presented := secret.New(text)
	e := grant.Refresh{
		Client: client.ID, Generation: handle.Generation, Presented: grant.Hash(presented.Hash()),
		Thumbprint: proof.Thumbprint, Scope: scope, Resource: resource,
		Unbound: p.Get(oauth.ParamTokenType) == "Bearer",
	}
	grantID := id.Raw(handle.Grant).String(id.Grant)
	return retryGrant(&s.turns, grantID, func() (oauth.TokenResponse, error) {
		g, err := s.store.Grant(ctx, s.tenant, grantID)
		if errors.Is(err, store.ErrNotFound) {
			return none, oauth.Fail(oauth.RefreshUnknown)
		}
		if err != nil {
			return none, problem(err)
		}
		res, err := s.Registry().Resource(g.Value.Resource)
		e.Bearer = err == nil && res.Bearer && !client.DPoPRequired // as it is now, whatever it was at the login
		return s.refreshOnce(ctx, presented, handle, e, g)
	})
}

// openRefresh recognises a refresh token under any of the keys in use.
func (s *Server) openRefresh(text string) (secret.RefreshHandle, bool) {
	for _, k := range s.Keys().RefreshKeys(s.Now()) {
		if h, err := secret.OpenRefresh(k, s.tenant, text); err == nil {
			return h, true
		}
	}
	return secret.RefreshHandle{}, false
}

func (s *Server) refreshOnce(ctx context.Context, presented secret.Value, h secret.RefreshHandle, e grant.Refresh, g store.Versioned[grant.Grant]) (oauth.TokenResponse, error) {
	env := s.env()
	successor := secret.Successor(s.Keys().RefreshKey(env.Now), s.tenant, presented, h, secret.Salt(env.Random.Salt))
	e.Successor = grant.Hash(successor.Hash())
	if h.Generation+1 == g.Value.Generation && g.Value.Salt != (grant.Salt{}) {
		successor = s.repeatSuccessor(presented, h, g.Value)
		e.Repeat = grant.Hash(successor.Hash())
	}
	e.Locked = s.locks.locked(g.Value.Installation)
	var change store.Change
	t, refused := s.stepGrant(&change, g, e, env)
	if err := s.apply(ctx, change); err != nil {
		return oauth.TokenResponse{}, err
	}
	if refused != nil {
		return oauth.TokenResponse{}, refreshProblem(refused)
	}
	out, err := s.mint(t, env)
	if err != nil {
		return out, err
	}
	out.RefreshToken, out.GrantExpires = successor.Reveal(), g.Value.EndsAt.Unix()
	since := g.Value.RotatedAt
	if e.Repeat != (grant.Hash{}) { // the answer that is repeated may have had some
		since = since.Add(-g.Value.Lifetimes.Idle)
	}
	out.Notices, err = s.noticesSince(ctx, g.Value, since)
	if err != nil { // the tokens are more important
		s.log.WarnContext(ctx, "notices", "error", err)
	}
	return out, nil
}

// repeatSuccessor derives again what an earlier answer gave. A rotation of the
// server's key may lie between the two: the right one is whose hash is known.
func (s *Server) repeatSuccessor(presented secret.Value, h secret.RefreshHandle, g grant.Grant) secret.Value {
	var v secret.Value
	for _, k := range s.Keys().RefreshKeys(s.Now()) {
		v = secret.Successor(k, s.tenant, presented, h, secret.Salt(g.Salt))
		if grant.Hash(v.Hash()) == g.Current {
			break
		}
	}
	return v
}

// refreshProblem names an expired grant as such.
func refreshProblem(err error) error {
	if errors.Is(err, grant.ErrExpired) {
		return oauth.Fail(oauth.GrantExpired)
	}
	return problem(err)
}
