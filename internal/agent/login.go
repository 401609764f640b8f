package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/secret"
)

const couldNot = "the login was not finished"

// login answers with a stream of events. What is wrong before the first event is
// an error answer like any other's.
func (a *agent) login(w http.ResponseWriter, r *http.Request) {
	a.used()
	s, err := a.beginLogin(r)
	if err != nil {
		a.logCall(r, err)
		_ = agentwire.WriteError(w, wireError(err, couldNot))
		return
	}
	defer s.finish()
	a.logCall(r, nil)
	ev := agentwire.NewEventWriter(w)
	err = s.stream(ev)
	if s.forgotten(err) {
		err = agentwire.NewError(agentwire.Failed, couldNot, "the server does not take the client any more that was registered there for this profile ("+err.Error()+")", "Run `keytether login` again; it registers anew", err)
	}
	s.finish() // before the last event: who reads it finds things as it says
	if err != nil {
		a.used()
		a.log.Info("a login ended", "profile", s.name, "err", err)
		e := wireError(err, couldNot)
		_ = ev.Write(agentwire.Event{Event: agentwire.EventError, Error: e})
	}
}

// attempt is one login in progress.
type attempt struct {
	a      *agent
	req    agentwire.LoginRequest
	name   string // profile
	slot   string // its entry in its place
	key    string // its key there
	place  *home
	proof  *proofKey
	why    string // why it is not in a store that comes before
	hold   string // the entry that holds the key while no login has it
	auto   bool   // the flow was the agent's to choose
	reason string // of the choice
	client *oauthclient.Client
	reg    registration
	ctx    context.Context
	cancel context.CancelFunc
	ways   []*way

	id      string        // its name on the wire
	turn    chan struct{} // held while a second way is made, and for good when the login ends
	second  chan *way     // that way
	offered bool          // it was made; under turn

	over     bool // finish was called
	released bool // under the agent's mu
	kept     bool // the hold is the login's that came of this
}

// beginLogin does all that needs no person: it reads the request, finds the
// server and listens.
func (a *agent) beginLogin(r *http.Request) (_ *attempt, err error) {
	if err := a.checkLock(); err != nil {
		return nil, err
	}
	s := &attempt{a: a, turn: make(chan struct{}, 1), second: make(chan *way, 1)}
	if err := agentwire.ReadRequest(r, &s.req); err != nil {
		return nil, err
	}
	if err := a.awaitRestored(r.Context()); err != nil {
		return nil, err
	}
	if err := s.fillIn(a.opt.Facts); err != nil {
		return nil, err
	}
	if err := a.reserve(s); err != nil {
		return nil, err
	}
	// The login ends with its caller or with the agent; each way has a time.
	ctx, cancel := context.WithCancel(r.Context())
	unhook := context.AfterFunc(a.ctx, cancel)
	s.ctx, s.cancel = ctx, func() { unhook(); cancel() }
	defer func() {
		if err != nil {
			s.finish()
		}
	}()
	reach, err := a.opt.HTTP(s.req.Env)
	if err != nil {
		return nil, err
	}
	if err := a.choose(ctx, s); err != nil {
		return nil, err
	}
	env := oauthclient.Env{HTTP: reach, Now: a.opt.Clock, Random: a.opt.Rand, Log: a.log}
	s.client, err = oauthclient.Open(ctx, env, s.req.Issuer, s.req.ClientID, s.proof)
	if err != nil {
		return nil, err
	}
	return s, s.beginAs()
}

// fillIn takes from the caller's environment what the request leaves open.
func (s *attempt) fillIn(facts agentwire.Facts) error {
	q := &s.req
	first := func(v *string, others ...string) {
		for _, o := range others {
			if *v == "" {
				*v = o
			}
		}
	}
	first(&q.Issuer, q.Env["KEYTETHER_ISSUER"])
	first(&q.ClientID, q.Env["KEYTETHER_CLIENT"])
	s.reg.named = q.ClientID != ""
	first(&q.ClientID, "keytether")
	first(&q.Profile, q.Env["KEYTETHER_PROFILE"], agentwire.DefaultProfile)
	first(&q.Facts.Host, facts.Host)
	first(&q.Facts.OSUser, facts.OSUser)
	first(&q.Facts.Platform, facts.Platform)
	first(&q.Facts.AgentVersion, facts.AgentVersion)
	if q.Issuer == "" {
		return agentwire.NewError(agentwire.Usage, couldNot, "no issuer is known", "Give --issuer URL, or set KEYTETHER_ISSUER", nil)
	}
	own := make([]byte, 4)
	if _, err := io.ReadFull(s.a.opt.Rand, own); err != nil {
		return err
	}
	s.name, s.slot, s.key = q.Profile, slotName(q.Profile, q.Issuer)+"."+hex.EncodeToString(own), keyName(q.Issuer)
	if err := keystore.CheckName(s.slot); err != nil {
		return agentwire.NewError(agentwire.Usage, couldNot, "the profile's name is not usable", "Use at most 100 letters, digits, - and _", err)
	}
	s.auto = q.Flow == "" || q.Flow == agentwire.FlowAuto
	flow, reason, err := chooseFlow(q.Flow, q.Env, s.a.opt.here())
	q.Flow, s.reason = flow, reason
	return err
}

