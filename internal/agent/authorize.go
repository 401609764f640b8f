package agent

import (
	"context"
	"net/http"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauthclient"
)

// authorize gives one request's headers. The URL is judged before a token is
// touched.
func (a *agent) authorize(r *http.Request) (any, error) {
	var req agentwire.AuthorizeRequest
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	return a.authorizeFor(r.Context(), req)
}

func (a *agent) authorizeFor(ctx context.Context, req agentwire.AuthorizeRequest) (any, error) {
	p, err := a.profile(req.Profile)
	if err != nil {
		return nil, err
	}
	if err := p.allows(req.Resource); err != nil {
		return nil, err
	}
	c, err := a.connected(ctx, p)
	if err != nil {
		return nil, err
	}
	if err := confine(p.resource(), req.URL, c.Metadata()); err != nil {
		return nil, agentwire.NewError(agentwire.ResourceNotAllowed, "no token for this URL", err.Error()+"; this login is for "+p.resource(), "Check the URL, or log in for its resource with --resource", err)
	}
	p, t, err := a.obtain(ctx, agentwire.TokenRequest{Profile: req.Profile, Resource: req.Resource, Scope: req.Scope, Rejected: req.Rejected})
	if err != nil {
		return nil, err
	}
	out := agentwire.AuthorizeResponse{
		Authorization: agentwire.NewSecret(t.Type + " " + t.Access.Reveal()),
		TokenType:     t.Type, ExpiresAt: agentwire.Moment(t.ExpiresAt),
	}
	if t.Type != oauthclient.TypeDPoP {
		return out, nil
	}
	if c, err = a.connected(ctx, p); err != nil { // the token's own login, which may have come meanwhile
		return nil, err
	}
	proof, err := c.Proof(req.Method, req.URL, t.Access.Reveal(), req.Nonce)
	if err != nil {
		return nil, agentwire.NewError(agentwire.Failed, "no proof could be made", err.Error(), "", err)
	}
	out.DPoP = agentwire.NewSecret(proof)
	return out, nil
}
