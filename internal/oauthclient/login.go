package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// LoginRequest is what a login is for.
type LoginRequest struct {
	Scope    string // separated by spaces; openid and email are added where the server knows them
	Resource string // RFC 8707, one; empty: the server's default
	Account  string // subject or mail address that must sign in; empty: any
	Port     int    // of the listener; 0: any free one
	Facts    Facts

	Listen ListenFunc // nil: net.Listen
}

// Facts are what our servers show on the consent page about where a login was
// started. No other server is told.
type Facts struct {
	Host, OSUser, Platform, AgentVersion string
}

// Grant is what a login produced.
type Grant struct {
	Tokens
	Identity
	Warnings []string // the login stands, and yet these are to be told
}

// Login is a browser login in progress.
type Login struct {
	c      *Client
	req    LoginRequest
	ctx    context.Context
	bound  bound
	srv    *http.Server
	start  string // path of the one-time link
	done   string // path of the last page
	verify string // PKCE verifier
	nonce  string // of the ID token

	mu   sync.Mutex
	flow flow

	answer chan decision // the one that ends the login
	opened chan struct{} // closed when a browser has opened the link
	ready  chan struct{} // closed when grant and err stand
	seen   chan struct{} // closed when the last page was served
	gone   chan struct{} // closed when the listener is
	saw    sync.Once
	grant  Grant
	err    error
}

// StartLogin listens for one login. It ends with Wait's result or with ctx; a
// deadline of ctx is the time that a person has. Nothing is asked of the server
// before a browser opens the link. Errors: ErrPort, ErrMetadata when the server
// has no such login.
func (c *Client) StartLogin(ctx context.Context, r LoginRequest) (*Login, error) {
	if err := browserUsable(c.meta); err != nil {
		return nil, err
	}
	if r.Listen == nil {
		r.Listen = net.Listen
	}
	l := &Login{
		c: c, req: r, ctx: ctx, answer: make(chan decision, 1), opened: make(chan struct{}),
		ready: make(chan struct{}), seen: make(chan struct{}), gone: make(chan struct{}),
	}
	var texts [5]string
	for i := range texts {
		var err error
		if texts[i], err = c.random(32); err != nil {
			return nil, err
		}
	}
	l.start, l.done, l.verify, l.nonce = "/start/"+texts[0], "/done/"+texts[1], texts[2], texts[3]
	var err error
	if l.bound, err = bind(r.Listen, r.Port); err != nil {
		return nil, err
	}
	m := c.meta
	l.flow = flow{
		issuer: m.Issuer, origins: []string{oauth.Origin(m.Issuer)},
		needOrigin: c.handshakes(), canSign: c.handshakes(), needISS: m.AuthorizationResponseISSSupported,
		formPost: slices.Contains(m.ResponseModesSupported, "form_post"),
		state:    texts[4], redirectURI: l.bound.base() + "/callback",
	}
	if !c.handshakes() {
		// Ours live at the issuer's origin; others may keep their pages elsewhere.
		l.flow.origins = append(l.flow.origins, oauth.Origin(m.AuthorizationEndpoint))
	}
	l.serve()
	go l.run()
	return l, nil
}

// URL is the one-time local link that a browser must open.
func (l *Login) URL() string { return l.bound.base() + l.start }

// Note says in words what of the listener could not be had; mostly empty.
func (l *Login) Note() string { return l.bound.note }

// Opened is closed when a browser has opened the link.
func (l *Login) Opened() <-chan struct{} { return l.opened }

// CameBack says whether the browser came back with anything that belongs to this
// login.
func (l *Login) CameBack() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flow.ended || len(l.flow.nonces) > 0
}

// Wait gives the result. Errors: ErrDenied, ErrExpired, ErrUnreachable,
// ErrAccount, ErrIdentity, ErrAnswer, ErrClock, a *Refusal, or the cause of a
// ctx that was cancelled. The last page may still be served after it returns.
func (l *Login) Wait() (Grant, error) {
	<-l.ready
	return l.grant, l.err
}

// Closed is closed when the listener is gone and nothing runs any more.
func (l *Login) Closed() <-chan struct{} { return l.gone }

func (l *Login) run() {
	defer close(l.gone)
	answered := false
	select {
	case d := <-l.answer:
		answered = true
		l.finish(d)
	case <-l.ctx.Done():
		l.err = context.Cause(l.ctx)
		if errors.Is(l.err, context.DeadlineExceeded) {
			l.err = ErrExpired
		}
	}
	close(l.ready)
	if answered {
		t := time.NewTimer(linger)
		defer t.Stop()
		select { // not ctx: who waited has what they need, the browser has not
		case <-l.seen:
		case <-t.C:
		}
	}
	l.stop()
}

