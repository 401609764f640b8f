package authserver

import (
	"context"
	"slices"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// Decision is what the person pressed on the consent page.
type Decision struct {
	ClientID   string
	RequestURI string
	Allow      bool
}

// Decide takes the person's Allow or Deny, and gives what the client must be
// told: for a client with the loopback handshake a nonce, for others the code.
func (s *Server) Decide(ctx context.Context, d Decision, b Browser) (Response, error) {
	return retry(func() (Response, error) {
		r, err := s.request(ctx, d.ClientID, d.RequestURI)
		if err != nil {
			return Response{}, err
		}
		v, err := s.view(ctx, r.Value, d.RequestURI, b)
		if err != nil {
			return Response{}, err
		}
		if err := s.answerable(r.Value, v); err != nil {
			return Response{}, err
		}
		if v.Person == nil {
			return Response{}, oauth.Fail(oauth.LoginRequired)
		}
		return s.decide(ctx, d, r, *v.Person, b)
	})
}

func (s *Server) decide(ctx context.Context, d Decision, r store.Versioned[grant.Request], p Person, b Browser) (Response, error) {
	t := s.turn(r, b)
	t.step(grant.Open{Session: p.Session.ID, Binding: t.hash})
	if !d.Allow {
		t.step(grant.Deny{Session: p.Session.ID, Binding: t.hash, Subject: p.Account.ID})
		if err := t.commit(ctx); err != nil {
			return Response{}, err
		}
		return s.failure(t.request, oauth.Fail(oauth.AccessDenied)), nil
	}
	res, err := s.Registry().Resource(r.Value.Resource)
	if err != nil {
		return Response{}, err
	}
	allowed := res.mayGrant(r.Value.Scope, p.Account.Roles)
	if !slices.ContainsFunc(allowed, func(n string) bool { _, ok := builtin(n); return !ok }) && len(allowed) < len(r.Value.Scope) {
		return Response{}, oauth.Fail(oauth.ScopeUnknown)
	}
	t.step(grant.Approve{
		Session: p.Session.ID, Binding: t.hash, Subject: p.Account.ID, Scope: allowed,
		AuthTime: p.Session.AuthTime, ACR: p.Session.ACR,
	})
	answer := t.offer(s, p.Session.ID)
	if err := t.commit(ctx); err != nil {
		return Response{}, err
	}
	out := s.response(t.request, answer)
	out.Handshake = t.request.Handshake
	if t.fresh {
		out.Binding = t.binding
	}
	return out, nil
}

// turn is a few steps of one request that are committed together.
type turn struct {
	s       *Server
	read    store.Versioned[grant.Request]
	request grant.Request
	env     grant.Env
	change  store.Change
	err     error
	binding secret.Value // the per-request cookie
	hash    grant.Hash
	fresh   bool // the cookie is new
}

// turn starts steps on r by browser b. An unopened request gets its cookie here.
func (s *Server) turn(r store.Versioned[grant.Request], b Browser) *turn {
	t := &turn{s: s, read: r, request: r.Value, env: s.env(), binding: b.Binding}
	if r.Value.Session == "" {
		t.binding, t.fresh = secret.Mint(secret.Session, s.draw32()), true
	}
	if !t.binding.IsZero() {
		t.hash = grant.Hash(t.binding.Hash())
	}
	return t
}

// step applies an event unless an earlier one failed.
func (t *turn) step(e grant.RequestEvent) {
	if t.err != nil {
		return
	}
	var effects []grant.Effect
	t.request, effects, t.err = grant.StepRequest(t.request, e, t.env)
	t.s.collect(&t.change, effects)
}

// offer ends an approval: with the loopback nonce, or with the code.
func (t *turn) offer(s *Server, session string) Param {
	if t.request.Handshake {
		nonce := newNonce(s.draw32())
		t.step(grant.OfferNonce{Session: session, Binding: t.hash, Nonce: nonceHash(nonce.Reveal())})
		return Param{"handshake_nonce", nonce}
	}
	code := secret.Mint(secret.Code, s.draw32())
	t.step(grant.IssueCode{Session: session, Binding: t.hash, Code: grant.Hash(code.Hash())})
	return Param{"code", code}
}

// commit persists what the steps decided, refusals among it, and answers with
// the first refusal.
func (t *turn) commit(ctx context.Context) error {
	if !t.change.IsEmpty() {
		t.change.Requests = append(t.change.Requests, store.Versioned[grant.Request]{Value: t.request, Version: t.read.Version})
		if err := t.s.apply(ctx, t.change); err != nil {
			return err
		}
		t.s.pending.drop(t.request.HandleHash)
	}
	if t.err != nil {
		return problem(t.err)
	}
	return nil
}
