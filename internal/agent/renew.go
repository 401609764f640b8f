package agent

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauthclient"
)

// flight is one renewal that everybody who wants its token waits for.
type flight struct {
	done  chan struct{}
	token oauthclient.Tokens
	err   error
}

// freshness of a token in hand.
type freshness int

const (
	dead  freshness = iota // expired, or would be on the way
	aging                  // good, and to be renewed behind the caller's back
	fresh
)

func judge(t oauthclient.Tokens, now time.Time) freshness {
	left := oauthclient.Left(t.ExpiresAt, now)
	switch part := t.Life / renewPart; {
	case left <= min(nearEnd, part):
		return dead
	case left < min(max(renewMin, part), t.Life/2):
		return aging
	}
	return fresh
}

func (a *agent) token(r *http.Request) (any, error) {
	var req agentwire.TokenRequest
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	return a.tokenFor(r.Context(), req)
}

func (a *agent) tokenFor(ctx context.Context, req agentwire.TokenRequest) (any, error) {
	_, t, err := a.obtain(ctx, req)
	if err != nil {
		return nil, err
	}
	return agentwire.TokenResponse{
		AccessToken: agentwire.NewSecret(t.Access.Reveal()), TokenType: t.Type,
		ExpiresAt: agentwire.Moment(t.ExpiresAt), Scope: t.Scope, Resource: t.Resource,
	}, nil
}

// obtain gives a token that is good, renewing if it must.
func (a *agent) obtain(ctx context.Context, req agentwire.TokenRequest) (*profile, oauthclient.Tokens, error) {
	p, err := a.profile(req.Profile)
	if err != nil {
		return nil, oauthclient.Tokens{}, err
	}
	if err := p.allows(req.Resource); err != nil {
		return nil, oauthclient.Tokens{}, err
	}
	w, err := p.wants(req)
	if err != nil {
		return nil, oauthclient.Tokens{}, err
	}
	if err := a.admit(ctx, p, w.scope); err != nil {
		return nil, oauthclient.Tokens{}, err
	}
	a.reject(ctx, p, w, req.Rejected)
	t, f := a.take(p, w)
	if f == nil {
		return p, t, nil
	}
	select {
	case <-f.done:
		if f.err != nil {
			return nil, oauthclient.Tokens{}, f.err
		}
		return p, f.token, nil
	case <-ctx.Done(): // the renewal goes on for the others
		return nil, oauthclient.Tokens{}, context.Cause(ctx)
	}
}

// rejectedAgain is how long after a renewal a caller's word that the token is bad
// is not taken: one that says so all the time must not make a storm.
const rejectedAgain = 2 * time.Second

// reject drops the token in hand if it is the one that an API refused: it was
// ended (a copy was seen, RFC 7009), and this is how the agent hears of it before
// its time is over.
func (a *agent) reject(ctx context.Context, p *profile, w want, rejected string) {
	if rejected == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.tokens[w]
	sum := sha256.Sum256([]byte(t.Access.Reveal()))
	if ok && base64.RawURLEncoding.EncodeToString(sum[:]) == rejected && a.now().Sub(p.renewed) >= rejectedAgain && a.mayForce(ctx, p.who.Profile) {
		delete(p.tokens, w)
	}
}

// take looks and, in the same step, joins or starts the renewal: so that of many
// callers one renews. A nil flight means that the token is good.
func (a *agent) take(p *profile, w want) (oauthclient.Tokens, *flight) {
	now := a.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	t, ok := p.tokens[w]
	state := dead
	if ok {
		state = judge(t, now)
	}
	if state == fresh {
		return t, nil
	}
	f := p.flights[w]
	if f == nil && (state == dead || !now.Before(p.notYet)) {
		f = &flight{done: make(chan struct{})}
		p.flights[w] = f
		a.background(func() { a.fly(p, w, f) })
	}
	if state == aging {
		return t, nil
	}
	return oauthclient.Tokens{}, f
}

