package grant

import (
	"strings"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/id"
)

// GrantStatus is the state of a grant.
type GrantStatus string

// The states of a grant.
const (
	Active       GrantStatus = "active"
	Revoked      GrantStatus = "revoked"
	GrantExpired GrantStatus = "expired"
)

// FlowCode names the flow that made a grant: the authorization code.
const FlowCode = "code"

// Grant is what one login produced and what gets revoked: one subject, client,
// resource and proof key, and one family of refresh tokens.
type Grant struct {
	Tenant string
	ID     string // grt_…
	Status GrantStatus

	Subject      string
	Client       string
	Scope        []string
	Resource     string
	Thumbprint   string // of the proof key; empty for a bearer grant
	Flow         string
	Installation string // ins_…; empty for a bearer grant
	AuthTime     time.Time
	ACR          string
	Lifetimes    Lifetimes

	CreatedAt time.Time
	EndsAt    time.Time // at the latest

	// The family. Only the newest generation and the one before are known by
	// hash; older ones are recognised by their tag (secret.OpenRefresh).
	Generation uint32
	Current    Hash // of the newest refresh token; zero when the client has none
	Previous   Hash // of the one before
	Salt       Salt // derives Current from the one before; overwritten at Current's first use
	RotatedAt  time.Time

	AccessUntil time.Time // when the last access token issued so far ends
	EndedAt     time.Time
	Reason      event.Reason // why it ended
}

// GrantEvent is what can happen to a grant.
type GrantEvent interface{ grantEvent() }

// Refresh is a token request with a refresh token (RFC 6749 §6) that
// secret.OpenRefresh recognised as one of this grant's.
type Refresh struct {
	Client     string
	Generation uint32 // of the presented token
	Presented  Hash
	Thumbprint string   // of the verified proof; empty when none was presented
	Scope      []string // asked for; nil means the grant's
	Resource   string   // asked for; empty means the grant's
	Bearer     bool     // client and resource both still allow a token without a key
	Unbound    bool     // an access token without a key is asked for; the refresh token stays bound
	Locked     bool     // the grant's installation is
	// Successor is the hash of the presented token's successor under
	// Env.Random.Salt; Repeat the same under the state's own salt.
	Successor Hash
	Repeat    Hash
}

// Revoke ends the grant.
type Revoke struct {
	Reason event.Reason
	// By is the account that did it, when that is not the grant's subject.
	By string
	// Address is where it was asked for, when that was not by the person or the
	// tool: burning. May be empty.
	Address string
}

// RevokeToken ends one access token of the grant (RFC 7009 §2.1).
type RevokeToken struct {
	Client string
	JTI    string
	Until  time.Time // its exp
	Reason event.Reason
}

// Reissue allows one more access token of a grant whose first refresh token was
// never used: the first answer was lost (design: device flow).
type Reissue struct {
	Client     string
	Thumbprint string
}

// LapseGrant asks whether time has ended the grant.
type LapseGrant struct{}

func (Refresh) grantEvent()     {}
func (Revoke) grantEvent()      {}
func (RevokeToken) grantEvent() {}
func (Reissue) grantEvent()     {}
func (LapseGrant) grantEvent()  {}

// StepGrant applies one event to a grant. It does no I/O: time and randomness
// come in env. See the package comment for what errors mean.
func StepGrant(g Grant, e GrantEvent, env Env) (Grant, []Effect, error) {
	if out, effects, lapsed := lapseGrant(g, env); lapsed {
		return out, effects, ErrExpired
	}
	switch e := e.(type) {
	case LapseGrant:
		return g, nil, nil
	case Refresh:
		return stepRefresh(g, e, env)
	case Revoke:
		if g.Status != Active {
			return g, nil, ErrInactive
		}
		g, effects := g.end(Revoked, e.Reason, env)
		r := effects[0].(Record)
		if e.By != "" && e.By != g.Subject {
			r.Detail = e.By
		}
		r.Facts.Address = e.Address
		effects[0] = r
		return g, effects, nil
	case RevokeToken:
		return stepRevokeToken(g, e, env)
	case Reissue:
		return stepReissue(g, e, env)
	case Trip:
		return stepTrip(g, e, env)
	}
	panic("grant: unknown grant event")
}

func lapseGrant(g Grant, env Env) (Grant, []Effect, bool) {
	if g.Status == GrantExpired {
		return g, nil, true
	}
	if g.Status != Active {
		return g, nil, false
	}
	reason := event.Reason("")
	switch {
	case !env.Now.Before(g.EndsAt):
		reason = event.ReasonLifetime
	case !env.Now.Before(g.RotatedAt.Add(g.Lifetimes.Idle)):
		reason = event.ReasonIdle
	default:
		return g, nil, false
	}
	g, effects := g.end(GrantExpired, reason, env)
	return g, effects, true
}

func stepRefresh(g Grant, e Refresh, env Env) (Grant, []Effect, error) {
	switch {
	case g.Status != Active:
		return g, nil, ErrInactive
	case e.Client != g.Client:
		return g, nil, ErrForeignClient
	case g.Current == Hash{}:
		return g, nil, ErrNoRefresh
	case e.Generation > g.Generation:
		return g, nil, ErrUnknownToken // of a state that a restored backup has lost
	case g.Thumbprint == "" && !e.Bearer:
		return g, nil, ErrNoBearer
	case g.Thumbprint != "" && e.Thumbprint == "":
		return g, nil, ErrProofRequired
	case g.Thumbprint != "" && e.Thumbprint != g.Thumbprint:
		return g.steal(event.ReasonWrongKey, ErrWrongKey, env)
	case e.Unbound && !e.Bearer:
		return g, nil, ErrBound
	}
	if e.Locked {
		return g, nil, ErrLocked // after the key: another one's is theft, locked or not
	}
	switch age := g.Generation - e.Generation; {
	case age == 0:
		if e.Presented != g.Current {
			return g, nil, ErrUnknownToken
		}
		return g.rotate(e, env)
	case age == 1 && e.Presented != g.Previous:
		return g, nil, ErrUnknownToken
	case age == 1 && g.Thumbprint != "":
		return g.repeat(e, env)
	case age == 1 && env.Now.Sub(g.RotatedAt) <= SupersededGrace:
		return g, nil, ErrSuperseded // no key to know the client by: no second answer
	case age == 2 && env.Now.Sub(g.RotatedAt) <= SupersededGrace:
		return g, nil, ErrSuperseded
	}
	return g.steal(event.ReasonReuse, ErrReused, env)
}

