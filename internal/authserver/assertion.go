package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/store"
)

// AssertionType is the client_assertion_type that resource servers use (RFC
// 7523 §2.2).
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

type assertionClaims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	ExpiresAt float64  `json:"exp"`
	NotBefore float64  `json:"nbf"`
	ID        string   `json:"jti"`
}

// audience is one string or several (RFC 7519 §4.1.3).
type audience []string

// UnmarshalJSON reads either form.
func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if err := json.Unmarshal(b, &one); err == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}

// ResourceServer authenticates a resource server by private_key_jwt (RFC 7523
// §3): issuer and subject are its identifier, the audience is this issuer or
// the endpoint's URL, exp is near, and each assertion is good for one call.
func (s *Server) ResourceServer(c Call) (*Resource, error) {
	if c.Authorization || c.Params.Get("client_secret") != "" { // one method (RFC 6749 §2.3)
		return nil, oauth.Fail(oauth.ClientAuthentication)
	}
	if c.Params.Get("client_assertion_type") != AssertionType {
		return nil, oauth.Fail(oauth.ClientAuthentication)
	}
	msg, err := jws.Parse(c.Params.Get("client_assertion"))
	if err != nil {
		return nil, oauth.Fail(oauth.AssertionInvalid).Because(err)
	}
	var claims assertionClaims
	if err := json.Unmarshal(msg.Payload, &claims); err != nil {
		return nil, oauth.Fail(oauth.AssertionInvalid).Because(err)
	}
	res, err := s.Registry().Resource(claims.Issuer)
	if err != nil || res.Keys == nil || claims.Subject != res.ID {
		return nil, oauth.Fail(oauth.AssertionInvalid)
	}
	if id := c.Params.Get("client_id"); id != "" && id != res.ID {
		return nil, oauth.Fail(oauth.AssertionInvalid)
	}
	if err := verifyByAny(msg, res.Keys); err != nil {
		return nil, oauth.Fail(oauth.AssertionInvalid).Because(err)
	}
	return res, s.freshAssertion(claims, c.URL)
}

// verifyByAny verifies with the key that the header names, or, without a name,
// with one of the few there are.
func verifyByAny(msg jws.Message, set *jws.Set) error {
	err := error(jws.ErrKey)
	for _, e := range set.Entries() {
		if msg.Header.KeyID != "" && msg.Header.KeyID != e.KeyID {
			continue
		}
		if err = msg.Verify(e.Key); err == nil {
			return nil
		}
	}
	return err
}

func (s *Server) freshAssertion(claims assertionClaims, endpoint string) error {
	now := s.Now()
	exp := time.Unix(int64(claims.ExpiresAt), 0)
	switch {
	case len(claims.Audience) != 1 || (claims.Audience[0] != s.issuer && claims.Audience[0] != endpoint):
	case claims.ExpiresAt <= 0 || now.After(exp.Add(leeway)) || exp.After(now.Add(assertionLife)):
	case claims.NotBefore > float64(now.Add(leeway).Unix()):
	case claims.ID == "" || len(claims.ID) > oauth.MaxFact:
	default:
		seen, err := s.assertions.Seen(dpop.NewReplayKey(claims.Issuer, claims.ID), now, exp.Add(leeway))
		if err != nil {
			return oauth.Fail(oauth.RateLimited)
		}
		if seen {
			return oauth.Fail(oauth.AssertionInvalid)
		}
		return nil
	}
	return oauth.Fail(oauth.AssertionInvalid)
}

// Introspect answers RFC 7662 to a resource server, about tokens for itself
// alone. Everything else is inactive, and nothing more is said.
func (s *Server) Introspect(ctx context.Context, c Call) (oauth.Introspection, error) {
	res, err := s.ResourceServer(c)
	if err != nil {
		return oauth.Introspection{}, err
	}
	text, err := c.Params.Need("token")
	if err != nil {
		return oauth.Introspection{}, err
	}
	t, ok := s.ownToken(text)
	if !ok || t.Audience != res.ID || s.feed.revoked(t.GrantID, t.ID) {
		return oauth.Introspection{}, nil
	}
	g, err := s.store.Grant(ctx, s.tenant, t.GrantID)
	if errors.Is(err, store.ErrNotFound) || err == nil && g.Value.Status != grant.Active {
		return oauth.Introspection{}, nil
	}
	if err != nil {
		return oauth.Introspection{}, problem(err)
	}
	out := oauth.Introspection{
		Active: true, Scope: t.Scope, ClientID: t.ClientID, TokenType: "Bearer",
		Exp: t.ExpiresAt.Unix(), Iat: t.IssuedAt.Unix(), Sub: t.Subject, Aud: t.Audience, Iss: t.Issuer, JTI: t.ID, SID: t.GrantID,
	}
	if t.Thumbprint != "" {
		out.TokenType, out.Cnf = "DPoP", &oauth.Confirmation{JKT: t.Thumbprint}
	}
	return out, nil
}
