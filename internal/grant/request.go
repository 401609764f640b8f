package grant

import (
	"strings"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/id"
)

// Status of an authorization request.
type Status string

// The states of a request.
const (
	Pending  Status = "pending"
	Approved Status = "approved"
	Denied   Status = "denied"
	Expired  Status = "expired"
	Redeemed Status = "redeemed"
)

// Request is an authorization request: a login in progress, from PAR (or from
// the authorization endpoint, for clients without PAR) to its code.
type Request struct {
	Tenant string
	ID     string // req_…
	Status Status

	// What the client asked for; fixed when the request is made.
	Client       string
	RedirectURI  string // exact, with its port
	ResponseMode string // "form_post" or "query"
	State        string
	Scope        []string
	Resource     string
	Challenge    string // S256 code_challenge; empty when a confidential client sent none
	Nonce        string // OIDC nonce
	MaxAge       int    // OIDC max_age in seconds; -1 when absent
	Prompt       string // OIDC prompt
	LoginHint    string
	Thumbprint   string // of the proof key, by proof at PAR or by dpop_jkt
	JWK          string // the proof key's public JWK, when PAR had a proof
	HandleHash   Hash   // SHA-256 of the request_uri, as the handshake signs it

	// What the client's registration says; fixed when the request is made.
	Handshake bool // loopback handshake required
	Refresh   bool // grant type refresh_token
	Lifetimes Lifetimes

	// Where it was started.
	Facts event.Facts // reported by the installation, and its address

	CreatedAt time.Time
	ExpiresAt time.Time // of a pending request

	// Who used it.
	Session    string // ses_… of the browser that opened it; may still be signed out
	Binding    Hash   // of the per-request cookie
	OpenedAt   time.Time
	Subject    string
	AuthTime   time.Time
	ACR        string
	Granted    []string // scopes that the person allowed
	ApprovedAt time.Time

	NonceHash Hash // SHA-256 of the loopback nonce on offer; zero when none is
	NonceAt   time.Time

	CodeHash Hash
	CodeAt   time.Time

	Grant string // grt_…, once redeemed
}

// RequestEvent is what can happen to a request.
type RequestEvent interface{ requestEvent() }

// Open is the first interactive use: a person submitted something in a browser
// (not a GET: reloads, prefetches and scanners make those).
type Open struct {
	Session string
	Binding Hash
}

// Approve is the person's Allow.
type Approve struct {
	Session  string
	Binding  Hash
	Subject  string
	Scope    []string // what is allowed: all that was asked, or less
	AuthTime time.Time
	ACR      string
}

// Deny is the person's Deny.
type Deny struct {
	Session string
	Binding Hash
	Subject string // empty when not signed in
}

// OfferNonce records that the loopback nonce is being sent to the listener. A
// new offer replaces the former.
type OfferNonce struct {
	Session string
	Binding Hash
	Nonce   Hash
}

// Answer is the listener's signed answer, brought back by the browser. Its
// signature was verified under the request's own key; Step compares what it
// says.
type Answer struct {
	Session     string
	Binding     Hash
	Client      string
	RedirectURI string
	Handle      Hash // request_uri_hash
	Nonce       Hash
	Thumbprint  string // of the key that signed
	Code        Hash   // of the code to issue
}

// IssueCode issues the code for a client without the handshake.
type IssueCode struct {
	Session string
	Binding Hash
	Code    Hash
}

// Redeem is the token request (RFC 6749 §4.1.3) of an authenticated client.
type Redeem struct {
	Client      string
	RedirectURI string
	Challenge   string // S256 of the presented code_verifier; empty when none was presented
	Thumbprint  string // of the verified proof; empty when none was presented
	// Installation is the installation's id when a proof key was presented.
	Installation string
	// Bearer says that client and resource both allow a token without a proof.
	Bearer bool
	// FirstRefresh makes the hash of generation 0's token, once the grant's id
	// is known. It must be pure.
	FirstRefresh func(grant id.Raw) Hash
}

// BurnRequest says that its request_uri or code leaked: what is not redeemed ends.
type BurnRequest struct{}

// Lapse asks whether time has ended the request.
type Lapse struct{}

func (Open) requestEvent()        {}
func (Approve) requestEvent()     {}
func (Deny) requestEvent()        {}
func (OfferNonce) requestEvent()  {}
func (Answer) requestEvent()      {}
func (IssueCode) requestEvent()   {}
func (Redeem) requestEvent()      {}
func (BurnRequest) requestEvent() {}
func (Lapse) requestEvent()       {}

