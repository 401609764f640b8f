package authserver

import (
	"context"
	"encoding/base64"
	"errors"
	"time"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// Typed is what came of a user code that a person typed: the handle by which
// the pages name the device authorization from then on, and cookies to set.
type Typed struct {
	Handle      string
	Session     secret.Value // zero: keep the one there is
	Binding     secret.Value
	BindingName string
}

// TypeDevice takes a user code that a person typed (RFC 8628 §3.3). A right one
// binds the device authorization to this browser; a wrong one counts against
// the session, the address, and everybody (§5.1). Errors: UserCodeWrong,
// *CodeLimitError.
func (s *Server) TypeDevice(ctx context.Context, typed string, b Browser) (Typed, error) {
	now := s.Now()
	if wait := s.guesses.blocked(b, now, s.polls.pending(now)); wait > 0 {
		return Typed{}, &CodeLimitError{After: wait}
	}
	code, err := secret.ReadUserCode(typed)
	if err != nil {
		return Typed{}, oauth.Fail(oauth.UserCodeWrong) // a slip, not a guess: no code reads like that
	}
	hash := grant.Hash(secret.UserCodeHash(code))
	out, err := retry(func() (Typed, error) { return s.typeDevice(ctx, hash, b) })
	if errors.Is(err, oauth.Fail(oauth.UserCodeWrong)) {
		s.guesses.wrong(b, now)
	}
	return out, err
}

func (s *Server) typeDevice(ctx context.Context, hash grant.Hash, b Browser) (Typed, error) {
	d, err := s.deviceByUserCode(ctx, hash)
	if err != nil {
		return Typed{}, err
	}
	sess, err := s.session(ctx, b)
	if err != nil {
		return Typed{}, err
	}
	out := Typed{Handle: handleName(hash), BindingName: bindingName(hash)}
	if sess.Value.Hash == (grant.Hash{}) {
		out.Session = s.NewSessionSecret()
		sess.Value.Hash = grant.Hash(out.Session.Hash())
	}
	binding := b.Binding
	if d.Value.Session == "" {
		binding = secret.Mint(secret.Session, s.draw32())
		out.Binding = binding
	}
	next, effects, refused := grant.StepDevice(d.Value, grant.TypeCode{Session: sess.Value.ID, Binding: grant.Hash(binding.Hash())}, s.env())
	var change store.Change
	s.collect(&change, effects)
	if !change.IsEmpty() {
		change.Devices = append(change.Devices, store.Versioned[grant.Device]{Value: next, Version: d.Version})
		if sess.Version == 0 {
			change.Sessions = append(change.Sessions, sess)
		}
		if err := s.apply(ctx, change); err != nil {
			return Typed{}, err
		}
		s.polls.begin(next)
	}
	if refused != nil {
		return Typed{}, typeProblem(refused)
	}
	return out, nil
}

// typeProblem tells whoever typed a code that is over, or another browser's, no
// more than that it is none.
func typeProblem(err error) error {
	return oauth.Fail(oauth.UserCodeWrong).Because(err)
}

func (s *Server) deviceByUserCode(ctx context.Context, hash grant.Hash) (store.Versioned[grant.Device], error) {
	d, err := s.store.DeviceByUserCode(ctx, s.tenant, hash)
	if errors.Is(err, store.ErrNotFound) {
		return d, oauth.Fail(oauth.UserCodeWrong)
	}
	if err != nil {
		return d, problem(err)
	}
	return d, nil
}

func handleName(h grant.Hash) string { return base64.RawURLEncoding.EncodeToString(h[:]) }

// DeviceBindingName is the name of the cookie that must come with a handle.
func DeviceBindingName(handle string) string {
	h, _ := readHash(handle)
	return bindingName(h)
}

// TypedBindingName is the name of the cookie that comes with a user code typed
// again in the same browser.
func (s *Server) TypedBindingName(typed string) string {
	code, err := secret.ReadUserCode(typed)
	if err != nil {
		return ""
	}
	return bindingName(grant.Hash(secret.UserCodeHash(code)))
}

// DeviceView is what the consent page shows of a device authorization.
type DeviceView struct {
	View
	Handle    string
	Elsewhere bool // the browser has another address than the device
}

// ViewDevice shows a device authorization to the browser that typed its code.
func (s *Server) ViewDevice(ctx context.Context, handle string, b Browser) (DeviceView, error) {
	d, err := s.typedDevice(ctx, handle, b)
	if err != nil {
		return DeviceView{}, err
	}
	return s.viewDevice(ctx, d.Value, handle, b)
}

// typedDevice finds a device authorization that this browser has typed the code
// of and that waits for its decision.
func (s *Server) typedDevice(ctx context.Context, handle string, b Browser) (store.Versioned[grant.Device], error) {
	hash, ok := readHash(handle)
	if !ok {
		return store.Versioned[grant.Device]{}, oauth.Fail(oauth.UserCodeWrong)
	}
	d, err := s.deviceByUserCode(ctx, hash)
	if err != nil {
		return d, err
	}
	sess, err := s.session(ctx, b)
	if err != nil {
		return d, err
	}
	switch {
	case b.Binding.IsZero() || d.Value.Session != sess.Value.ID || d.Value.Binding != grant.Hash(b.Binding.Hash()):
		return d, oauth.Fail(oauth.OtherBrowser)
	case d.Value.Status != grant.Pending:
		return d, oauth.Fail(oauth.RequestDecided)
	case !s.Now().Before(d.Value.Deadline()):
		return d, oauth.Fail(oauth.RequestExpired)
	}
	return d, nil
}

func (s *Server) viewDevice(ctx context.Context, d grant.Device, handle string, b Browser) (DeviceView, error) {
	// The page is the one of an authorization request; only what differs is here.
	v, err := s.view(ctx, grant.Request{
		ID: d.ID, Client: d.Client, Resource: d.Resource, Scope: d.Scope, Facts: d.Facts, CreatedAt: d.CreatedAt,
		Lifetimes: d.Lifetimes, Refresh: d.Refresh, MaxAge: -1,
	}, "", b)
	return DeviceView{View: v, Handle: handle, Elsewhere: elsewhere(d.Facts.Address, b.Address)}, err
}

// elsewhere reports whether two addresses are of different networks as far as a
// server can tell: a household or an office comes from one address.
func elsewhere(device, browser string) bool {
	return device != "" && browser != "" && device != browser
}

// DeviceDecision is what the person pressed.
type DeviceDecision struct {
	Handle string
	Allow  bool
	// Confirmed is set on the second, deliberate step that Allow takes when the
	// browser is elsewhere.
	Confirmed bool
}

// ErrConfirm asks for the second step.
var ErrConfirm = errors.New("authserver: the browser is on another network than the device: ask again")

// DecideDevice takes the person's Allow or Deny. ErrConfirm means that Allow
// must be asked for a second time.
func (s *Server) DecideDevice(ctx context.Context, in DeviceDecision, b Browser) error {
	_, err := retry(func() (struct{}, error) { return struct{}{}, s.decideDevice(ctx, in, b) })
	return err
}

func (s *Server) decideDevice(ctx context.Context, in DeviceDecision, b Browser) error {
	d, err := s.typedDevice(ctx, in.Handle, b)
	if err != nil {
		return err
	}
	v, err := s.viewDevice(ctx, d.Value, in.Handle, b)
	if err != nil {
		return err
	}
	if v.Person == nil {
		return oauth.Fail(oauth.LoginRequired)
	}
	p := *v.Person
	binding := grant.Hash(b.Binding.Hash())
	if !in.Allow {
		return s.stepDevice(ctx, d, grant.DenyDevice{Session: p.Session.ID, Binding: binding, Subject: p.Account.ID})
	}
	if v.Lacking {
		return oauth.Fail(oauth.ScopeUnknown)
	}
	if v.Elsewhere && !in.Confirmed {
		return ErrConfirm
	}
	res, err := s.Registry().Resource(d.Value.Resource)
	if err != nil {
		return err
	}
	return s.stepDevice(ctx, d, grant.ApproveDevice{
		Session: p.Session.ID, Binding: binding, Subject: p.Account.ID,
		Scope: res.mayGrant(d.Value.Scope, p.Account.Roles), AuthTime: p.Session.AuthTime, ACR: p.Session.ACR,
	})
}

// CodeLimitError says how long to wait before the next user code.
type CodeLimitError struct{ After time.Duration }

// Error says so.
func (e *CodeLimitError) Error() string { return "authserver: too many user codes tried" }

// Unwrap gives its code.
func (e *CodeLimitError) Unwrap() error { return oauth.Fail(oauth.UserCodeLimit) }