// narrow checks what the client asks for against the grant: it may be less,
// never more, and never another resource (RFC 6749 §6, RFC 8707 §2.2).
func (g Grant) narrow(e Refresh) ([]string, error) {
	if e.Resource != "" && e.Resource != g.Resource {
		return nil, ErrResource
	}
	if len(e.Scope) == 0 {
		return g.Scope, nil
	}
	if !Subset(e.Scope, g.Scope) {
		return nil, ErrScope
	}
	return e.Scope, nil
}

func (g Grant) rotate(e Refresh, env Env) (Grant, []Effect, error) {
	scope, err := g.narrow(e)
	if err != nil {
		return g, nil, err
	}
	next := g
	next.Generation++
	next.Previous, next.Current, next.Salt = g.Current, e.Successor, env.Random.Salt
	next.RotatedAt = env.Now
	next, effects := next.issue(scope, e.key(g), env)
	return next, effects, nil
}

// repeat answers a request whose answer was lost: the same key with the same
// token gets the same successor, until that successor is first used.
func (g Grant) repeat(e Refresh, env Env) (Grant, []Effect, error) {
	if e.Repeat != g.Current {
		return g, nil, ErrUnknownToken
	}
	scope, err := g.narrow(e)
	if err != nil {
		return g, nil, err
	}
	g, effects := g.issue(scope, e.key(g), env)
	return g, append(effects, Record{g.record(event.RefreshRepeated, env)}), nil
}

func (g Grant) steal(reason event.Reason, answer error, env Env) (Grant, []Effect, error) {
	seen := g.record(event.RefreshReused, env)
	seen.Reason = reason
	g, effects := g.end(Revoked, reason, env)
	return g, append([]Effect{Record{seen}}, effects...), answer
}

func stepReissue(g Grant, e Reissue, env Env) (Grant, []Effect, error) {
	switch {
	case g.Status != Active:
		return g, nil, ErrInactive
	case e.Client != g.Client:
		return g, nil, ErrForeignClient
	case g.Thumbprint == "" || e.Thumbprint != g.Thumbprint:
		return g, nil, ErrProofRequired
	case g.Generation != 0:
		return g, nil, ErrSuperseded
	}
	g, effects := g.issue(g.Scope, g.Thumbprint, env)
	return g, effects, nil
}

func stepRevokeToken(g Grant, e RevokeToken, env Env) (Grant, []Effect, error) {
	if e.Client != g.Client {
		return g, nil, ErrForeignClient
	}
	if g.Status != Active {
		return g, nil, ErrInactive
	}
	r := g.record(event.TokenRevoked, env)
	r.JTI, r.Until, r.Reason = e.JTI, e.Until, e.Reason
	return g, []Effect{Record{r}, RevokedToken{Grant: g.ID, JTI: e.JTI, Resource: g.Resource, Until: e.Until}}, nil
}

// key is the thumbprint that the access token is bound to.
func (e Refresh) key(g Grant) string {
	if e.Unbound {
		return ""
	}
	return g.Thumbprint
}

// issue allows one access token, bound to a key or to none, and records it. The
// grant's own end bounds the token's.
func (g Grant) issue(scope []string, thumbprint string, env Env) (Grant, []Effect) {
	until := env.Now.Add(g.Lifetimes.Access)
	if until.After(g.EndsAt) {
		until = g.EndsAt
	}
	t := AccessToken{
		JTI: id.New(id.TokenID, env.Now, env.Random.Token), Grant: g.ID,
		Subject: g.Subject, Client: g.Client, Scope: scope, Resource: g.Resource,
		Thumbprint: thumbprint, Installation: g.Installation, AuthTime: g.AuthTime, ACR: g.ACR,
		IssuedAt: env.Now, ExpiresAt: until,
	}
	if until.After(g.AccessUntil) {
		g.AccessUntil = until
	}
	r := g.record(event.TokenIssued, env)
	r.Thumbprint = thumbprint
	r.JTI, r.Until, r.Scope, r.Resource = t.JTI, until, strings.Join(scope, " "), g.Resource
	return g, []Effect{Record{r}, IssueToken{t}}
}

// end closes the grant; nothing can be derived from it afterwards.
func (g Grant) end(to GrantStatus, reason event.Reason, env Env) (Grant, []Effect) {
	g.Status, g.EndedAt, g.Reason = to, env.Now, reason
	g.Salt = Salt{}
	name := event.GrantRevoked
	if to == GrantExpired {
		name = event.GrantExpired
	}
	r := g.record(name, env)
	r.Reason, r.Until = reason, g.AccessUntil
	return g, []Effect{Record{r}}
}

// record starts an audit record about the grant.
func (g Grant) record(name event.Name, env Env) event.Record {
	return event.Record{
		Name: name, Tenant: g.Tenant, Time: env.Now, Subject: g.Subject, Client: g.Client,
		Grant: g.ID, Installation: g.Installation, Flow: g.Flow, Generation: g.Generation,
		Thumbprint: g.Thumbprint,
	}
}
