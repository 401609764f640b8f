package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/store"
)

// AssertionType is the client_assertion_type of private_key_jwt (RFC 7523
// §2.2).
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
// §3), the one method that it has.
func (s *Server) ResourceServer(c Call) (*Resource, error) {
	switch method, err := c.method(); {
	case err != nil:
		return nil, err
	case method != oauth.AuthPrivateKeyJWT:
		return nil, oauth.Fail(oauth.ClientAuthentication)
	}
	var res *Resource
	err := s.assertion(c, func(name string) *jws.Set {
		found, err := s.Registry().Resource(name)
		if err != nil {
			return nil
		}
		res = found
		return found.Keys
	})
	if err != nil {
		return nil, err
	}
	return res, nil
}

// assertion verifies the assertion of a call (RFC 7523 §3): issuer and subject
// are who calls, whose keys keysOf gives; the one audience is this issuer, the
// endpoint's URL or one of more; exp is near; and it is good for one call, be it
// of a client or of a resource server.
func (s *Server) assertion(c Call, keysOf func(name string) *jws.Set, more ...string) error {
	if c.Params.Get("client_assertion_type") != AssertionType {
		return oauth.Fail(oauth.ClientAuthentication)
	}
	msg, err := jws.Parse(c.Params.Get("client_assertion"))
	if err != nil {
		return oauth.Fail(oauth.AssertionInvalid).Because(err)
	}
	var claims assertionClaims
	if err := json.Unmarshal(msg.Payload, &claims); err != nil {
		return oauth.Fail(oauth.AssertionInvalid).Because(err)
	}
	keys := keysOf(claims.Issuer)
	if keys == nil || claims.Subject != claims.Issuer || !assertionType(msg.Header.Type) {
		return oauth.Fail(oauth.AssertionInvalid)
	}
	if name := c.Params.Get("client_id"); name != "" && name != claims.Issuer {
		return oauth.Fail(oauth.AssertionInvalid)
	}
	if err := verifyByAny(msg, keys); err != nil {
		return oauth.Fail(oauth.AssertionInvalid).Because(err)
	}
	return s.freshAssertion(claims, append(more, s.issuer, c.URL))
}

// assertionType refuses what was signed for another use (RFC 8725 §3.11). Most
// assertions have no type, or that of any JWT.
func assertionType(typ string) bool {
	return typ == "" || jws.TypeIs(typ, "jwt") || jws.TypeIs(typ, "client-authentication+jwt")
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

func (s *Server) freshAssertion(claims assertionClaims, audiences []string) error {
	now := s.Now()
	exp := time.Unix(int64(claims.ExpiresAt), 0)
	switch {
	case len(claims.Audience) != 1 || !slices.Contains(audiences, claims.Audience[0]):
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
	out, err := s.introspect(ctx, c)
	s.suspect(ctx, c.Params.Get("token"), "introspect", c.From)
	return out, err
}

func (s *Server) introspect(ctx context.Context, c Call) (oauth.Introspection, error) {
	res, err := s.ResourceServer(c)
	if err != nil {
		return oauth.Introspection{}, err
	}
	text, err := c.Params.Need("token")
	if err != nil {
		return oauth.Introspection{}, err
	}
	t, ok := s.ownToken(text)
	if !ok || t.Audience != res.ID || s.feed.revoked(t.GrantID, t.ID, t.IssuedAt) {
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