// slotName begins the name of a login's entry in the store; what follows is the
// login's alone.
func slotName(profile, issuer string) string { return profile + "@" + issuerName(issuer) }

// keyName is the name of an issuer's key in the store. There is one key for each
// issuer, whatever the profiles: it is what makes this agent one installation
// there. And none for two, so that they cannot tell that it is one machine.
func keyName(issuer string) string { return "key@" + issuerName(issuer) }

func issuerName(issuer string) string {
	sum := sha256.Sum256([]byte(issuer))
	return hex.EncodeToString(sum[:8])
}

// reserve takes one of the places for logins.
func (a *agent) reserve(s *attempt) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.stopping:
		return errStopping()
	case a.logins >= maxLogins:
		return agentwire.NewError(agentwire.Busy, couldNot, fmt.Sprintf("%d logins wait for a person already", maxLogins), "Finish or end one of them", nil)
	case a.profiles[s.name] == nil && len(a.profiles) >= maxProfiles:
		return agentwire.NewError(agentwire.Busy, couldNot, fmt.Sprintf("there are %d profiles already", maxProfiles), "Log out of some", nil)
	}
	a.logins++
	a.holds++
	s.id = strconv.Itoa(a.holds)
	s.hold = s.key + "-" + s.id
	return nil
}

// finish gives the place back, and a key that no login came of. A device login
// that was called off needs the key until the server knows.
func (s *attempt) finish() {
	if s.over {
		return
	}
	s.over = true
	s.cancel()
	t := time.NewTimer(s.a.opt.endTime)
	defer t.Stop()
	s.endWays(t.C)
	s.release()
}

// release gives the place back.
func (s *attempt) release() {
	s.a.mu.Lock()
	released := s.released
	if !released {
		s.released = true
		s.a.logins--
		delete(s.a.attempts, s.id)
	}
	s.a.mu.Unlock()
	if released || s.place == nil || s.kept {
		return
	}
	ctx := context.WithoutCancel(s.a.ctx)
	err := s.place.use(ctx, func(ctx context.Context, st keystore.Store) error { return st.Delete(ctx, s.hold) })
	if err != nil {
		s.a.log.Warn("a key without a login could not be deleted", "err", err)
	}
}

// install keeps what a login produced, by that flow. A login that it replaces is
// revoked.
func (a *agent) install(s *attempt, flow string, g oauthclient.Grant) (agentwire.Event, error) {
	who := agentwire.Whoami{
		Profile: s.name, Issuer: s.req.Issuer, Subject: g.Subject, Username: g.Email, ClientID: s.req.ClientID,
		GrantID: g.GrantID, Scope: g.Scope, Resource: g.Resource, Flow: flow,
		ClientRegistered: s.reg.made,
	}
	if !g.GrantExpires.IsZero() {
		who.ExpiresAt = agentwire.Moment(g.GrantExpires)
	}
	refresh := g.Refresh
	g.Refresh = secret.Value{} // the store alone has it
	p := newProfile(s, who, g.Tokens)
	p.unrenewable = refresh.IsZero()
	if err := a.keep(context.WithoutCancel(a.ctx), p, refresh); err != nil {
		return agentwire.Event{}, fmt.Errorf("%w: %w", keystore.ErrUnusable, err)
	}
	if p.at() != s.place {
		// Where the login is, its key may be a handle on the one that the hold keeps.
		p.mu.Lock()
		p.swept = append(p.swept, leftover{s.place, s.hold, s.key})
		p.mu.Unlock()
		s.kept = true
	}
	a.mu.Lock()
	old := a.profiles[s.name]
	if old != nil {
		old.drop()
	}
	a.profiles[s.name] = p
	a.lastUse = a.now() // it may have taken long
	delete(a.ended, s.name)
	a.mu.Unlock()
	a.mark()
	s.release()
	if old != nil {
		a.background(func() { a.replaced(old) })
	}
	a.log.Info("logged in", "profile", s.name, "issuer", who.Issuer, "grant", who.GrantID, "store", p.at().kind.Name)
	if p.at() != s.place {
		g.Warnings = append(g.Warnings, p.moved(s.place))
	}
	return agentwire.Event{Event: agentwire.EventDone, Done: &who, Warning: join(g.Warnings)}, nil
}

// moved says that a login is not where it was meant to be.
func (p *profile) moved(from *home) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return "The store " + from.kind.Name + " failed after you had logged in (" + p.why + "); the login is in the store " +
		p.place.kind.Name + " now, " + untilWhen(p.place.kind.Life)
}

func untilWhen(l keystore.Life) string {
	switch l {
	case keystore.Machine:
		return "until you log out"
	case keystore.Session:
		return "until your session on this computer ends"
	}
	return "until the agent ends"
}

func (p *profile) at() *home {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.place
}

// replaced revokes a login that another one took the place of.
func (a *agent) replaced(old *profile) {
	ctx, cancel := context.WithTimeout(a.ctx, revokeTime)
	defer cancel()
	if err, _ := a.leave(ctx, old); err != nil {
		a.log.Info("a replaced login was not revoked", "profile", old.whoami().Profile, "err", err)
	}
}
