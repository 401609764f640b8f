package authserver

import (
	"context"
	"errors"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/token"
)

// Revoke answers RFC 7009. A refresh token ends its grant, an access token only
// itself. A token that is not known, or has ended, is answered like one that
// was revoked; another client's is refused. A public client proves nothing but
// that it holds the token, so that a proof is not asked for: whoever holds a
// token may end it. A device code ends the login that waits for it (ours; RFC
// 7009 §2.1 lets a server have further token types), and is proved as at a poll.
func (s *Server) Revoke(ctx context.Context, c Call) error {
	err := s.revoke(ctx, c)
	s.suspect(ctx, c.Params.Get("token"), "revoke", c.From)
	return err
}

func (s *Server) revoke(ctx context.Context, c Call) error {
	text, err := c.Params.Need("token")
	if err != nil {
		return err
	}
	client, err := s.client(c)
	if err != nil {
		return err
	}
	if _, err := secret.Parse(secret.Device, text); err == nil {
		p, err := s.proof(c, client)
		if err != nil {
			return err
		}
		return s.CancelDevice(ctx, text, client, p)
	}
	if h, ok := s.openRefresh(text); ok {
		return s.endGrant(ctx, id.Raw(h.Grant).String(id.Grant), client.ID, grant.Revoke{Reason: event.ReasonLogout})
	}
	t, ok := s.ownToken(text)
	switch {
	case !ok:
		return nil // RFC 7009 §2.2
	case t.ClientID != client.ID:
		return oauth.Fail(oauth.UnauthorizedClient) // RFC 7009 §2.1
	case s.feed.revoked(t.GrantID, t.ID, t.IssuedAt):
		return nil // it has ended, and that was recorded
	}
	return s.endGrant(ctx, t.GrantID, client.ID, grant.RevokeToken{
		Client: client.ID, JTI: t.ID, Until: t.ExpiresAt, Reason: event.ReasonLogout,
	})
}

// endGrant applies an event that ends a grant or one of its tokens. What has
// ended already stays ended.
func (s *Server) endGrant(ctx context.Context, grantID, clientID string, e grant.GrantEvent) error {
	_, err := retryGrant(&s.turns, grantID, func() (struct{}, error) {
		g, err := s.store.Grant(ctx, s.tenant, grantID)
		if errors.Is(err, store.ErrNotFound) {
			return struct{}{}, nil
		}
		if err != nil {
			return struct{}{}, problem(err)
		}
		if clientID != "" && g.Value.Client != clientID {
			return struct{}{}, oauth.Fail(oauth.UnauthorizedClient)
		}
		var change store.Change
		_, refused := s.stepGrant(&change, g, e, s.env())
		if err := s.apply(ctx, change); err != nil {
			return struct{}{}, err
		}
		if refused != nil && !errors.Is(refused, grant.ErrInactive) && !errors.Is(refused, grant.ErrExpired) {
			return struct{}{}, problem(refused)
		}
		return struct{}{}, nil
	})
	return err
}

// ownToken reads an access token of this server for whatever audience.
func (s *Server) ownToken(text string) (token.AccessClaims, bool) {
	now := s.Now()
	keys, err := s.Keys().PublicKeys(now)
	if err != nil {
		return token.AccessClaims{}, false
	}
	for _, res := range s.Registry().order {
		t, err := token.Verify(text, keys, token.Expectations{Issuer: s.issuer, Audience: res.ID, Now: now})
		if err == nil {
			return t, true
		}
		if !errors.Is(err, token.ErrAudience) {
			return token.AccessClaims{}, false
		}
	}
	return token.AccessClaims{}, false
}
