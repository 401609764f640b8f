package verify

import (
	"context"
	"slices"
	"time"

	"github.com/keytether/keytether/internal/token"
)

// Caller is who sent a request that was let through: the claims of its access
// token (RFC 9068 §2.2), of which every one has been checked.
type Caller struct {
	Subject    string    // sub: the person or workload, by the issuer's stable id
	ClientID   string    // client_id: the tool that the person uses
	GrantID    string    // sid: the login that the token came from; empty from other issuers
	TokenID    string    // jti
	Resource   string    // aud: this API
	Scope      []string  // scope, in the token's order
	Thumbprint string    // cnf.jkt: the key that was proved (RFC 7638); empty with a bearer token
	ACR        string    // acr: how the person signed in; may be empty
	AuthTime   time.Time // auth_time: when; zero if not said
	IssuedAt   time.Time // iat, in whole seconds
	ExpiresAt  time.Time // exp, in whole seconds
}

// Has reports whether the token has the scope.
func (c Caller) Has(scope string) bool { return slices.Contains(c.Scope, scope) }

type callerKey struct{}

// From gives the caller of a request that a Verifier let through, by the
// request's context; false for any other.
func From(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(*Caller)
	if !ok {
		return Caller{}, false
	}
	out := *c
	out.Scope = slices.Clone(c.Scope) // the cache has the other
	return out, true
}

func callerOf(c token.AccessClaims, scope []string) Caller {
	return Caller{
		Subject: c.Subject, ClientID: c.ClientID, GrantID: c.GrantID, TokenID: c.ID, Resource: c.Audience,
		Scope: scope, Thumbprint: c.Thumbprint, ACR: c.ACR, AuthTime: c.AuthTime, IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt,
	}
}
