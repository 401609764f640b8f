package authserver

import (
	"context"
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// Push answers a pushed authorization request (RFC 9126 §2). Proof is checked
// first, then the request, and only then is anything remembered.
func (s *Server) Push(_ context.Context, c Call) (oauth.PARResponse, error) {
	client, err := s.client(c)
	if err != nil {
		return oauth.PARResponse{}, err
	}
	if c.Params.Get("request_uri") != "" { // RFC 9126 §2.1
		return oauth.PARResponse{}, oauth.FailParam(oauth.RequestURIRefused, "request_uri")
	}
	p, err := s.proof(c, client)
	if err != nil {
		return oauth.PARResponse{}, err
	}
	r, err := s.newRequest(client, c.Params)
	if err != nil {
		return oauth.PARResponse{}, err
	}
	if p.Thumbprint != "" {
		if r.Thumbprint != "" && r.Thumbprint != p.Thumbprint { // dpop_jkt, RFC 9449 §10.1
			return oauth.PARResponse{}, oauth.FailParam(oauth.ProofInvalid, "dpop_jkt")
		}
		r.Thumbprint, r.JWK = p.Thumbprint, string(p.Key.AppendJWK(nil))
	}
	r.Facts = reportedFacts(c)
	uri, err := s.remember(&r)
	if err != nil {
		return oauth.PARResponse{}, err
	}
	return oauth.PARResponse{RequestURI: uri, ExpiresIn: int64(grant.RequestURILife / time.Second)}, nil
}

// remember gives a request its handle and keeps it in memory.
func (s *Server) remember(r *grant.Request) (uri string, err error) {
	handle := secret.Mint(secret.RequestURI, s.draw32())
	uri = secret.RequestURIPrefix + handle.Reveal()
	r.HandleHash = handleHash(uri)
	return uri, s.pending.add(*r, r.CreatedAt)
}

// handleHash is what stands for a request_uri at rest, in cookie names and in the
// loopback handshake: the URI has 256 random bits.
func handleHash(uri string) grant.Hash { return sha256.Sum256([]byte(uri)) }

// reportedFacts are what the installation says of itself: shown to the person
// as such, and used for nothing else.
func reportedFacts(c Call) event.Facts {
	get := func(name string) string { return cleanFact(c.Params.Get(name)) }
	return event.Facts{
		Host: get("keytether_host"), OSUser: get("keytether_os_user"),
		Platform: get("keytether_platform"), Agent: get("keytether_agent_version"),
		Address: c.Address,
	}
}

// cleanFact keeps a fact short and printable: it ends up on a page and in a
// terminal.
func cleanFact(v string) string {
	v = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r >= 0x80 && r <= 0x9f || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfffd || r == 0xfeff {
			return -1
		}
		return r
	}, v)
	if len(v) > oauth.MaxFact {
		v = strings.ToValidUTF8(v[:oauth.MaxFact], "")
	}
	return v
}

// newRequest checks an authorization request's parameters (RFC 6749 §4.1.1,
// RFC 7636 §4.3, RFC 8707 §2, OIDC Core §3.1.2.1) against the client's
// registration. It changes nothing.
func (s *Server) newRequest(client *Client, p oauth.Params) (grant.Request, error) {
	var r grant.Request
	redirect, err := client.redirect(p.Get("redirect_uri"))
	if err != nil {
		return r, err
	}
	mode, err := client.responseMode(p)
	if err != nil {
		return r, err
	}
	if p.Get("request") != "" {
		return r, oauth.FailParam(oauth.UnsupportedRequestJWTs, "request")
	}
	if !client.has(oauth.GrantAuthorizationCode) {
		return r, oauth.Fail(oauth.UnauthorizedClient)
	}
	if err := oauth.CheckChallenge(p.Get("code_challenge"), p.Get("code_challenge_method")); err != nil {
		return r, err
	}
	if len(p.Get("state")) > oauth.MaxState {
		return r, oauth.FailParam(oauth.TooLarge, "state")
	}
	if len(p.Get("nonce")) > oauth.MaxState {
		return r, oauth.FailParam(oauth.TooLarge, "nonce")
	}
	resource, scopes, err := s.target(client, p)
	if err != nil {
		return r, err
	}
	maxAge, err := parseMaxAge(p.Get("max_age"))
	if err != nil {
		return r, err
	}
	switch p.Get("prompt") {
	case "", "none", "login", "consent", "login consent", "consent login":
	default:
		return r, oauth.FailParam(oauth.PromptUnsupported, "prompt")
	}
	jkt := p.Get("dpop_jkt")
	if _, ok := readHash(jkt); jkt != "" && !ok { // RFC 9449 §10
		return r, oauth.FailParam(oauth.BadRequest, "dpop_jkt")
	}
	now := s.Now()
	return grant.Request{
		Tenant: s.tenant, ID: id.New(id.Request, now, s.draw10()), Status: grant.Pending,
		Client: client.ID, RedirectURI: redirect, ResponseMode: mode, State: p.Get("state"),
		Scope: scopes, Resource: resource, Challenge: p.Get("code_challenge"),
		Nonce: p.Get("nonce"), MaxAge: maxAge, Prompt: p.Get("prompt"), LoginHint: cleanFact(p.Get("login_hint")),
		Thumbprint: jkt, Handshake: client.Handshake,
		Refresh: client.has(oauth.GrantRefreshToken), Lifetimes: client.Lifetimes,
		CreatedAt: now, ExpiresAt: now.Add(grant.RequestURILife + grant.RequestURIGrace),
	}, nil
}

// target settles resource and scopes.
func (s *Server) target(client *Client, p oauth.Params) (string, []string, error) {
	resource, err := p.Resource()
	if err != nil {
		return "", nil, err
	}
	if resource == "" {
		resource = client.DefaultResource
	}
	res, err := s.Registry().Resource(resource)
	if err != nil {
		return "", nil, err
	}
	if len(client.Resources) > 0 && !slices.Contains(client.Resources, resource) {
		return "", nil, oauth.Fail(oauth.ResourceUnknown)
	}
	asked, err := oauth.ParseScope(p.Get("scope"))
	if err != nil {
		return "", nil, err
	}
	scopes, err := client.scopes(res, asked, p.Get("keytether_agent_version") != "")
	return resource, scopes, err
}

// responseMode checks response_type and response_mode (OAuth 2.0 Multiple
// Response Types §2.1, Form Post Response Mode).
func (c *Client) responseMode(p oauth.Params) (string, error) {
	if t := p.Get("response_type"); t != "code" {
		if t == "" {
			return "", oauth.FailParam(oauth.MissingParameter, "response_type")
		}
		return "", oauth.FailParam(oauth.UnsupportedResponse, "response_type")
	}
	mode := p.Get("response_mode")
	if mode == "" {
		return c.ResponseModes[0], nil
	}
	for _, m := range c.ResponseModes {
		if m == mode {
			return mode, nil
		}
	}
	return "", oauth.FailParam(oauth.UnsupportedMode, "response_mode")
}

func parseMaxAge(v string) (int, error) {
	if v == "" {
		return -1, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > 1<<30 {
		return 0, oauth.FailParam(oauth.BadRequest, "max_age")
	}
	return n, nil
}
