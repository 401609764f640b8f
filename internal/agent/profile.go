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

// profile is one login. Its refresh token is in its place under slot, which no
// other login ever has, and the key that it is bound to under keyName.
type profile struct {
	slot  string
	proof *proofKey
	reach agentwire.Env // how its server is reached
	jkt   string        // thumbprint of the key; empty where the server takes no proofs

	// serial is held while the refresh token is used: a rotating token has one
	// user at a time.
	serial sync.Mutex

	opening sync.Mutex // held while the client is made

	mu      sync.Mutex
	client  *oauthclient.Client // nil after a restart, until it is needed
	place   *home
	keyName string
	why     string     // why it is not in a store that comes before
	saved   int64      // when its record was last written, as the record says
	stale   []leftover // older copies of its entry that could not be taken away yet
	swept   []leftover // what holds its key where it was before
	who     agentwire.Whoami
	tokens  map[want]oauthclient.Tokens // the zero want's is the whole grant's
	flights map[want]*flight            // renewals under way
	notYet  time.Time                   // no renewal behind a caller's back before
	renewed time.Time
	notices []agentwire.Notice

	lacked      []string // of the record that it was restored from
	kind        string   // of the last access token: TypeDPoP or TypeBearer
	unrotated   bool     // the last refresh gave no new refresh token
	unrenewable bool     // the login gave none

	failed *agentwire.Error // of the last renewal
	gone   bool
	orphan secret.Value // a refresh token that came when the login was already gone
	access secret.Value // what it had when it was ended
}

func newProfile(s *attempt, who agentwire.Whoami, t oauthclient.Tokens) *profile {
	return &profile{
		slot: s.slot, proof: s.proof, reach: reachOf(s.req.Env), jkt: s.client.Thumbprint(), client: s.client,
		place: s.place, keyName: s.key, why: s.why, who: who,
		tokens: map[want]oauthclient.Tokens{{}: t}, flights: map[want]*flight{}, kind: t.Type,
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
	here := a.profiles[name] != nil
	a.mu.Unlock()
	if !here {
		a.findAgain()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.profiles[name]; p != nil {
		if p.ended(a.now()) {
			return nil, endedError()
		}
		return p, nil
	}
	if why := a.ended[name]; why != nil {
		return nil, why
	}
	if err := a.absent(name); err != nil {
		return nil, err
	}
	return nil, notLoggedIn(name, nil)
}

// connected gives a login's client, which a login that was restored has only once
// its server was asked who it is.
func (a *agent) connected(ctx context.Context, p *profile) (*oauthclient.Client, error) {
	p.opening.Lock()
	defer p.opening.Unlock()
	p.mu.Lock()
	c, who := p.client, p.who
	p.mu.Unlock()
	if c != nil {
		return c, nil
	}
	reach, err := a.opt.HTTP(p.reach)
	if err != nil {
		return nil, err
	}
	env := oauthclient.Env{HTTP: reach, Now: a.opt.Clock, Random: a.opt.Rand, Log: a.log}
	c, err = oauthclient.Open(ctx, env, who.Issuer, who.ClientID, p.proof)
	if err != nil {
		reach.Close()
		return nil, err
	}
	p.mu.Lock()
	p.client = c
	p.mu.Unlock()
	return c, nil
}

// close drops the connections to the server.
func (p *profile) close() {
	p.mu.Lock()
	c := p.client
	p.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

// life is what the login outlives.
func (p *profile) life() keystore.Life {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.place.kind.Life
}

func (p *profile) whoami() agentwire.Whoami {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.who
}

func (p *profile) status(now time.Time) agentwire.ProfileStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := agentwire.ProfileStatus{
		Whoami: p.who, KeyStore: p.place.kind.Name, KeyStoreLife: p.place.kind.Life.String(), KeyStoreWhy: p.why,
		JKT: p.jkt, LastError: p.failed, Notices: slices.Clone(p.notices),
	}
	s.Missing = p.missing()
	if t, ok := p.tokens[want{}]; ok && oauthclient.Left(t.ExpiresAt, now) > 0 {
		s.AccessTokenExpiresAt, s.TokenType = agentwire.Moment(t.ExpiresAt), t.Type
	}
	if !p.renewed.IsZero() {
		s.LastRenewalAt = agentwire.Moment(p.renewed)
	}
	return s
}

// drop forgets every token but one to revoke the grant by; renewals that are under
// way keep nothing.
func (p *profile) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if t, ok := p.tokens[want{}]; ok {
		p.access = t.Access
	}
	p.gone = true
	clear(p.tokens)
}

// forgetTokens drops what can be had again.
func (p *profile) forgetTokens() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.tokens)
}

// current says that the login was neither ended nor replaced.
func (a *agent) current(p *profile) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.gone
}

// want is what kind of access token a caller asks for.
type want struct {
	scope   string // as narrow gives it
	unbound bool   // though the login's are bound
}

// wants says what a request asks for. A login whose tokens are bound to no key has
// only such.
func (p *profile) wants(req agentwire.TokenRequest) (want, error) {
	scope, err := p.narrow(req.Scope)
	p.mu.Lock()
	defer p.mu.Unlock()
	return want{scope, req.TokenType == agentwire.TypeBearer && p.kind != oauthclient.TypeBearer}, err
}

// narrow gives the cache's form of a scope: empty for the whole grant's, else
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

// forget takes a login away whose grant is over, and remembers why.
func (a *agent) forget(p *profile, why *agentwire.Error) {
	a.mu.Lock()
	name := p.who.Profile
	if a.profiles[name] != p {
		a.mu.Unlock()
		return
	}
	delete(a.profiles, name)
	p.drop()
	if why != nil && len(a.ended) < maxProfiles {
		a.ended[name] = why
	}
	a.mu.Unlock()
	_ = a.wipe(p) // it has been logged
}

// ended says that the grant has reached the end that the server gave it, by our clock.
func (p *profile) ended(now time.Time) bool { return p.endedFor(now, 0) }

func (p *profile) endedFor(now time.Time, d time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	end := p.who.ExpiresAt
	return !end.IsZero() && !now.Before(end.Add(d))
}

func endedError() *agentwire.Error {
	return agentwire.NewError(agentwire.NotLoggedIn, "not logged in", "the login has reached its end", "Run `keytether login`", nil)
}

// dropExpired forgets grants that ended so long ago that no clock is that wrong. Until then they
// are not used, and a clock that is put right brings them back.
func (a *agent) dropExpired() {
	now := a.now()
	a.mu.Lock()
	var over []*profile
	for _, p := range a.profiles {
		if p.endedFor(now, clockDoubt) {
			over = append(over, p)
		}
	}
	a.mu.Unlock()
	for _, p := range over {
		a.forget(p, endedError())
	}
}
