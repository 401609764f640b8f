package authserver

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/token"
)

// Token answers the token endpoint (RFC 6749 §4.1.3, §6). Client and proof come
// first, before anything is looked up or changed; but a decoy is one, whoever
// presents it, and however badly. A client that is asked for a nonce comes again.
func (s *Server) Token(ctx context.Context, c Call) (oauth.TokenResponse, error) {
	out, err := s.tokens(ctx, c)
	if text := c.Params.Get("refresh_token"); err != nil && text != "" && !errors.Is(err, oauth.Fail(oauth.NonceRequired)) {
		s.suspect(ctx, text, "token", c.From)
	}
	return out, err
}

func (s *Server) tokens(ctx context.Context, c Call) (oauth.TokenResponse, error) {
	kind, err := c.Params.Need("grant_type")
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	client, err := s.client(c)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	switch kind {
	case oauth.GrantAuthorizationCode, oauth.GrantRefreshToken, oauth.GrantDeviceCode:
	default:
		return oauth.TokenResponse{}, oauth.FailParam(oauth.UnsupportedGrantType, "grant_type")
	}
	if !client.has(kind) {
		return oauth.TokenResponse{}, oauth.FailParam(oauth.UnauthorizedClient, "grant_type")
	}
	p, err := s.proof(c, client)
	if err != nil {
		return oauth.TokenResponse{}, err
	}
	switch kind {
	case oauth.GrantRefreshToken:
		return s.refresh(ctx, c.Params, client, p)
	case oauth.GrantDeviceCode:
		return s.pollDevice(ctx, c.Params, client, p, c)
	}
	return s.redeem(ctx, c.Params, client, p)
}

func (s *Server) redeem(ctx context.Context, p oauth.Params, client *Client, proof dpop.Proof) (oauth.TokenResponse, error) {
	var none oauth.TokenResponse
	code, err := p.Need("code")
	if err != nil {
		return none, err
	}
	if _, err := secret.Parse(secret.Code, code); err != nil {
		return none, oauth.Fail(oauth.CodeUnknown)
	}
	challenge := ""
	if p.Get("code_verifier") != "" {
		if challenge, err = oauth.Challenge(p.Get("code_verifier")); err != nil {
			return none, err
		}
	}
	r, err := s.requestByCode(ctx, code)
	if err != nil {
		return none, err
	}
	// A code used again ends the grant of its first use, which takes its turn
	// among those who are using that.
	return retryGrant(&s.turns, cmp.Or(r.Value.Grant, r.Value.ID), func() (oauth.TokenResponse, error) {
		r, err := s.requestByCode(ctx, code)
		if err != nil {
			return none, err
		}
		return s.redeemOnce(ctx, p, client, proof, r, challenge)
	})
}

func (s *Server) requestByCode(ctx context.Context, code string) (store.Versioned[grant.Request], error) {
	r, err := s.store.RequestByCode(ctx, s.tenant, grant.Hash(secret.New(code).Hash()))
	if errors.Is(err, store.ErrNotFound) {
		return r, oauth.Fail(oauth.CodeUnknown)
	}
	return r, problem(err)
}

func (s *Server) redeemOnce(ctx context.Context, p oauth.Params, client *Client, proof dpop.Proof, r store.Versioned[grant.Request], challenge string) (oauth.TokenResponse, error) {
	var none oauth.TokenResponse
	if asked, err := p.Resource(); err != nil {
		return none, err
	} else if asked != "" && asked != r.Value.Resource {
		return none, oauth.Fail(oauth.ResourceOther)
	}
	res, err := s.Registry().Resource(r.Value.Resource)
	if err != nil {
		return none, err
	}
	if err := s.stillHere(ctx, r.Value.Subject); err != nil {
		return none, err
	}
	env := s.env()
	var change store.Change
	installation, err := s.installation(ctx, &change, r.Value.Subject, r.Value.Facts, proof.Thumbprint)
	if err != nil {
		return none, err
	}
	if s.locks.locked(installation) {
		return none, oauth.Fail(oauth.InstallationLocked)
	}
	var first secret.Value
	e := grant.Redeem{
		Client: client.ID, RedirectURI: p.Get("redirect_uri"), Challenge: challenge,
		Thumbprint: proof.Thumbprint, Installation: installation, Bearer: res.Bearer && !client.DPoPRequired,
		FirstRefresh: func(raw id.Raw) grant.Hash {
			first = secret.SealRefresh(s.Keys().RefreshKey(env.Now), s.tenant, secret.RefreshHandle{Grant: raw}, s.draw32())
			return grant.Hash(first.Hash())
		},
	}
	next, effects, refused := grant.StepRequest(r.Value, e, env)
	if len(effects) == 0 {
		return none, redeemProblem(refused)
	}
	if refused != nil {
		change = store.Change{} // no installation for a refusal
	}
	s.collect(&change, effects)
	change.Requests = append(change.Requests, store.Versioned[grant.Request]{Value: next, Version: r.Version})
	if err := s.revokeAll(ctx, &change, effects, env); err != nil {
		return none, err
	}
	if err := s.apply(ctx, change); err != nil {
		return none, err
	}
	if refused != nil {
		return none, redeemProblem(refused)
	}
	return s.answerLogin(ctx, client, r.Value.Nonce, effects, first, env)
}

// stillHere refuses to go on with a login whose account was disabled since it was
// approved. A request that nobody has approved has no subject yet.
func (s *Server) stillHere(ctx context.Context, subject string) error {
	if subject == "" {
		return nil
	}
	acc, err := s.store.Account(ctx, s.tenant, subject)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && acc.Value.Disabled:
		return oauth.Fail(oauth.GrantEnded)
	}
	return problem(err)
}

