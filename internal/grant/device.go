package grant

import (
	"strings"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/id"
)

// FlowDevice names the flow of RFC 8628.
const FlowDevice = "device"

// Device is a device authorization (RFC 8628): a login in progress whose tool
// and browser may be on different machines. It has the states of a Request:
//
//	         TypeCode          Approve             Collect
//	pending ─────────▶ pending ───────▶ approved ────────▶ redeemed
//	   │ (user code)      │ Deny           │                 │ Collect again: the lost
//	   │                  ▼                │                 ▼ answer, to the same key
//	   │               denied ◀── Abandon, hammering      redeemed
//	   └──────────────── time ─────────────┴──▶ expired
type Device struct {
	Tenant string
	ID     string // dev_…
	Status Status

	// What the tool asked for.
	Client     string
	Scope      []string
	Resource   string
	Thumbprint string // of the proof key; of the first proved poll for clients that may do without
	CodeHash   Hash   // of the device code
	UserHash   Hash   // of the user code, normalised

	// What the client's registration and policy say; fixed at the start.
	Refresh   bool
	Lifetimes Lifetimes
	Interval  time.Duration // offered at the start

	Facts event.Facts // reported by the installation, and its address

	CreatedAt time.Time
	TypeBy    time.Time // the user code's end, unless it was typed
	ExpiresAt time.Time // of all

	// Who typed the code.
	Session    string
	Binding    Hash
	TypedAt    time.Time
	Subject    string
	AuthTime   time.Time
	ACR        string
	Granted    []string
	ApprovedBy string // ins_… when an installation approved; else empty
	DecidedAt  time.Time

	Grant string // grt_…, once redeemed
	// Salt derives the first refresh token from the device code again, for an
	// answer that was lost; erased when that token is used.
	Salt Salt
}

// DeviceEvent is what can happen to a device authorization.
type DeviceEvent interface{ deviceEvent() }

// TypeCode is the user code typed by a person in a browser.
type TypeCode struct {
	Session string
	Binding Hash
}

// ApproveDevice is the person's Allow, in the browser that typed the code, or
// by an installation that this person already trusts.
type ApproveDevice struct {
	Session      string
	Binding      Hash
	Installation string // ins_…: it signed the approval; then no browser is needed
	Subject      string
	Scope        []string
	Lifetimes    Lifetimes // zero ones keep the client's, and longer ones do too
	AuthTime     time.Time
	ACR          string
}

// DenyDevice is the person's Deny.
type DenyDevice struct {
	Session      string
	Binding      Hash
	Installation string
	Subject      string
}

// Collect is a poll (RFC 8628 §3.4) of an authenticated client at the right
// pace. While nothing is decided it changes nothing but, once, the key.
type Collect struct {
	Client       string
	Thumbprint   string // of the verified proof; empty when none was presented
	Installation string
	Bearer       bool // client and resource both allow a token without a proof
	// FirstRefresh makes the hash of generation 0's token from the grant's id
	// and a salt. It must be pure.
	FirstRefresh func(grant id.Raw, salt Salt) Hash
	// Unused reports whether generation 0 of the grant was never used: for a
	// repeat of a redeemed code.
	Unused bool
}

// Abandon ends it before its time: the tool was stopped, after the person's Allow
// perhaps, or polls in spite of every slow_down, or its device code leaked.
type Abandon struct {
	Client     string
	Thumbprint string
	Reason     event.Reason
}

// LapseDevice asks whether time has ended it.
type LapseDevice struct{}

func (TypeCode) deviceEvent()      {}
func (ApproveDevice) deviceEvent() {}
func (DenyDevice) deviceEvent()    {}
func (Collect) deviceEvent()       {}
func (Abandon) deviceEvent()       {}
func (LapseDevice) deviceEvent()   {}

// Collected is what a redeemed device code gives again when its answer was
// lost: one more access token of the grant and the same refresh token.
type Collected struct{ Grant string }

func (Collected) effect() {}

