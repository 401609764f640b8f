package oauthclient

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// DeviceCode is what a person needs of a device authorization (RFC 8628 §3.2).
// The device code itself stays here.
type DeviceCode struct {
	UserCode        string
	VerificationURI string
	TypeBy          time.Time     // on our clock: the user code's end
	Interval        time.Duration // as the server offered it
}

// DeviceLogin is a device login in progress.
type DeviceLogin struct {
	c       *Client
	req     LoginRequest
	ctx     context.Context
	code    secret.Value
	show    DeviceCode
	polling polling

	ready chan struct{} // closed when grant and err stand
	gone  chan struct{} // closed when nothing runs any more
	grant Grant
	err   error
}

// StartDevice asks for a device authorization (RFC 8628 §3.1), proved by our key
// where both sides have DPoP, and polls for its end: never faster than the server
// allows, one request at a time, never past its expiry. It ends with Wait's
// result or with ctx; a login that ctx ends is cancelled at our servers too.
// Errors: ErrMetadata when the server has no device flow, ErrUnreachable,
// ErrAnswer, ErrClock, a *Refusal.
func (c *Client) StartDevice(ctx context.Context, r LoginRequest) (*DeviceLogin, error) {
	if err := deviceUsable(c.meta); err != nil {
		return nil, err
	}
	form := url.Values{"client_id": {c.id}}
	set(form, "scope", c.scopes(r.Scope))
	set(form, "resource", r.Resource)
	c.tell(form, r.Facts)
	sent := c.env.Now()
	a, err := c.post(ctx, c.meta.DeviceAuthorizationEndpoint, form)
	if err != nil {
		return nil, err
	}
	d := &DeviceLogin{c: c, req: r, ctx: ctx, ready: make(chan struct{}), gone: make(chan struct{})}
	if err := d.read(a.body, sent); err != nil {
		return nil, fmt.Errorf("%w: the device authorization request was answered, but %w", ErrAnswer, err)
	}
	go d.run()
	return d, nil
}

// read takes RFC 8628 §3.2's document. No error repeats what stood there.
func (d *DeviceLogin) read(body []byte, sent time.Time) error {
	var w oauth.DeviceResponse
	switch {
	case json.Unmarshal(body, &w) != nil:
		return errors.New("not with the JSON of a device authorization")
	case w.DeviceCode == "" || !opaque(w.DeviceCode):
		return errors.New("without a usable device_code")
	case w.UserCode == "" || len(w.UserCode) > maxUserCode || words(w.UserCode, maxUserCode) != w.UserCode:
		return errors.New("without a usable user_code")
	case !d.c.shows(w.VerificationURI):
		return errors.New("without a usable verification_uri")
	case w.ExpiresIn <= 0:
		return errors.New("without expires_in")
	}
	life := lifetime(w.ExpiresIn)
	d.code = secret.New(w.DeviceCode)
	d.show = DeviceCode{
		UserCode: w.UserCode, VerificationURI: w.VerificationURI, TypeBy: sent.Add(life), Interval: pollInterval,
	}
	if w.TypeWithin > 0 && w.TypeWithin < w.ExpiresIn {
		d.show.TypeBy = sent.Add(lifetime(w.TypeWithin))
	}
	if w.Interval > 0 {
		d.show.Interval = lifetime(w.Interval)
	}
	d.polling = newPolling(d.show.Interval, d.c.deviceWait(), d.c.env.Now(), sent.Add(life))
	return nil
}

// lifetime bounds seconds from the wire.
func lifetime(seconds int64) time.Duration {
	return time.Duration(min(seconds, int64(maxLife/time.Second))) * time.Second
}

// shows says whether a person can be sent to an address: https, as the issuer is,
// and nothing in it that hides where it leads.
func (c *Client) shows(at string) bool {
	u, err := url.Parse(at)
	return err == nil && u.Host != "" && u.User == nil && len(at) <= oauth.MaxURI && opaque(at) &&
		(u.Scheme == "https" || u.Scheme == "http" && strings.HasPrefix(c.meta.Issuer, "http://"))
}

// Code is what to show to the person.
func (d *DeviceLogin) Code() DeviceCode { return d.show }

// Wait gives the result. Errors: ErrDenied, ErrExpired, ErrAccount, ErrIdentity,
// ErrAnswer, ErrClock, a *Refusal, or the cause of a ctx that was cancelled. A
// server that cannot be reached meanwhile is asked again until the code expires.
func (d *DeviceLogin) Wait() (Grant, error) {
	<-d.ready
	return d.grant, d.err
}

