package agent

import (
	"context"
	"errors"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauthclient"
)

// way is one way in which a person can finish a login. A login has one, and a
// second where the first one's answer seems to be lost: whichever is finished
// first counts, and the other is called off.
type way struct {
	flow   string
	event  agentwire.Event // what to show
	wait   func() (oauthclient.Grant, error)
	closed <-chan struct{}
	login  *oauthclient.Login // of the browser's
}

// result is how a way ended.
type result struct {
	way   *way
	grant oauthclient.Grant
	err   error
}

// begin starts the first way. Where the choice was ours and the server has only
// the other flow for this client, that one is taken.
func (s *attempt) begin() error {
	start, other := s.browser, s.device
	if s.req.Flow == agentwire.FlowDevice {
		start, other = s.device, s.browser
	}
	w, err := start()
	if err != nil && s.auto && notOffered(err) {
		reason := s.reason
		s.reason = reason + ", but the server has no device login for this client: open the link in a browser on this machine, or forward its port"
		if s.req.Flow == agentwire.FlowBrowser {
			s.reason = "the server has no browser login"
		}
		if w, oerr := other(); oerr == nil {
			s.req.Flow = w.flow
			s.ways = append(s.ways, w)
			return nil
		}
		s.reason = reason
	}
	if err != nil {
		return err
	}
	s.ways = append(s.ways, w)
	return nil
}

// notOffered: the server has no such flow, or not for this client (RFC 6749 §5.2).
func notOffered(err error) bool {
	r, ok := errors.AsType[*oauthclient.Refusal](err)
	return errors.Is(err, oauthclient.ErrMetadata) || ok && (r.Code == "unauthorized_client" || r.Code == "unsupported_grant_type")
}

func (s *attempt) wanted() oauthclient.LoginRequest {
	f := s.req.Facts
	return oauthclient.LoginRequest{
		Scope: s.req.Scope, Resource: s.req.Resource, Account: s.req.LoginHint, Port: s.req.CallbackPort,
		Facts: oauthclient.Facts{Host: f.Host, OSUser: f.OSUser, Platform: f.Platform, AgentVersion: f.AgentVersion},
	}
}

func (s *attempt) browser() (*way, error) {
	ctx, cancel := context.WithTimeout(s.ctx, s.a.opt.LoginTime)
	l, err := s.client.StartLogin(ctx, s.wanted())
	if err != nil {
		cancel()
		return nil, err
	}
	s.a.background(func() { <-l.Closed(); cancel() }) // the last page may come after the last event
	e := agentwire.Event{Event: agentwire.EventBrowser, URL: l.URL(), Flow: agentwire.FlowBrowser, Reason: s.reason}
	if s.auto && s.client.HasDevice() {
		e.Login = s.id
	}
	return &way{flow: agentwire.FlowBrowser, event: e, wait: l.Wait, closed: l.Closed(), login: l}, nil
}

func (s *attempt) device() (*way, error) {
	ctx, cancel := context.WithTimeout(s.ctx, deviceTime)
	d, err := s.client.StartDevice(ctx, s.wanted())
	if err != nil {
		cancel()
		return nil, err
	}
	s.a.background(func() { <-d.Closed(); cancel() })
	code := d.Code()
	e := agentwire.Event{
		Event: agentwire.EventDeviceCode, UserCode: code.UserCode, VerificationURI: code.VerificationURI,
		ExpiresAt: agentwire.Moment(code.TypeBy), Interval: int(code.Interval / time.Second),
		Flow: agentwire.FlowDevice, Reason: s.reason,
	}
	return &way{flow: agentwire.FlowDevice, event: e, wait: d.Wait, closed: d.Closed()}, nil
}

// stream says what happens until the login has ended.
func (s *attempt) stream(ev *agentwire.EventWriter) error {
	results := make(chan result, 2)
	left := 0
	follow := func(w *way) error {
		left++
		go func() {
			g, err := w.wait()
			results <- result{w, g, err}
		}()
		return ev.Write(w.event)
	}
	defer func() { s.rest(results, left) }()
	s.watchBrowser()
	if err := follow(s.ways[0]); err != nil {
		return err
	}
	alive := time.NewTicker(waitingEvery)
	defer alive.Stop()
	called := s.ctx.Done()
	var late <-chan time.Time
	for {
		select {
		case <-called: // what the person has finished by now still counts
			called, late = nil, time.After(s.a.opt.endTime)
		case <-late:
			return context.Cause(s.ctx)
		case res := <-results:
			left--
			if res.err == nil {
				e, err := s.a.install(s, res.way.flow, res.grant)
				if err != nil {
					return err
				}
				return ev.Write(e)
			}
			if left == 0 || final(res.err) {
				return res.err
			}
		case w := <-s.second:
			s.ways = append(s.ways, w)
			if err := follow(w); err != nil {
				s.cancel()
			}
		case <-alive.C:
			if err := ev.Write(agentwire.Event{Event: agentwire.EventWaiting}); err != nil {
				s.cancel() // the caller is gone
			}
		}
	}
}

// final: what the person or the server said by one way holds for the other.
func final(err error) bool {
	return errors.Is(err, oauthclient.ErrDenied) || errors.Is(err, oauthclient.ErrAccount) ||
		errors.Is(err, oauthclient.ErrIdentity) || errors.Is(err, context.Canceled)
}

// rest has the ways that did not count give back what they get: finish calls them
// off, and one may be past that.
func (s *attempt) rest(results <-chan result, left int) {
	if left == 0 {
		return
	}
	s.a.background(func() {
		for range left {
			res := <-results
			if res.err != nil {
				continue
			}
			ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), revokeTime)
			if err := s.client.Discard(ctx, res.grant.Tokens); err != nil {
				s.a.log.Warn("a login that came second was not revoked", "err", err)
			}
			cancel()
		}
	})
}
