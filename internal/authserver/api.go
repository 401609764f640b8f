package authserver

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/token"
)

// Scopes of the server's own API, the resource {issuer}/api/v1.
const (
	ScopeAccount = "account" // a person's own account and grants
	ScopeAdmin   = "admin"   // everybody's; needs RoleAdmin
)

// RoleAdmin is the role of accounts that may administer the server.
const RoleAdmin = "admin"

// APIResource is the server's own API as a resource. It takes no bearer tokens.
func APIResource(issuer string) *Resource {
	return &Resource{
		ID: issuer + oauth.PathAPI, Name: "This server",
		Scopes: []Scope{
			{Name: ScopeAccount, Words: "See and revoke what your tools may do"},
			{Name: ScopeAdmin, Words: "Administer this server and read its whole audit log", Role: RoleAdmin},
		},
	}
}

// APICall is a request to the server's own API.
type APICall struct {
	Authorization []string // every Authorization header
	Proofs        []string // every DPoP header
	Method        string
	URL           string
	Address       netip.Addr // of the caller; may be the zero Addr
}

// Caller is who calls the server's own API.
type Caller struct {
	Token   token.AccessClaims
	Proof   dpop.Proof
	Account store.Account
}

// Authenticate checks token and proof of a call to the server's own API, as
// package verify does for others (RFC 9449 §7). Errors: TokenMissing,
// TokenInvalid, TokenExpired, TokenRevoked, TokenBound, ProofInvalid,
// NonceRequired, InsufficientScope.
func (s *Server) Authenticate(ctx context.Context, c APICall, scope string) (Caller, error) {
	text, err := bound(c)
	if err != nil {
		s.tripAPI(ctx, c, err)
		return Caller{}, err
	}
	now := s.Now()
	keys, err := s.Keys().PublicKeys(now)
	if err != nil {
		return Caller{}, problem(err)
	}
	t, err := token.Verify(text, keys, token.Expectations{Issuer: s.issuer, Audience: s.issuer + oauth.PathAPI, Now: now})
	switch {
	case errors.Is(err, token.ErrExpired):
		return Caller{}, oauth.Fail(oauth.TokenExpired)
	case err != nil:
		return Caller{}, oauth.Fail(oauth.TokenInvalid).Because(err)
	case t.Thumbprint == "":
		return Caller{}, oauth.Fail(oauth.TokenInvalid)
	}
	proof, err := dpop.Verify(c.Proofs[0], dpop.Expect{
		Method: c.Method, URL: c.URL, AccessToken: text, Thumbprint: t.Thumbprint, Now: now,
		MaxAge: grant.ProofLife, Leeway: 5 * time.Second,
		Nonces: s.apiNonces, NonceUse: dpop.NonceRequired, Replays: s.proofs, Headers: s.headers,
	})
	if err != nil {
		s.tripAPI(ctx, c, err)
		return Caller{}, proofProblem(err)
	}
	if s.feed.revoked(t.GrantID, t.ID, t.IssuedAt) {
		return Caller{}, oauth.Fail(oauth.TokenRevoked)
	}
	acc, err := s.store.Account(ctx, s.tenant, t.Subject)
	if err != nil || acc.Value.Disabled {
		return Caller{}, oauth.Fail(oauth.TokenRevoked)
	}
	if !slices.Contains(strings.Fields(t.Scope), scope) ||
		(scope == ScopeAdmin && !slices.Contains(acc.Value.Roles, RoleAdmin)) {
		return Caller{}, oauth.FailParam(oauth.InsufficientScope, scope)
	}
	return Caller{Token: t, Proof: proof, Account: acc.Value}, nil
}

// bound takes a token from exactly one Authorization header of the DPoP scheme
// with exactly one proof (RFC 9449 §7.1). One as Bearer is refused (§7.2).
func bound(c APICall) (string, error) {
	if len(c.Authorization) == 0 {
		return "", oauth.Fail(oauth.TokenMissing)
	}
	scheme, text, _ := strings.Cut(c.Authorization[0], " ")
	switch {
	case len(c.Authorization) > 1:
		return "", oauth.Fail(oauth.TokenInvalid)
	case strings.EqualFold(scheme, "Bearer"):
		return "", oauth.Fail(oauth.TokenBound)
	case !strings.EqualFold(scheme, "DPoP"):
		return "", oauth.Fail(oauth.TokenMissing)
	case len(c.Proofs) != 1:
		return "", oauth.Fail(oauth.ProofInvalid)
	}
	return text, nil
}

// APINonce gives a fresh DPoP nonce for the server's own API.
func (s *Server) APINonce() string { return s.apiNonces.Mint(s.Now(), s.draw16()) }