// finish redeems the code. A cancelled login redeems none; one that is being
// redeemed goes on to its end, for the person has done their part.
func (l *Login) finish(d decision) {
	if d.verdict != redeem {
		l.err = d.err
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), exchangeTime)
	defer cancel()
	l.grant, l.err = l.redeem(ctx, d.code)
}

func (l *Login) redeem(ctx context.Context, code secret.Value) (Grant, error) {
	form := url.Values{
		"grant_type":    {oauth.GrantAuthorizationCode},
		"code":          {code.Reveal()},
		"redirect_uri":  {l.flow.redirectURI},
		"client_id":     {l.c.id},
		"code_verifier": {l.verify},
	}
	set(form, "resource", l.req.Resource)
	t, err := l.c.tokens(ctx, form, anyType)
	if err != nil {
		return Grant{}, err
	}
	if t.Scope == "" {
		t.Scope = l.c.scopes(l.req.Scope)
	}
	if t.Resource == "" {
		t.Resource = l.req.Resource
	}
	g, err := l.c.accept(ctx, t, l.req.Account, l.nonce)
	if err == nil && l.bound.note != "" {
		g.Warnings = append([]string{l.bound.note}, g.Warnings...)
	}
	return g, err
}

// accept makes a grant of the tokens that ended a login: it looks who signed in,
// and refuses another account than the one asked for. What is refused is revoked.
func (c *Client) accept(ctx context.Context, t Tokens, account, nonce string) (Grant, error) {
	who, err := c.identify(ctx, t.idToken, nonce)
	if err == nil {
		err = checkAccount(account, who)
	}
	if err != nil {
		// Nobody is to keep what nobody asked for.
		if rerr := c.Discard(ctx, t); rerr != nil {
			err = fmt.Errorf("%w (and its tokens could not be revoked: %w)", err, rerr)
		}
		return Grant{}, err
	}
	g := Grant{Tokens: t, Identity: who}
	if t.Type == TypeBearer {
		g.Warnings = append(g.Warnings, "the access token is a bearer token: whoever copies it can use it until it expires")
	}
	if t.Refresh.IsZero() {
		g.Warnings = append(g.Warnings, "the server gave no refresh token: the login ends with its access token")
	}
	return g, nil
}

// Discard revokes what a login that is not wanted had been given. Errors as
// Revoke's.
func (c *Client) Discard(ctx context.Context, t Tokens) error {
	if !t.Refresh.IsZero() {
		return c.Revoke(ctx, t.Refresh, "refresh_token")
	}
	return c.Revoke(ctx, t.Access, "access_token")
}

// authorizationURL asks the server for the login and gives where the browser
// goes: with PAR a URL that holds nothing but a handle.
func (l *Login) authorizationURL() (target, requestURI string, err error) {
	form, err := l.parameters()
	if err != nil {
		return "", "", err
	}
	m := l.c.meta
	if m.PAREndpoint == "" {
		return withQuery(m.AuthorizationEndpoint, form), "", nil
	}
	uri, err := l.c.push(l.ctx, form)
	if err != nil {
		return "", "", err
	}
	return withQuery(m.AuthorizationEndpoint, url.Values{"client_id": {l.c.id}, "request_uri": {uri}}), uri, nil
}

func (l *Login) parameters() (url.Values, error) {
	challenge, err := oauth.Challenge(l.verify)
	if err != nil {
		return nil, err
	}
	c := l.c
	form := url.Values{
		"client_id":             {c.id},
		"response_type":         {"code"},
		"redirect_uri":          {l.flow.redirectURI},
		"state":                 {l.flow.state},
		"code_challenge":        {challenge},
		"code_challenge_method": {"S256"},
	}
	scope := c.scopes(l.req.Scope)
	set(form, "scope", scope)
	set(form, "resource", l.req.Resource)
	set(form, "login_hint", l.req.Account)
	if l.flow.formPost {
		form.Set("response_mode", "form_post")
	}
	if slices.Contains(strings.Fields(scope), oauth.ScopeOpenID) {
		form.Set("nonce", l.nonce)
	}
	if c.proves() && c.meta.PAREndpoint == "" {
		form.Set("dpop_jkt", c.key.Public().Thumbprint()) // RFC 9449 §10
	}
	c.tell(form, l.req.Facts)
	return form, nil
}

// tell adds the installation's facts, for our servers alone.
func (c *Client) tell(form url.Values, f Facts) {
	if !c.handshakes() {
		return
	}
	set(form, "keytether_host", words(f.Host, oauth.MaxFact))
	set(form, "keytether_os_user", words(f.OSUser, oauth.MaxFact))
	set(form, "keytether_platform", words(f.Platform, oauth.MaxFact))
	set(form, "keytether_agent_version", words(f.AgentVersion, oauth.MaxFact))
}
