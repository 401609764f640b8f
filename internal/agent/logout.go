package agent

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauthclient"
)

// logout revokes at the server, then wipes; it wipes whatever the server says.
func (a *agent) logout(r *http.Request) (any, error) {
	var req agentwire.LogoutRequest
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	a.dropExpired()
	a.findAgain()
	a.mu.Lock()
	var leave []*profile
	for name, p := range a.profiles {
		if req.All || name == profileName(req.Profile) {
			// From here on nobody gets a token of it.
			p.drop()
			delete(a.profiles, name)
			leave = append(leave, p)
		}
	}
	if req.All {
		clear(a.ended)
	} else {
		delete(a.ended, profileName(req.Profile))
	}
	a.mu.Unlock()
	if len(leave) == 0 && !req.All {
		if _, err := a.profile(req.Profile); errors.Is(err, agentwire.StoreUnusable) {
			return nil, err
		}
		return nil, notLoggedIn(profileName(req.Profile), nil)
	}
	out := agentwire.LogoutResponse{Profiles: []string{}, Revoked: true, Wiped: true}
	// A caller who goes away does not leave a login behind.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), revokeTime)
	defer cancel()
	type failure struct{ revoking, wiping error }
	failures := make([]failure, len(leave))
	a.eachAtOnce(leave, func(i int, p *profile) { failures[i].revoking, failures[i].wiping = a.leave(ctx, p) })
	var warnings []string
	unrevocable := 0
	for i, p := range leave {
		name := p.whoami().Profile
		out.Profiles = append(out.Profiles, name)
		if err := failures[i].revoking; err != nil {
			out.Revoked = false
			if errors.Is(err, oauthclient.ErrNoRevocation) {
				unrevocable++
				warnings = append(warnings, "profile "+name+" was forgotten here alone: its server has no revocation endpoint, and what it gave stays good there until it ends")
				continue
			}
			warnings = append(warnings, "profile "+name+" was not revoked at its server ("+wireError(err, "").Why+"); its grant lives on there until it expires, without its key")
		}
		if err := failures[i].wiping; err != nil {
			out.Wiped = false
			warnings = append(warnings, "what is stored of profile "+name+" could not be wiped ("+err.Error()+")")
		}
	}
	if req.All {
		a.mu.Lock()
		for _, s := range a.missingStores() {
			out.Wiped = false
			warnings = append(warnings, "the store "+s.Store+" holds logins and cannot be opened ("+s.Why+"); they are still there")
		}
		a.mu.Unlock()
	}
	out.NoRevocation = unrevocable > 0 && unrevocable == len(warnings)
	slices.Sort(out.Profiles)
	slices.Sort(warnings)
	out.Warning = strings.Join(warnings, ". ")
	return out, nil
}

func (a *agent) eachAtOnce(list []*profile, f func(int, *profile)) {
	done := make(chan struct{}, len(list))
	for i, p := range list {
		a.background(func() {
			defer func() { done <- struct{}{} }()
			f(i, p)
		})
	}
	for range list {
		<-done
	}
}

// leave revokes the grant of a login that is in no list any more, and wipes it.
// The refresh token stands for the whole grant (RFC 7009 section 2.1).
func (a *agent) leave(ctx context.Context, p *profile) (revoking, wiping error) {
	p.serial.Lock() // a renewal under way brings the token that counts
	defer p.serial.Unlock()
	refresh, err := a.refreshToken(ctx, p)
	p.mu.Lock()
	if !p.orphan.IsZero() {
		refresh = p.orphan
	}
	access := p.access
	p.mu.Unlock()
	c, cerr := a.connected(ctx, p)
	switch {
	case cerr != nil:
		revoking = cerr
	case !refresh.IsZero():
		revoking = c.Revoke(ctx, refresh, "refresh_token")
	case !access.IsZero():
		revoking = c.Revoke(ctx, access, "access_token")
	default:
		revoking = err
	}
	return revoking, a.wipe(p)
}