// StepDevice applies one event to a device authorization. It does no I/O. See
// the package comment for what errors mean.
func StepDevice(s Device, e DeviceEvent, env Env) (Device, []Effect, error) {
	if out, effects, lapsed := lapseDevice(s, env); lapsed {
		return out, effects, ErrExpired
	}
	switch e := e.(type) {
	case LapseDevice:
		return s, nil, nil
	case TypeCode:
		return stepTypeCode(s, e, env)
	case ApproveDevice:
		return stepApproveDevice(s, e, env)
	case DenyDevice:
		return stepDenyDevice(s, e, env)
	case Collect:
		return stepCollect(s, e, env)
	case Abandon:
		return stepAbandon(s, e, env)
	}
	panic("grant: unknown device event")
}

func lapseDevice(s Device, env Env) (Device, []Effect, bool) {
	switch {
	case s.Status == Expired:
		return s, nil, true
	case (s.Status == Pending || s.Status == Approved) && !env.Now.Before(s.Deadline()):
		s.Status = Expired
		return s, []Effect{s.record(event.DeviceExpired, env)}, true
	}
	return s, nil, false
}

func stepTypeCode(s Device, e TypeCode, env Env) (Device, []Effect, error) {
	if s.Status != Pending {
		return s, nil, ErrNotPending
	}
	if s.Session != "" {
		if s.Session != e.Session || s.Binding != e.Binding {
			return s, nil, ErrForeignSession
		}
		return s, nil, nil
	}
	s.Session, s.Binding, s.TypedAt = e.Session, e.Binding, env.Now
	return s, []Effect{s.record(event.DeviceOpened, env)}, nil
}

// decides reports whether who decides may: the browser that typed the code, or
// an installation of the person's.
func (s Device) decides(session string, binding Hash, installation string) error {
	switch {
	case s.Status != Pending:
		return ErrNotPending
	case installation != "":
		return nil
	case s.Session == "" || binding == (Hash{}):
		return ErrNotOpened
	case s.Session != session || s.Binding != binding:
		return ErrForeignSession
	}
	return nil
}

func stepApproveDevice(s Device, e ApproveDevice, env Env) (Device, []Effect, error) {
	if err := s.decides(e.Session, e.Binding, e.Installation); err != nil {
		return s, nil, err
	}
	if e.Subject == "" {
		return s, nil, ErrNotOpened
	}
	if len(e.Scope) == 0 || !Subset(e.Scope, s.Scope) {
		return s, nil, ErrScope
	}
	s.Status, s.DecidedAt = Approved, env.Now
	s.Subject, s.AuthTime, s.ACR, s.Granted, s.ApprovedBy = e.Subject, e.AuthTime, e.ACR, e.Scope, e.Installation
	s.Lifetimes = s.Lifetimes.shortened(e.Lifetimes)
	return s, []Effect{s.record(event.DeviceApproved, env)}, nil
}

// shortened takes whatever by is shorter in.
func (l Lifetimes) shortened(by Lifetimes) Lifetimes {
	pick := func(a, b time.Duration) time.Duration {
		if b > 0 && b < a {
			return b
		}
		return a
	}
	return Lifetimes{Access: pick(l.Access, by.Access), Idle: pick(l.Idle, by.Idle), Grant: pick(l.Grant, by.Grant)}
}

func stepDenyDevice(s Device, e DenyDevice, env Env) (Device, []Effect, error) {
	if err := s.decides(e.Session, e.Binding, e.Installation); err != nil {
		return s, nil, err
	}
	s.Status, s.Subject, s.DecidedAt, s.ApprovedBy = Denied, e.Subject, env.Now, e.Installation
	return s, []Effect{s.record(event.DeviceDenied, env)}, nil
}

// Holder is the tool that a device authorization belongs to.
type Holder struct {
	Client     string
	Thumbprint string // of its proof key; empty until one is bound
}

// Holder gives the tool that started it.
func (s Device) Holder() Holder { return Holder{s.Client, s.Thumbprint} }

// Check reports whether a poll is by that tool.
func (h Holder) Check(client, thumbprint string) error {
	switch {
	case client != h.Client:
		return ErrCodeForeign
	case h.Thumbprint != "" && thumbprint == "":
		return ErrProofRequired
	case h.Thumbprint != "" && thumbprint != h.Thumbprint:
		return ErrCodeKey
	}
	return nil
}