// StepRequest applies one event to a request. It does no I/O: time and
// randomness come in env. See the package comment for what errors mean.
func StepRequest(s Request, e RequestEvent, env Env) (Request, []Effect, error) {
	if out, effects, lapsed := lapse(s, env); lapsed {
		return out, effects, ErrExpired
	}
	switch e := e.(type) {
	case Lapse:
		return s, nil, nil
	case Open:
		return stepOpen(s, e, env)
	case Approve:
		return stepApprove(s, e, env)
	case Deny:
		return stepDeny(s, e, env)
	case OfferNonce:
		return stepOffer(s, e, env)
	case Answer:
		return stepAnswer(s, e, env)
	case IssueCode:
		return stepIssueCode(s, e, env)
	case Redeem:
		return stepRedeem(s, e, env)
	case BurnRequest:
		return stepBurn(s, env)
	}
	panic("grant: unknown request event")
}

// lapse ends a request whose time is over. A code's own lifetime is judged at
// its redemption, so that a late code is refused as such.
func lapse(s Request, env Env) (Request, []Effect, bool) {
	switch {
	case s.Status == Expired:
		return s, nil, true
	case s.Status == Pending && !env.Now.Before(s.ExpiresAt),
		s.Status == Approved && s.CodeAt.IsZero() && !env.Now.Before(s.ExpiresAt),
		s.Status == Approved && !s.CodeAt.IsZero() && !env.Now.Before(s.CodeAt.Add(CodeLife)):
		s.Status = Expired
		s.NonceHash, s.CodeHash = Hash{}, Hash{}
		return s, []Effect{s.record(event.RequestExpired, env)}, true
	}
	return s, nil, false
}

func stepOpen(s Request, e Open, env Env) (Request, []Effect, error) {
	if s.Status != Pending {
		return s, nil, ErrNotPending
	}
	if s.Session != "" {
		if s.Session != e.Session || s.Binding != e.Binding {
			return s, nil, ErrForeignSession
		}
		return s, nil, nil // the same browser again: a reload of the form
	}
	s.Session, s.Binding, s.OpenedAt = e.Session, e.Binding, env.Now
	s.ExpiresAt = env.Now.Add(SignInLife)
	return s, []Effect{s.record(event.RequestOpened, env)}, nil
}

// owns reports whether the browser that acts is the one that opened the request.
func (s Request) owns(session string, binding Hash) error {
	switch {
	case s.Session == "" || binding == (Hash{}):
		return ErrNotOpened
	case s.Session != session || s.Binding != binding:
		return ErrForeignSession
	}
	return nil
}

func stepApprove(s Request, e Approve, env Env) (Request, []Effect, error) {
	if s.Status != Pending {
		return s, nil, ErrNotPending
	}
	if err := s.owns(e.Session, e.Binding); err != nil {
		return s, nil, err
	}
	if e.Subject == "" {
		return s, nil, ErrNotOpened
	}
	if len(e.Scope) == 0 || !Subset(e.Scope, s.Scope) {
		return s, nil, ErrScope
	}
	s.Status = Approved
	s.Subject, s.AuthTime, s.ACR = e.Subject, e.AuthTime, e.ACR
	s.Granted, s.ApprovedAt = e.Scope, env.Now
	return s, []Effect{s.record(event.RequestApproved, env)}, nil
}

func stepDeny(s Request, e Deny, env Env) (Request, []Effect, error) {
	if s.Status != Pending {
		return s, nil, ErrNotPending
	}
	if err := s.owns(e.Session, e.Binding); err != nil {
		return s, nil, err
	}
	s.Status, s.Subject = Denied, e.Subject
	return s, []Effect{s.record(event.RequestDenied, env)}, nil
}

func stepBurn(s Request, env Env) (Request, []Effect, error) {
	if s.Status != Pending && s.Status != Approved {
		return s, nil, ErrNotPending
	}
	s.Status, s.NonceHash, s.CodeHash = Denied, Hash{}, Hash{} // neither can be answered or redeemed
	r := s.record(event.RequestRefused, env)
	r.Reason = event.ReasonBurned
	return s, []Effect{r}, nil
}

func stepOffer(s Request, e OfferNonce, env Env) (Request, []Effect, error) {
	switch {
	case s.Status != Approved:
		return s, nil, ErrNotApproved
	case !s.Handshake:
		return s, nil, ErrNoHandshake
	case !s.CodeAt.IsZero():
		return s, nil, ErrCodeIssued
	}
	if err := s.owns(e.Session, e.Binding); err != nil {
		return s, nil, err
	}
	s.NonceHash, s.NonceAt = e.Nonce, env.Now
	return s, []Effect{s.record(event.HandshakeNonce, env)}, nil
}

