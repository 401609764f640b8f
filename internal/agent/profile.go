package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/secret"
)

// profile is one login. Its refresh token is in the store under slot, and the key
// that it is bound to under key.
type profile struct {
	slot   string
	key    string
	client *oauthclient.Client

	// serial is held while the refresh token is used: a rotating token has one
	// user at a time.
	serial sync.Mutex

	mu      sync.Mutex
	who     agentwire.Whoami
	tokens  map[string]oauthclient.Tokens // by scope; "" is the whole grant's
	flights map[string]*flight            // renewals under way
	notYet  time.Time                     // no renewal behind a caller's back before
	renewed time.Time
	notices []agentwire.Notice

	kind        string // of the last access token: TypeDPoP or TypeBearer
	unrotated   bool   // the last refresh gave no new refresh token
	unrenewable bool   // the login gave none

	failed *agentwire.Error // of the last renewal
	gone   bool
	orphan secret.Value // a refresh token that came when the login was already gone
}

func newProfile(slot, key string, c *oauthclient.Client, who agentwire.Whoami, t oauthclient.Tokens) *profile {
	return &profile{
		slot: slot, key: key, client: c, who: who,
		tokens: map[string]oauthclient.Tokens{"": t}, flights: map[string]*flight{}, kind: t.Type,
	}
}

func profileName(name string) string {
	if name == "" {
		return agentwire.DefaultProfile
	}
	return name
}

// profile finds a login, or says why it is not there (any more).
func (a *agent) profile(name string) (*profile, error) {
	name = profileName(name)
	if err := keystore.CheckName(name); err != nil {
		return nil, err
	}
	a.dropExpired()
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.profiles[name]; p != nil {
		return p, nil
	}
	if why := a.ended[name]; why != nil {
		return nil, why
	}
	return nil, notLoggedIn(name, nil)
}

func (p *profile) whoami() agentwire.Whoami {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.who
}

func (p *profile) status(now time.Time, store string) agentwire.ProfileStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := agentwire.ProfileStatus{Whoami: p.who, KeyStore: store, JKT: p.client.Thumbprint(), LastError: p.failed, Notices: slices.Clone(p.notices)}
	s.Missing = p.missing()
	if t, ok := p.tokens[""]; ok && oauthclient.Left(t.ExpiresAt, now) > 0 {
		s.AccessTokenExpiresAt, s.TokenType = agentwire.Moment(t.ExpiresAt), t.Type
	}
	if !p.renewed.IsZero() {
		s.LastRenewalAt = agentwire.Moment(p.renewed)
	}
	return s
}

// access gives the whole grant's access token, good or not.
func (p *profile) access() oauthclient.Tokens {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tokens[""]
}

// drop forgets every token; renewals that are under way keep nothing.
func (p *profile) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	clear(p.tokens)
}

// narrow gives the cache's key for a scope: empty for the whole grant's, else
// sorted and without doubles. More than the login has is an error.
func (p *profile) narrow(scope string) (string, error) {
	if strings.TrimSpace(scope) == "" {
		return "", nil
	}
	asked, err := oauth.ParseScope(scope)
	if err != nil {
		return "", agentwire.NewError(agentwire.Usage, "the scope is malformed", "scopes are words divided by single spaces", "", err)
	}
	p.mu.Lock()
	have := strings.Fields(p.who.Scope)
	p.mu.Unlock()
	slices.Sort(asked)
	asked = slices.Compact(asked)
	for _, s := range asked {
		if !slices.Contains(have, s) {
			return "", agentwire.NewError(agentwire.Scope, "that is more than the login was given", "it has no scope "+s, "Log in again with --scope for it", nil)
		}
	}
	if len(asked) == len(have) {
		return "", nil
	}
	return strings.Join(asked, " "), nil
}

// allows says whether a resource is this login's. A grant has exactly one.
func (p *profile) allows(resource string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if resource == "" || resource == p.who.Resource {
		return nil
	}
	why := "the login is for " + p.who.Resource
	if p.who.Resource == "" {
		why = "the login is for no resource that the server named"
	}
	return agentwire.NewError(agentwire.ResourceNotAllowed, "this login is not for "+resource, why, "Log in for it with --resource and a --profile of its own", nil)
}

// errGone: the login was ended or replaced while something was under way for it.
var errGone = errors.New("agent: the login is gone")

// entry reads what the store has for a login that is still the profile's.
func (a *agent) entry(ctx context.Context, p *profile) (keystore.Entry, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.profiles[p.who.Profile] != p {
		return keystore.Entry{}, errGone
	}
	return a.opt.Store.Get(ctx, p.slot)
}

// keep writes it. One that was replaced meanwhile must not write over its
// successor, which has the same slot.
func (a *agent) keep(ctx context.Context, p *profile, e keystore.Entry) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.profiles[p.who.Profile] != p {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.orphan = e.RefreshToken
		return errGone
	}
	e.Key = p.key
	return a.opt.Store.Put(ctx, p.slot, e)
}

// forget takes a login away whose grant is over, and remembers why.
func (a *agent) forget(p *profile, why *agentwire.Error) {
	a.mu.Lock()
	name := p.who.Profile
	if a.profiles[name] != p {
		a.mu.Unlock()
		return
	}
	delete(a.profiles, name)
	if why != nil && len(a.ended) < maxProfiles {
		a.ended[name] = why
	}
	a.mu.Unlock()
	a.wipe(p)
}

// wipe drops tokens, key and refresh token of a login that is in no list any more.
func (a *agent) wipe(p *profile) {
	p.drop()
	p.client.Close()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, other := range a.profiles {
		if other.slot == p.slot {
			return // its successor's now
		}
	}
	err := a.opt.Store.Delete(context.WithoutCancel(a.ctx), p.slot)
	if err != nil {
		a.log.Error("a login could not be wiped", "err", err)
	}
}

// dropExpired forgets grants whose end has come by the server's own word.
func (a *agent) dropExpired() {
	now := a.now()
	a.mu.Lock()
	var over []*profile
	for _, p := range a.profiles {
		p.mu.Lock()
		if end := p.who.ExpiresAt; !end.IsZero() && !now.Before(end) {
			over = append(over, p)
		}
		p.mu.Unlock()
	}
	a.mu.Unlock()
	for _, p := range over {
		a.forget(p, agentwire.NewError(agentwire.NotLoggedIn, "not logged in", "the login has reached its end", "Run `keytether login`", nil))
	}
}
