package authserver

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// StartDevice answers a device authorization request (RFC 8628 §3.1). A client
// that must prove its key proves it here; the authorization is that key's from
// then on.
func (s *Server) StartDevice(ctx context.Context, c Call) (oauth.DeviceResponse, error) {
	var none oauth.DeviceResponse
	client, err := s.client(c)
	if err != nil {
		return none, err
	}
	if !client.has(oauth.GrantDeviceCode) {
		return none, oauth.FailParam(oauth.UnauthorizedClient, "grant_type")
	}
	p, err := s.proof(c, client)
	if err != nil {
		return none, err
	}
	resource, scopes, err := s.target(client, c.Params)
	if err != nil {
		return none, err
	}
	now := s.Now()
	waiting := s.polls.outstanding(now)
	if waiting >= maxDevices {
		return none, oauth.Fail(oauth.Unavailable)
	}
	d := grant.Device{
		Tenant: s.tenant, ID: id.New(id.Device, now, s.draw10()), Status: grant.Pending,
		Client: client.ID, Scope: scopes, Resource: resource, Thumbprint: p.Thumbprint,
		Refresh: client.has(oauth.GrantRefreshToken), Lifetimes: client.Lifetimes,
		Interval: grant.OfferInterval(waiting), Facts: reportedFacts(c),
		CreatedAt: now, TypeBy: now.Add(grant.UserCodeLife), ExpiresAt: now.Add(grant.DeviceCodeLife),
	}
	return s.storeDevice(ctx, d)
}