// Deadline is when a pending device authorization ends, as it stands.
func (s Device) Deadline() time.Time {
	if s.Status == Pending && s.TypedAt.IsZero() && s.TypeBy.Before(s.ExpiresAt) {
		return s.TypeBy
	}
	return s.ExpiresAt
}

func stepCollect(s Device, e Collect, env Env) (Device, []Effect, error) {
	if err := s.Holder().Check(e.Client, e.Thumbprint); err != nil {
		return s, nil, err
	}
	if e.Thumbprint == "" && !e.Bearer {
		return s, nil, ErrProofRequired
	}
	switch s.Status {
	case Pending:
		if s.Thumbprint == "" && e.Thumbprint != "" { // the first proved poll binds
			s.Thumbprint = e.Thumbprint
			return s, []Effect{s.record(event.DeviceBound, env)}, ErrPending
		}
		return s, nil, ErrPending
	case Denied:
		return s, nil, ErrDenied
	case Redeemed:
		if s.Thumbprint == "" || s.Salt == (Salt{}) || !e.Unused {
			return s, nil, ErrCodeReused
		}
		return s, []Effect{s.record(event.DeviceRepeated, env), Collected{Grant: s.Grant}}, nil
	}
	return s.redeem(e, env)
}

func (s Device) redeem(e Collect, env Env) (Device, []Effect, error) {
	raw := id.NewRaw(env.Now, env.Random.Grant)
	g := Grant{
		Tenant: s.Tenant, ID: raw.String(id.Grant), Status: Active,
		Subject: s.Subject, Client: s.Client, Scope: s.Granted, Resource: s.Resource,
		Thumbprint: e.Thumbprint, Flow: FlowDevice, Installation: e.Installation,
		AuthTime: s.AuthTime, ACR: s.ACR, Lifetimes: s.Lifetimes,
		CreatedAt: env.Now, EndsAt: env.Now.Add(s.Lifetimes.Grant), RotatedAt: env.Now,
	}
	s.Status, s.Grant, s.Thumbprint = Redeemed, g.ID, e.Thumbprint
	if s.Refresh {
		s.Salt = env.Random.Salt
		g.Current = e.FirstRefresh(raw, s.Salt)
	}
	redeemed := s.record(event.DeviceRedeemed, env)
	created := Record{g.record(event.GrantCreated, env)}
	created.Request, created.Until = s.ID, g.EndsAt
	created.Scope = strings.Join(g.Scope, " ")
	g, issued := g.issue(g.Scope, g.Thumbprint, env)
	return s, append([]Effect{redeemed, NewGrant{g}, created}, issued...), nil
}

func stepAbandon(s Device, e Abandon, env Env) (Device, []Effect, error) {
	if err := s.Holder().Check(e.Client, e.Thumbprint); err != nil {
		return s, nil, err
	}
	// The person's Allow does not bind a tool that has stopped since.
	if s.Status != Pending && (s.Status != Approved || e.Reason == event.ReasonHammering) {
		return s, nil, ErrNotPending
	}
	s.Status, s.DecidedAt = Denied, env.Now
	r := s.record(event.DeviceDenied, env)
	r.Reason = e.Reason
	return s, []Effect{r}, nil
}

// Started is the audit record of its making.
func (s Device) Started() event.Record {
	r := s.record(event.DeviceStarted, Env{Now: s.CreatedAt}).Record
	r.Scope, r.Until = strings.Join(s.Scope, " "), s.ExpiresAt
	return r
}

// record starts an audit record about the device authorization.
func (s Device) record(name event.Name, env Env) Record {
	r := event.Record{
		Name: name, Tenant: s.Tenant, Time: env.Now, Client: s.Client, Request: s.ID, Session: s.Session,
		Subject: s.Subject, Resource: s.Resource, Flow: FlowDevice, Thumbprint: s.Thumbprint, Grant: s.Grant,
	}
	switch name {
	case event.DeviceOpened:
		r.Scope, r.Facts = strings.Join(s.Scope, " "), s.Facts
	case event.DeviceApproved:
		r.Scope, r.Facts, r.Installation = strings.Join(s.Granted, " "), s.Facts, s.ApprovedBy
	case event.DeviceDenied:
		r.Installation = s.ApprovedBy
	}
	return Record{r}
}
