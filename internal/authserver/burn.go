package authserver

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// MaxBurned is how many strings are taken at once.
const MaxBurned = 100

// Burn ends what strings are secrets of, at the word of whoever holds them: the
// grant of a refresh token, of whatever generation, or of a live access token; the
// login that a code, device code or request_uri is for, while it is in progress. A
// decoy fires. What is not genuine, or has ended, does nothing. Who asks is told
// nothing, and returns at the same points in time; a failure is logged.
//
// The string is the evidence: a grant id or a jti, which stand in logs, is none. A
// code that was redeemed is worth nothing any more, and ends nothing.
func (s *Server) Burn(ctx context.Context, texts []string, from netip.Addr) {
	began := time.Now()
	for _, text := range texts[:min(len(texts), MaxBurned)] {
		if err := s.burn(context.WithoutCancel(ctx), strings.TrimSpace(text), from); err != nil {
			s.log.ErrorContext(ctx, "what leaked could not be ended", "error", err)
		}
	}
	rest(ctx, began)
}

func (s *Server) burn(ctx context.Context, text string, from netip.Addr) error {
	if is(secret.RequestURI, text) { // as it is found in a text
		text = secret.RequestURIPrefix + text
	}
	hash := grant.Hash(secret.New(text).Hash())
	e := grant.Revoke{Reason: event.ReasonBurned, Address: written(from)}
	switch {
	case is(secret.Refresh, text):
		if h, ok := s.openRefresh(text); ok {
			if err := s.endGrant(ctx, id.Raw(h.Grant).String(id.Grant), "", e); err != nil {
				return err
			}
		}
		return s.spring(ctx, hash, grant.Fire{Where: "burn", Address: written(from)})
	case is(secret.Code, text):
		return s.burnRequest(ctx, func() (store.Versioned[grant.Request], error) { return s.requestByCode(ctx, text) })
	case is(secret.Device, text):
		return s.burnDevice(ctx, hash)
	case strings.HasPrefix(text, secret.RequestURIPrefix):
		h := handleHash(text)
		s.pending.drop(h)
		return s.burnRequest(ctx, func() (store.Versioned[grant.Request], error) { return s.requestByHandle(ctx, h) })
	}
	if t, ok := s.ownToken(text); ok {
		return s.endGrant(ctx, t.GrantID, "", e)
	}
	return nil
}

func is(k secret.Kind, text string) bool {
	_, err := secret.Parse(k, text)
	return err == nil
}

// burnRequest ends an authorization request that is not redeemed.
func (s *Server) burnRequest(ctx context.Context, find func() (store.Versioned[grant.Request], error)) error {
	_, err := retry(func() (struct{}, error) {
		r, err := find()
		if errors.Is(err, oauth.Fail(oauth.CodeUnknown)) || errors.Is(err, oauth.Fail(oauth.RequestURIUnknown)) {
			return struct{}{}, nil
		}
		if err != nil {
			return struct{}{}, err
		}
		next, effects, _ := grant.StepRequest(r.Value, grant.BurnRequest{}, s.env())
		var change store.Change
		s.collect(&change, effects)
		if len(effects) > 0 {
			change.Requests = append(change.Requests, store.Versioned[grant.Request]{Value: next, Version: r.Version})
		}
		return struct{}{}, s.apply(ctx, change)
	})
	return err
}

// burnDevice ends a device authorization that is not redeemed.
func (s *Server) burnDevice(ctx context.Context, hash grant.Hash) error {
	_, err := retry(func() (struct{}, error) {
		d, err := s.store.DeviceByCode(ctx, s.tenant, hash)
		if errors.Is(err, store.ErrNotFound) {
			return struct{}{}, nil
		}
		if err != nil {
			return struct{}{}, problem(err)
		}
		err = s.stepDevice(ctx, d, grant.Abandon{
			Client: d.Value.Client, Thumbprint: d.Value.Thumbprint, Reason: event.ReasonBurned,
		})
		if errors.Is(err, store.ErrConflict) {
			return struct{}{}, err
		}
		return struct{}{}, nil // over already
	})
	return err
}
