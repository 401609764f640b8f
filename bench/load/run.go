package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/oauth"
)

// errEnough ends a tool: there are no requests left.
var errEnough = errors.New("enough requests")

// run puts the server under load until the time or the requests are used up.
func run(ctx context.Context, o options) (report, error) {
	if err := onLoopback(ctx, o.issuer); err != nil {
		return report{}, err
	}
	srv, err := driver.Discover(ctx, o.issuer, client(o.tools))
	if err != nil {
		return report{}, fmt.Errorf("the server's metadata: %w", err)
	}
	defer srv.HTTP.CloseIdleConnections()
	m := srv.Metadata
	if m.DeviceAuthorizationEndpoint == "" || m.TokenEndpoint == "" || o.par && m.PAREndpoint == "" {
		return report{}, errors.New("the server's metadata name no endpoint for what was asked")
	}
	for _, endpoint := range []string{m.DeviceAuthorizationEndpoint, m.TokenEndpoint, m.PAREndpoint} {
		if endpoint == "" {
			continue
		}
		if err := onLoopback(ctx, endpoint); err != nil {
			return report{}, err
		}
	}
	c := &counts{left: o.count, done: map[string]*samples{}}
	end, cancel := context.WithTimeout(ctx, o.time)
	defer cancel()
	begun := time.Now()
	var wg sync.WaitGroup
	for range o.tools {
		t, err := newTool(srv, o, c)
		if err != nil {
			return report{}, err
		}
		wg.Go(func() { t.play(end) })
	}
	wg.Wait()
	r := c.report(o.issuer, time.Since(begun))
	if r.Requests == 0 {
		return r, errors.Join(errors.New("the server answered nothing"), ctx.Err())
	}
	return r, nil
}

// tool is one of many.
type tool struct {
	*driver.Tool
	o     options
	count *counts
}

func newTool(srv *driver.Server, o options, c *counts) (*tool, error) {
	t := &tool{Tool: &driver.Tool{Server: srv, Client: o.client}, o: o, count: c}
	if o.dpop {
		var err error
		if t.Tool, err = driver.NewTool(srv, o.client); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// afterRefusal is how long a tool rests that was refused, so that a broken server
// or a wrong flag does not become a busy loop.
const afterRefusal = 100 * time.Millisecond

// play logs in, refreshes and begins again, until the end.
func (t *tool) play(ctx context.Context) {
	for ctx.Err() == nil {
		token, err := t.login(ctx)
		for i := 0; i < t.o.refreshes && err == nil && token != ""; i++ {
			token, err = t.refresh(ctx, token)
		}
		if errors.Is(err, errEnough) {
			return
		}
		if err != nil && !t.o.rest(ctx, afterRefusal) {
			return
		}
	}
}

func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// send posts one form and takes it down.
func (t *tool) send(ctx context.Context, name, endpoint string, form url.Values, out any) error {
	if !t.count.take() {
		return errEnough
	}
	t.Sent = func(took time.Duration, err error) { t.count.add(name, took, err) }
	form.Set("client_id", t.Client)
	return t.Post(ctx, endpoint, form, out)
}

// asked are the parameters that say what for.
func (t *tool) asked() url.Values {
	form := url.Values{}
	for k, v := range map[string]string{"scope": t.o.scope, "resource": t.o.resource} {
		if v != "" {
			form.Set(k, v)
		}
	}
	return form
}

// login is a device login (RFC 8628), and gives a refresh token if there is one.
func (t *tool) login(ctx context.Context) (string, error) {
	m := t.Server.Metadata
	if t.o.par {
		if err := t.push(ctx); err != nil {
			return "", err
		}
	}
	var d oauth.DeviceResponse
	if err := t.send(ctx, "device_authorization", m.DeviceAuthorizationEndpoint, t.asked(), &d); err != nil {
		return "", err
	}
	t.o.started(d)
	interval := 5 * time.Second // RFC 8628 §3.2: where none is given
	if d.Interval > 0 {
		interval = time.Duration(d.Interval) * time.Second
	}
	for t.o.rest(ctx, interval) {
		var out oauth.TokenResponse
		err := t.send(ctx, "poll", m.TokenEndpoint, url.Values{"grant_type": {oauth.GrantDeviceCode}, "device_code": {d.DeviceCode}}, &out)
		switch {
		case err == nil:
			t.count.login()
			return out.RefreshToken, nil
		case nameOf(err) == "slow_down":
			interval += 5 * time.Second // RFC 8628 §3.5: for good
		case errors.Is(err, errEnough), nameOf(err) != "authorization_pending":
			return "", err
		}
	}
	return "", ctx.Err()
}

// push pushes an authorization request that nobody opens.
func (t *tool) push(ctx context.Context) error {
	sum := sha256.Sum256([]byte(rand.Text()))
	form := t.asked()
	form.Set("response_type", "code")
	form.Set("redirect_uri", t.o.redirect)
	form.Set("state", rand.Text())
	form.Set("code_challenge", base64.RawURLEncoding.EncodeToString(sum[:]))
	form.Set("code_challenge_method", "S256")
	return t.send(ctx, "pushed_authorization", t.Server.Metadata.PAREndpoint, form, nil)
}

// refresh gives the next refresh token: the same one where the server does not
// rotate (RFC 6749 §6).
func (t *tool) refresh(ctx context.Context, token string) (string, error) {
	var out oauth.TokenResponse
	err := t.send(ctx, "refresh", t.Server.Metadata.TokenEndpoint, url.Values{"grant_type": {oauth.GrantRefreshToken}, "refresh_token": {token}}, &out)
	if out.RefreshToken != "" {
		token = out.RefreshToken
	}
	return token, err
}