// Closed is closed when nothing runs any more: a login that was called off has
// been cancelled at the server, or that has failed.
func (d *DeviceLogin) Closed() <-chan struct{} { return d.gone }

func (d *DeviceLogin) run() {
	defer close(d.gone)
	d.grant, d.err = d.poll()
	called := d.ctx.Err() != nil && d.err != nil
	if called {
		d.err = context.Cause(d.ctx)
		if errors.Is(d.err, context.DeadlineExceeded) {
			d.err = ErrExpired
		}
	}
	close(d.ready)
	if called && d.c.deviceWait() > 0 && d.c.meta.RevocationEndpoint != "" {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), cancelTime)
		defer cancel()
		if err := d.c.Revoke(ctx, d.code, ""); err != nil {
			d.c.env.Log.Info("device login: not cancelled at the server", "issuer", d.c.meta.Issuer, "err", err)
		}
	}
}

// poll asks until the login has ended.
func (d *DeviceLogin) poll() (Grant, error) {
	for {
		if err := d.pause(); err != nil {
			return Grant{}, err
		}
		a := polled{sent: d.c.env.Now()}
		t, h, err := d.ask(a.sent)
		switch a.kind, err = judge(err); {
		case t.Type != "":
			return d.finish(t)
		case d.ctx.Err() != nil:
			return Grant{}, context.Cause(d.ctx)
		case err != nil:
			return Grant{}, err
		}
		a.received = d.c.env.Now()
		a.retryAfter = retryAfter(h, d.c.serverNow())
		if a.jitter, err = d.c.fraction(); err != nil {
			return Grant{}, err
		}
		d.polling = d.polling.after(a)
		d.c.env.Log.Debug("device login: polled", "lost", d.polling.lost, "interval", d.polling.interval)
	}
}

// pause waits for the next poll's time. A machine that slept in between may find
// that the code has expired.
func (d *DeviceLogin) pause() error {
	for {
		wait, ok := d.polling.due(d.c.env.Now())
		if !ok {
			return ErrExpired
		}
		if wait == 0 {
			return d.ctx.Err()
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-d.ctx.Done():
			t.Stop()
			return d.ctx.Err()
		}
	}
}

// ask polls once (RFC 8628 §3.4), always with the same code and key, so that an
// answer that was lost can be had again.
func (d *DeviceLogin) ask(sent time.Time) (Tokens, http.Header, error) {
	form := url.Values{
		"grant_type": {oauth.GrantDeviceCode}, "device_code": {d.code.Reveal()}, "client_id": {d.c.id},
	}
	a, err := d.c.postPreferring(d.ctx, d.c.meta.TokenEndpoint, form, d.polling.preference(sent))
	if err != nil {
		return Tokens{}, a.header, err
	}
	if !json.Valid(a.body) { // a sign-in page of the network's, say
		return Tokens{}, a.header, fmt.Errorf("%w: %w", ErrUnreachable, errNotJSON)
	}
	t, err := d.c.decode(a.body, sent, anyType)
	if err != nil {
		return Tokens{}, a.header, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return t, a.header, nil
}

var errNotJSON = errors.New("something else answers in its place")

// judge sorts the errors of a poll: those that end the login, and those after
// which it goes on.
func judge(err error) (pollKind, error) {
	var r *Refusal
	switch {
	case err == nil:
		return pollPending, nil
	case errors.As(err, &r):
		switch r.Code {
		case "authorization_pending":
			return pollPending, nil
		case "slow_down":
			return pollSlowDown, nil
		case "expired_token":
			return 0, fmt.Errorf("%w: %w", ErrExpired, r)
		}
		return 0, ended(r)
	case errors.Is(err, ErrClock), errors.Is(err, ErrSetup), errors.Is(err, ErrAnswer) && !errors.Is(err, errNoOAuth):
		return 0, err
	}
	return pollLost, nil
}

// finish takes the tokens; the person has done their part, and a ctx that ends
// now ends nothing.
func (d *DeviceLogin) finish(t Tokens) (Grant, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), exchangeTime)
	defer cancel()
	if t.Scope == "" {
		t.Scope = d.c.scopes(d.req.Scope)
	}
	if t.Resource == "" {
		t.Resource = d.req.Resource
	}
	return d.c.accept(ctx, t, d.req.Account, "")
}

// fraction draws a number from 0 up to, not including, 1.
func (c *Client) fraction() (float64, error) {
	var b [8]byte
	if _, err := io.ReadFull(c.env.Random, b[:]); err != nil {
		return 0, fmt.Errorf("oauthclient: no randomness: %w", err)
	}
	return float64(binary.BigEndian.Uint64(b[:])>>11) / (1 << 53), nil
}
