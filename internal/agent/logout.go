package agent

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/secret"
)

// logout revokes at the server, then wipes; it wipes whatever the server says.
func (a *agent) logout(r *http.Request) (any, error) {
	var req agentwire.LogoutRequest
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	a.dropExpired()
	a.mu.Lock()
	var leave []leaver
	for name := range a.profiles {
		if req.All || name == profileName(req.Profile) {
			leave = append(leave, a.remove(name))
		}
	}
	if req.All {
		clear(a.ended)
	} else {
		delete(a.ended, profileName(req.Profile))
	}
	a.mu.Unlock()
	if len(leave) == 0 && !req.All {
		return nil, notLoggedIn(profileName(req.Profile), nil)
	}
	out := agentwire.LogoutResponse{Profiles: []string{}, Revoked: true, Wiped: true}
	// A caller who goes away does not leave a login behind.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), revokeTime)
	defer cancel()
	failures := make([]error, len(leave))
	a.eachAtOnce(leave, func(i int, l leaver) { failures[i] = a.leave(ctx, l) })
	var warnings []string
	unrevocable := 0
	for i, l := range leave {
		name := l.p.whoami().Profile
		out.Profiles = append(out.Profiles, name)
		if err := failures[i]; err != nil {
			out.Revoked = false
			if errors.Is(err, oauthclient.ErrNoRevocation) {
				unrevocable++
				warnings = append(warnings, "profile "+name+" was forgotten here alone: its server has no revocation endpoint, and what it gave stays good there until it ends")
				continue
			}
			warnings = append(warnings, "profile "+name+" was not revoked at its server ("+wireError(err, "").Why+"); its grant lives on there until it expires, without its key")
		}
	}
	out.NoRevocation = unrevocable > 0 && unrevocable == len(warnings)
	slices.Sort(out.Profiles)
	slices.Sort(warnings)
	out.Warning = strings.Join(warnings, ". ")
	return out, nil
}

func (a *agent) eachAtOnce(list []leaver, f func(int, leaver)) {
	done := make(chan struct{}, len(list))
	for i, l := range list {
		a.background(func() {
			defer func() { done <- struct{}{} }()
			f(i, l)
		})
	}
	for range list {
		<-done
	}
}

// leaver is a login that is in no list any more and not yet revoked.
type leaver struct {
	p       *profile
	access  secret.Value
	refresh secret.Value
}

// remove takes a login out of the list, with what revokes it. From here on
// nobody gets a token of it. a.mu is held.
func (a *agent) remove(name string) leaver {
	p := a.profiles[name]
	l := leaver{p: p, access: p.access().Access}
	if e, err := a.opt.Store.Get(context.WithoutCancel(a.ctx), p.slot); err == nil {
		l.refresh = e.RefreshToken
	}
	p.drop()
	delete(a.profiles, name)
	return l
}

// leave revokes the grant and wipes the login. The refresh token stands for the
// whole grant (RFC 7009 §2.1).
func (a *agent) leave(ctx context.Context, l leaver) error {
	defer a.wipe(l.p)
	l.p.serial.Lock() // a renewal under way brings the token that counts
	defer l.p.serial.Unlock()
	l.p.mu.Lock()
	if !l.p.orphan.IsZero() {
		l.refresh = l.p.orphan
	}
	l.p.mu.Unlock()
	if l.refresh.IsZero() {
		return l.p.client.Revoke(ctx, l.access, "access_token")
	}
	return l.p.client.Revoke(ctx, l.refresh, "refresh_token")
}