func stepAnswer(s Request, e Answer, env Env) (Request, []Effect, error) {
	switch {
	case s.Status != Approved:
		return s, nil, ErrNotApproved
	case !s.Handshake:
		return s, nil, ErrNoHandshake
	case !s.CodeAt.IsZero():
		return s, nil, ErrCodeIssued
	case s.NonceHash == Hash{}:
		return s, nil, ErrHandshakeWrong
	}
	if err := s.owns(e.Session, e.Binding); err != nil {
		return s, nil, err
	}
	if e.Client != s.Client || e.RedirectURI != s.RedirectURI || e.Handle != s.HandleHash ||
		e.Nonce != s.NonceHash || s.Thumbprint == "" || e.Thumbprint != s.Thumbprint {
		return s, nil, ErrHandshakeWrong
	}
	// A clock that was set back makes nobody's three seconds longer.
	if age := env.Now.Sub(s.NonceAt); age < 0 || age > HandshakeLife {
		return s, nil, ErrHandshakeLate
	}
	return s.issueCode(e.Code, env)
}

func stepIssueCode(s Request, e IssueCode, env Env) (Request, []Effect, error) {
	switch {
	case s.Status != Approved:
		return s, nil, ErrNotApproved
	case s.Handshake:
		return s, nil, ErrHandshake
	case !s.CodeAt.IsZero():
		return s, nil, ErrCodeIssued
	}
	if err := s.owns(e.Session, e.Binding); err != nil {
		return s, nil, err
	}
	return s.issueCode(e.Code, env)
}

func (s Request) issueCode(code Hash, env Env) (Request, []Effect, error) {
	s.CodeHash, s.CodeAt, s.NonceHash = code, env.Now, Hash{}
	r := s.record(event.CodeIssued, env)
	r.Until = env.Now.Add(CodeLife)
	return s, []Effect{r}, nil
}

func stepRedeem(s Request, e Redeem, env Env) (Request, []Effect, error) {
	// Who asks comes first: nobody else's mistake may change anything.
	switch {
	case s.CodeAt.IsZero() || s.CodeHash == Hash{}:
		return s, nil, ErrNotApproved
	case e.Client != s.Client:
		return s, nil, ErrCodeForeign
	case e.RedirectURI != s.RedirectURI:
		return s, nil, ErrCodeRedirect
	case e.Challenge != s.Challenge: // also a verifier without an earlier challenge (RFC 9700 §2.1.1)
		return s, nil, ErrCodeVerifier
	case s.Thumbprint != "" && e.Thumbprint == "":
		return s, nil, ErrProofRequired
	case s.Thumbprint != "" && e.Thumbprint != s.Thumbprint:
		return s, nil, ErrCodeKey
	case e.Thumbprint == "" && !e.Bearer:
		return s, nil, ErrProofRequired
	}
	if s.Status == Redeemed {
		return s, []Effect{
			s.record(event.CodeReused, env),
			RevokeGrant{Grant: s.Grant, Reason: event.ReasonCodeReused},
		}, ErrCodeReused
	}
	raw := id.NewRaw(env.Now, env.Random.Grant)
	g := Grant{
		Tenant: s.Tenant, ID: raw.String(id.Grant), Status: Active,
		Subject: s.Subject, Client: s.Client, Scope: s.Granted, Resource: s.Resource,
		Thumbprint: e.Thumbprint, Flow: FlowCode, Installation: e.Installation,
		AuthTime: s.AuthTime, ACR: s.ACR, Lifetimes: s.Lifetimes,
		CreatedAt: env.Now, EndsAt: env.Now.Add(s.Lifetimes.Grant), RotatedAt: env.Now,
	}
	if s.Refresh {
		g.Current = e.FirstRefresh(raw)
	}
	s.Status, s.Grant = Redeemed, g.ID
	redeemed := s.record(event.CodeRedeemed, env)
	created := Record{g.record(event.GrantCreated, env)}
	created.Request, created.Until = s.ID, g.EndsAt
	created.Scope = strings.Join(g.Scope, " ")
	g, issued := g.issue(g.Scope, g.Thumbprint, env)
	return s, append([]Effect{redeemed, NewGrant{g}, created}, issued...), nil
}

// record starts an audit record about the request.
func (s Request) record(name event.Name, env Env) Record {
	r := event.Record{
		Name: name, Tenant: s.Tenant, Time: env.Now,
		Client: s.Client, Request: s.ID, Session: s.Session, Subject: s.Subject,
		Resource: s.Resource, Flow: FlowCode, Thumbprint: s.Thumbprint, Grant: s.Grant,
	}
	if name == event.RequestOpened || name == event.RequestApproved {
		r.Scope = strings.Join(s.Scope, " ")
		if name == event.RequestApproved {
			r.Scope = strings.Join(s.Granted, " ")
		}
		r.Facts = s.Facts
	}
	return Record{r}
}