// storeDevice mints the codes and makes the authorization durable. A user code
// that is taken is drawn again.
func (s *Server) storeDevice(ctx context.Context, d grant.Device) (oauth.DeviceResponse, error) {
	return retry(func() (oauth.DeviceResponse, error) {
		code := secret.Mint(secret.Device, s.draw32())
		user, err := secret.NewUserCode(s.draw32())
		if err != nil {
			return oauth.DeviceResponse{}, store.ErrConflict
		}
		d.CodeHash, d.UserHash = grant.Hash(code.Hash()), grant.Hash(secret.UserCodeHash(user))
		if old, err := s.store.DeviceByUserCode(ctx, s.tenant, d.UserHash); err == nil && old.Value.Status == grant.Pending {
			return oauth.DeviceResponse{}, store.ErrConflict
		}
		err = s.apply(ctx, store.Change{
			Devices: []store.Versioned[grant.Device]{{Value: d}}, Records: []event.Record{d.Started()},
		})
		if err != nil {
			return oauth.DeviceResponse{}, err
		}
		s.polls.begin(d)
		return oauth.DeviceResponse{
			DeviceCode: code.Reveal(), UserCode: user, VerificationURI: s.issuer + oauth.PathVerify,
			ExpiresIn: seconds(grant.DeviceCodeLife), Interval: seconds(d.Interval), TypeWithin: seconds(grant.UserCodeLife),
		}, nil
	})
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// pollDevice answers a poll (RFC 8628 §3.4, §3.5). Bad proofs and missing nonces
// were refused before, and are not polls. Who does not hold the code cannot
// disturb the pace of who does. Where the client is ready to wait, the answer comes
// at the decision.
func (s *Server) pollDevice(ctx context.Context, p oauth.Params, client *Client, proof dpop.Proof, c Call) (oauth.TokenResponse, error) {
	var none oauth.TokenResponse
	text, err := p.Need("device_code")
	if err != nil {
		return none, err
	}
	if _, err := secret.Parse(secret.Device, text); err != nil {
		return none, oauth.Fail(oauth.DeviceUnknown)
	}
	code := secret.New(text)
	hash := grant.Hash(code.Hash())
	known, err := s.knownDevice(ctx, hash)
	if err != nil {
		return none, err
	}
	if err := s.polls.holder(known).Check(client.ID, proof.Thumbprint); err != nil {
		return none, deviceProblem(err)
	}
	switch s.polls.judge(hash, s.Now()) {
	case grant.PollSlowDown:
		return none, oauth.Fail(oauth.DeviceSlowDown)
	case grant.PollDenied:
		return none, s.hammered(ctx, hash, client, proof)
	}
	if out, err := s.collectNow(ctx, code, hash, client, proof); !errors.Is(err, oauth.Fail(oauth.DevicePending)) || c.Wait <= 0 {
		return out, err
	}
	s.polls.wait(ctx, c.Release, hash, min(c.Wait, MaxWait, known.ends().Sub(s.Now())))
	if ctx.Err() != nil { // nobody hears the answer: what there is waits for the next poll
		return none, oauth.Fail(oauth.DevicePending)
	}
	return s.collectNow(ctx, code, hash, client, proof)
}

// knownDevice gives what is needed of a device authorization at every poll,
// from memory when it was asked for before.
func (s *Server) knownDevice(ctx context.Context, hash grant.Hash) (polled, error) {
	if k, ok := s.polls.known(hash); ok {
		return k, nil
	}
	d, err := s.store.DeviceByCode(ctx, s.tenant, hash)
	if errors.Is(err, store.ErrNotFound) {
		return polled{}, oauth.Fail(oauth.DeviceUnknown)
	}
	if err != nil {
		return polled{}, problem(err)
	}
	return s.polls.begin(d.Value), nil
}

// collectNow gives what a device code is worth now.
func (s *Server) collectNow(ctx context.Context, code secret.Value, hash grant.Hash, client *Client, proof dpop.Proof) (oauth.TokenResponse, error) {
	if k, ok := s.polls.known(hash); ok && k.pending && s.Now().Before(k.ends()) && (k.bound || proof.Thumbprint == "") {
		if !k.bound && client.DPoPRequired {
			return oauth.TokenResponse{}, oauth.Fail(oauth.ProofRequired)
		}
		return oauth.TokenResponse{}, oauth.Fail(oauth.DevicePending)
	}
	return retry(func() (oauth.TokenResponse, error) {
		d, err := s.store.DeviceByCode(ctx, s.tenant, hash)
		if err != nil {
			return oauth.TokenResponse{}, problem(err)
		}
		return s.collectOnce(ctx, d, code, client, proof)
	})
}

func (s *Server) collectOnce(ctx context.Context, d store.Versioned[grant.Device], code secret.Value, client *Client, proof dpop.Proof) (oauth.TokenResponse, error) {
	var none oauth.TokenResponse
	res, err := s.Registry().Resource(d.Value.Resource)
	if err != nil {
		return none, err
	}
	if err := s.stillHere(ctx, d.Value.Subject); err != nil {
		return none, err
	}
	env := s.env()
	var change store.Change
	e := grant.Collect{Client: client.ID, Thumbprint: proof.Thumbprint, Bearer: res.Bearer && !client.DPoPRequired}
	if d.Value.Status == grant.Approved {
		if e.Installation, err = s.installation(ctx, &change, d.Value.Subject, d.Value.Facts, proof.Thumbprint); err != nil {
			return none, err
		}
	}
	held := store.Versioned[grant.Grant]{}
	if d.Value.Status == grant.Redeemed {
		if held, err = s.store.Grant(ctx, s.tenant, d.Value.Grant); err != nil {
			return none, problem(err)
		}
		e.Unused = held.Value.Status == grant.Active && held.Value.Generation == 0
	}
	if s.locks.locked(cmp.Or(e.Installation, held.Value.Installation)) {
		return none, oauth.Fail(oauth.InstallationLocked)
	}
	var first secret.Value
	e.FirstRefresh = func(raw id.Raw, salt grant.Salt) grant.Hash {
		first = secret.FirstFromDevice(s.Keys().RefreshKey(env.Now), s.tenant, code, raw, secret.Salt(salt))
		return grant.Hash(first.Hash())
	}
	next, effects, refused := grant.StepDevice(d.Value, e, env)
	if len(effects) == 0 {
		return none, deviceProblem(refused)
	}
	if refused != nil {
		change = store.Change{}
	}
	s.collect(&change, effects)
	change.Devices = append(change.Devices, store.Versioned[grant.Device]{Value: next, Version: d.Version})
	var again grant.AccessToken
	if held.Version != 0 {
		again, err = s.stepGrant(&change, held, grant.Reissue{Client: client.ID, Thumbprint: proof.Thumbprint}, env)
		if err != nil {
			return none, deviceProblem(err)
		}
	}
	if err := s.apply(ctx, change); err != nil {
		return none, err
	}
	s.polls.begin(next)
	switch {
	case refused != nil:
		return none, deviceProblem(refused)
	case held.Version != 0:
		return s.answerAgain(again, held.Value, next, code, env)
	}
	s.logins.note(next.Subject, env.Now)
	return s.answerLogin(ctx, client, "", effects, first, env)
}

// answerAgain gives the lost answer to a redeemed device code once more: the
// same refresh token, another access token.
func (s *Server) answerAgain(t grant.AccessToken, g grant.Grant, d grant.Device, code secret.Value, env grant.Env) (oauth.TokenResponse, error) {
	out, err := s.mint(t, env)
	if err != nil {
		return out, err
	}
	raw, err := id.Parse(id.Grant, g.ID)
	if err != nil {
		return out, problem(err)
	}
	for _, k := range s.Keys().RefreshKeys(env.Now) {
		if v := secret.FirstFromDevice(k, s.tenant, code, raw, secret.Salt(d.Salt)); grant.Hash(v.Hash()) == g.Current {
			out.RefreshToken = v.Reveal()
		}
	}
	out.GrantExpires = g.EndsAt.Unix()
	return out, nil
}

// hammered ends a login whose tool polls on in spite of every slow_down. What a
// person has allowed meanwhile is not taken away: the tool is told to slow down, as
// before, and gets it once it does.
func (s *Server) hammered(ctx context.Context, hash grant.Hash, client *Client, proof dpop.Proof) error {
	err := s.abandon(ctx, hash, grant.Abandon{Client: client.ID, Thumbprint: proof.Thumbprint, Reason: event.ReasonHammering})
	if err == nil {
		return oauth.Fail(oauth.DeviceHammered)
	}
	if !errors.Is(err, oauth.Fail(oauth.RequestDecided)) {
		return err
	}
	d, err := s.store.DeviceByCode(ctx, s.tenant, hash)
	switch {
	case err != nil:
		return deviceProblem(err)
	case d.Value.Status == grant.Denied:
		return oauth.Fail(oauth.DeviceDenied)
	}
	return oauth.Fail(oauth.DeviceSlowDown)
}

// CancelDevice ends a login that was stopped at the tool: RFC 7009's endpoint,
// with the device code as the token. One that was redeemed while the tool
// stopped, so that the answer was lost, ends with its grant. One that has ended,
// or is not known, is answered like one that was cancelled.
func (s *Server) CancelDevice(ctx context.Context, code string, client *Client, proof dpop.Proof) error {
	hash := grant.Hash(secret.New(code).Hash())
	err := s.abandon(ctx, hash, grant.Abandon{Client: client.ID, Thumbprint: proof.Thumbprint, Reason: event.ReasonCancelled})
	switch {
	case errors.Is(err, oauth.Fail(oauth.DeviceUnknown)), errors.Is(err, oauth.Fail(oauth.DeviceExpired)):
		return nil
	case !errors.Is(err, oauth.Fail(oauth.RequestDecided)):
		return err
	}
	d, err := s.store.DeviceByCode(ctx, s.tenant, hash)
	if err != nil {
		return deviceProblem(err)
	}
	if d.Value.Status != grant.Redeemed {
		return nil
	}
	return s.endGrant(ctx, d.Value.Grant, client.ID, grant.Revoke{Reason: event.ReasonCancelled})
}

func (s *Server) abandon(ctx context.Context, hash grant.Hash, e grant.Abandon) error {
	_, err := retry(func() (struct{}, error) {
		d, err := s.store.DeviceByCode(ctx, s.tenant, hash)
		if err != nil {
			return struct{}{}, deviceProblem(err)
		}
		return struct{}{}, s.stepDevice(ctx, d, e)
	})
	return err
}

// stepDevice applies one event, commits what it decided, and wakes who waits.
func (s *Server) stepDevice(ctx context.Context, d store.Versioned[grant.Device], events ...grant.DeviceEvent) error {
	var change store.Change
	next, refused := d.Value, error(nil)
	env := s.env()
	for _, e := range events {
		var effects []grant.Effect
		next, effects, refused = grant.StepDevice(next, e, env)
		s.collect(&change, effects)
		if refused != nil {
			break
		}
	}
	if !change.IsEmpty() {
		change.Devices = append(change.Devices, store.Versioned[grant.Device]{Value: next, Version: d.Version})
		if err := s.apply(ctx, change); err != nil {
			return err
		}
		s.polls.begin(next)
	}
	return deviceProblem(refused)
}

// deviceProblem names what is special about the device flow.
func deviceProblem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, grant.ErrPending):
		return oauth.Fail(oauth.DevicePending)
	case errors.Is(err, grant.ErrDenied):
		return oauth.Fail(oauth.DeviceDenied)
	case errors.Is(err, grant.ErrExpired):
		return oauth.Fail(oauth.DeviceExpired)
	case errors.Is(err, grant.ErrCodeReused), errors.Is(err, grant.ErrSuperseded), errors.Is(err, store.ErrNotFound):
		return oauth.Fail(oauth.DeviceUnknown)
	}
	return problem(err)
}