// redeemProblem names an expired code as such.
func redeemProblem(err error) error {
	if errors.Is(err, grant.ErrExpired) {
		return oauth.Fail(oauth.CodeExpired)
	}
	if errors.Is(err, grant.ErrNotApproved) {
		return oauth.Fail(oauth.CodeUnknown)
	}
	return problem(err)
}

// revokeAll carries out what a step asked to revoke, in the same change.
func (s *Server) revokeAll(ctx context.Context, c *store.Change, effects []grant.Effect, env grant.Env) error {
	for _, e := range effects {
		rv, ok := e.(grant.RevokeGrant)
		if !ok {
			continue
		}
		g, err := s.store.Grant(ctx, s.tenant, rv.Grant)
		if err != nil {
			return problem(err)
		}
		_, err = s.stepGrant(c, g, grant.Revoke{Reason: rv.Reason}, env)
		if err != nil && !errors.Is(err, grant.ErrInactive) && !errors.Is(err, grant.ErrExpired) {
			return problem(err)
		}
	}
	return nil
}

// installation finds or makes the installation of a proof key.
func (s *Server) installation(ctx context.Context, c *store.Change, subject string, facts event.Facts, thumbprint string) (string, error) {
	if thumbprint == "" {
		return "", nil
	}
	now := s.Now()
	v, err := s.store.InstallationByKey(ctx, s.tenant, subject, thumbprint)
	switch {
	case errors.Is(err, store.ErrNotFound):
		v = store.Versioned[store.Installation]{Value: store.Installation{
			ID: id.New(id.Installation, now, s.draw10()), Subject: subject, Thumbprint: thumbprint, FirstSeen: now,
		}}
	case err != nil:
		return "", problem(err)
	}
	v.Value.Facts, v.Value.LastSeen = facts, now
	c.Installations = append(c.Installations, v)
	return v.Value.ID, nil
}

// answerLogin answers what made a grant: its first tokens.
func (s *Server) answerLogin(ctx context.Context, client *Client, nonce string, effects []grant.Effect, first secret.Value, env grant.Env) (oauth.TokenResponse, error) {
	var g grant.Grant
	var t grant.AccessToken
	for _, e := range effects {
		switch e := e.(type) {
		case grant.NewGrant:
			g = e.Grant
		case grant.IssueToken:
			t = e.Token
		}
	}
	out, err := s.mint(t, env)
	if err != nil {
		return out, err
	}
	if g.Current != (grant.Hash{}) {
		out.RefreshToken = first.Reveal()
	}
	out.GrantExpires = g.EndsAt.Unix()
	for _, sc := range t.Scope {
		if sc == oauth.ScopeOpenID {
			out.IDToken, err = s.idToken(ctx, client, nonce, g, env)
		}
	}
	return out, err
}

// mint signs an access token that a decision allowed and whose record is
// durable (RFC 9068). Nothing is answered to an installation that was locked
// meanwhile: what was answered before, the lock finds and ends.
func (s *Server) mint(t grant.AccessToken, env grant.Env) (oauth.TokenResponse, error) {
	if s.locks.locked(t.Installation) {
		return oauth.TokenResponse{}, oauth.Fail(oauth.InstallationLocked)
	}
	key, err := s.Keys().Signer(jws.ES256, env.Now)
	if err != nil {
		return oauth.TokenResponse{}, problem(err)
	}
	scope := strings.Join(t.Scope, " ")
	text, err := token.Issue(key, token.AccessClaims{
		Issuer: s.issuer, Subject: t.Subject, Audience: t.Resource, ClientID: t.Client, Scope: scope,
		ID: t.JTI, GrantID: t.Grant, Thumbprint: t.Thumbprint, ACR: t.ACR,
		IssuedAt: t.IssuedAt, ExpiresAt: t.ExpiresAt, AuthTime: t.AuthTime,
	})
	if err != nil {
		return oauth.TokenResponse{}, problem(err)
	}
	kind := "DPoP"
	if t.Thumbprint == "" {
		kind = "Bearer"
	}
	return oauth.TokenResponse{
		AccessToken: text, TokenType: kind, ExpiresIn: int64(t.ExpiresAt.Sub(env.Now) / time.Second),
		Scope: scope, Resource: t.Resource, GrantID: t.Grant,
	}, nil
}

// idToken says who signed in (OIDC Core §2).
func (s *Server) idToken(ctx context.Context, client *Client, nonce string, g grant.Grant, env grant.Env) (string, error) {
	key, err := s.Keys().Signer(client.IDTokenAlg, env.Now)
	if err != nil {
		return "", problem(err)
	}
	claims := token.IDClaims{
		Issuer: s.issuer, Subject: g.Subject, Audience: client.ID, Nonce: nonce, ACR: g.ACR, GrantID: g.ID,
		IssuedAt: env.Now, ExpiresAt: env.Now.Add(grant.IDTokenLife), AuthTime: g.AuthTime,
	}
	for _, sc := range g.Scope {
		if sc == oauth.ScopeEmail {
			acc, err := s.store.Account(ctx, s.tenant, g.Subject)
			if err != nil {
				return "", problem(err)
			}
			claims.Email, claims.EmailVerified = acc.Value.Email, acc.Value.FromConfig
		}
	}
	err = s.apply(ctx, store.Change{Records: []event.Record{{
		Name: event.IDTokenIssued, Tenant: s.tenant, Time: env.Now, Subject: g.Subject, Client: client.ID, Grant: g.ID,
		Until: claims.ExpiresAt,
	}}})
	if err != nil {
		return "", err
	}
	text, err := token.IssueID(key, claims)
	return text, problem(err)
}