func (a *agent) fly(p *profile, w want, f *flight) {
	ctx, cancel := context.WithTimeout(a.ctx, renewTime)
	defer cancel()
	f.token, f.err = a.renew(ctx, p, w)
	if errors.Is(f.err, errGone) {
		f.err = notLoggedIn(p.who.Profile, f.err)
	}
	p.mu.Lock()
	if p.gone && f.err == nil {
		f.token, f.err = oauthclient.Tokens{}, notLoggedIn(p.who.Profile, errGone)
	}
	delete(p.flights, w)
	now := a.now()
	if f.err == nil {
		if len(p.tokens) >= maxCached {
			clear(p.tokens)
		}
		p.tokens[w], p.renewed, p.failed, p.notYet = f.token, now, nil, time.Time{}
	} else {
		why := wireError(f.err, "the token could not be renewed")
		if f.err = why; !w.unbound { // else the login itself may be well
			p.failed, p.notYet = why, now.Add(retryAfter)
		}
	}
	p.mu.Unlock()
	close(f.done)
}

// renew uses the refresh token. Whatever goes wrong but the server's word that
// the login is over, the same refresh token stays: if its answer was lost, the
// server repeats it.
func (a *agent) renew(ctx context.Context, p *profile, w want) (oauthclient.Tokens, error) {
	p.serial.Lock()
	defer p.serial.Unlock()
	if !a.current(p) {
		return oauthclient.Tokens{}, errGone
	}
	refresh, err := a.refreshToken(ctx, p)
	if errors.Is(err, keystore.ErrNotFound) || err == nil && refresh.IsZero() {
		reason := "the access token has expired and the server gave nothing to renew it with"
		if err != nil {
			reason = "the store " + p.status(a.now()).KeyStore + " does not have this login any more"
		}
		why := agentwire.NewError(agentwire.NotLoggedIn, "not logged in", reason, "Run `keytether login`", err)
		a.forget(p, why)
		return oauthclient.Tokens{}, why
	}
	if err != nil {
		return oauthclient.Tokens{}, err
	}
	c, err := a.connected(ctx, p)
	if err != nil {
		return oauthclient.Tokens{}, err
	}
	t, err := c.Refresh(ctx, oauthclient.RefreshRequest{Token: refresh, Scope: w.scope, Resource: p.resource(), Unbound: w.unbound})
	if errors.Is(err, oauthclient.ErrInvalidGrant) {
		a.log.Info("a login is over by the server's word", "profile", p.whoami().Profile, "err", err)
		why := agentwire.NewError(agentwire.NotLoggedIn, "not logged in", "the server ended this login ("+err.Error()+")", "Run `keytether login`", err)
		a.forget(p, why)
		return oauthclient.Tokens{}, why
	}
	if errors.Is(err, oauthclient.ErrLocked) {
		return oauthclient.Tokens{}, lockedError(p.whoami().Issuer, err)
	}
	if w.unbound && errors.Is(err, oauthclient.ErrRefused) {
		return oauthclient.Tokens{}, noUnbound(p.whoami(), err)
	}
	if err != nil {
		return oauthclient.Tokens{}, err
	}
	p.learn(w, &t)
	if !t.Refresh.IsZero() {
		if err := a.keep(context.WithoutCancel(ctx), p, t.Refresh); err != nil {
			// The old one can be repeated until its successor is used: nothing is lost yet.
			return oauthclient.Tokens{}, err
		}
	}
	if w.unbound && t.Type != oauthclient.TypeBearer { // it does not know what we ask for
		return oauthclient.Tokens{}, noUnbound(p.whoami(), nil)
	}
	a.log.Debug("renewed", "profile", p.whoami().Profile, "life", t.Life)
	return t, nil
}

// learn fills in what an answer left out, and takes over what it says of the
// grant.
func (p *profile) learn(w want, t *oauthclient.Tokens) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.Scope == "" {
		if t.Scope = w.scope; w.scope == "" {
			t.Scope = p.who.Scope
		}
	}
	if t.Resource == "" {
		t.Resource = p.who.Resource
	}
	p.notify(t.Notices)
	p.unrotated = t.Refresh.IsZero()
	if !w.unbound {
		p.kind = t.Type
	}
	if !t.GrantExpires.IsZero() {
		p.who.ExpiresAt = agentwire.Moment(t.GrantExpires)
	}
}

func (p *profile) resource() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.who.Resource
}
