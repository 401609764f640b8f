//go:build linux

package chaos

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/oauth"
)

// holder is one client with one grant at a time, as a careful agent would be: it
// keeps the newest refresh token that it was given, and knows whether a request
// with it was sent and not answered.
type holder struct {
	w        *world
	rng      *rand.Rand
	tool     *driver.Tool
	grant    string
	token    string // the newest acknowledged; empty: none
	first    string // of the grant
	previous string // of which token is the successor
	doubt    bool   // a refresh with token was sent, and no answer came
	revoking bool   // a revocation was sent, and no answer came
}

// step sends one request, or a few that belong together. It reports false when no
// answer came.
func (h *holder) step(ctx context.Context) bool {
	switch {
	case h.token == "":
		return h.login(ctx)
	case h.revoking:
		return h.afterRevocation(ctx)
	case !h.doubt && h.rng.IntN(50) == 0:
		return h.end(ctx)
	case !h.doubt && h.previous != "" && h.rng.IntN(20) == 0:
		return h.repeat(ctx)
	}
	return h.refresh(ctx)
}

func (h *holder) login(ctx context.Context) bool {
	tool, err := driver.NewTool(h.w.srv, client)
	if err != nil {
		h.w.t.Error(err)
		return false
	}
	out, err := tool.Login(ctx, h.w.person, redirect, "read", resource)
	if err != nil {
		if !lost(err) {
			h.w.t.Errorf("a login failed while the server ran: %v", err)
		}
		return false
	}
	h.w.got("", out)
	h.tool, h.grant, h.token, h.first, h.previous = tool, out.GrantID, out.RefreshToken, out.RefreshToken, ""
	return true
}

func (h *holder) refresh(ctx context.Context) bool {
	out, err := refresh(ctx, h.tool, h.token)
	if e, ok := refused(err); ok {
		h.w.t.Errorf("%s: its newest acknowledged refresh token was refused (in doubt: %t): %v", h.grant, h.doubt, e)
		return false
	}
	if err != nil {
		h.doubt = true
		return false
	}
	h.w.got(h.token, out)
	if h.doubt {
		h.w.cleared(out)
	}
	h.previous, h.token, h.doubt = h.token, out.RefreshToken, false
	return true
}

// repeat asks again with the token before, whose successor was not used: the same
// successor must come.
func (h *holder) repeat(ctx context.Context) bool {
	out, err := refresh(ctx, h.tool, h.previous)
	if e, ok := refused(err); ok {
		h.w.t.Errorf("%s: a repetition before the successor was used was refused: %v", h.grant, e)
		return false
	}
	if err != nil {
		return false // nothing is in doubt: the successor is known
	}
	h.w.got(h.previous, out)
	return true
}

func (h *holder) end(ctx context.Context) bool {
	err := revoke(ctx, h.tool, h.token)
	if e, ok := refused(err); ok {
		h.w.t.Errorf("%s: a revocation was refused: %v", h.grant, e)
		return false
	}
	if err != nil {
		h.revoking = true
		return false
	}
	h.gone(true)
	return true
}

// afterRevocation: a revocation in doubt took place or did not. If it did, it is
// recorded; if not, everything works as before.
func (h *holder) afterRevocation(ctx context.Context) bool {
	out, err := refresh(ctx, h.tool, h.token)
	e, answered := refused(err)
	switch {
	case answered && e.Code == oauth.GrantEnded:
		h.gone(false)
	case answered:
		h.w.t.Errorf("%s: after a revocation in doubt: %v", h.grant, e)
		return false
	case err != nil:
		// The refresh is in doubt now too; both are asked again.
		return false
	default:
		h.w.got(h.token, out)
		h.previous, h.token, h.doubt = h.token, out.RefreshToken, false
	}
	h.revoking = false
	return true
}

// gone forgets a grant that has ended.
func (h *holder) gone(acknowledged bool) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.ended[h.grant] = true
	if acknowledged {
		old := *h
		h.w.fresh = append(h.w.fresh, &old)
	}
	h.token, h.previous, h.doubt, h.revoking = "", "", false, false
}

// checkOneSuccessor tries every old token: the one before gives the same successor
// until that was used, then nothing, and a much older one ends the family.
func (h *holder) checkOneSuccessor(t *testing.T) {
	ctx := t.Context()
	next := func() {
		if !h.refresh(ctx) {
			t.Fatalf("%s: no answer", h.grant)
		}
	}
	next()
	again, err := refresh(ctx, h.tool, h.previous)
	if err != nil || again.RefreshToken != h.token {
		t.Errorf("%s: the token before does not give the same successor: %v", h.grant, err)
	}
	h.w.got(h.previous, again)
	before := h.previous
	next()
	_, err = refresh(ctx, h.tool, before)
	wantRefused(t, "a token whose successor was used", err, oauth.RefreshSuperseded)
	next()
	next()
	_, err = refresh(ctx, h.tool, before)
	wantRefused(t, "a token that is three generations old", err, oauth.RefreshReused)
	_, err = refresh(ctx, h.tool, h.token)
	wantRefused(t, "the newest token after the reuse", err, oauth.GrantEnded)
	h.gone(false)
}
