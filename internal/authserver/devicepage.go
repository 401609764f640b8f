package authserver

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"time"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/policy"
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
// the person, the network, and everybody (§5.1). Errors: UserCodeWrong,
// *CodeLimitError.
func (s *Server) TypeDevice(ctx context.Context, typed string, b Browser) (Typed, error) {
	p, _, err := s.Person(ctx, b)
	if err != nil {
		return Typed{}, err
	}
	return guess(s, newGuesser(p.Account.ID, b), typed, func(hash grant.Hash) (Typed, error) {
		return retry(func() (Typed, error) { return s.typeDevice(ctx, hash, b) })
	})
}

// guess counts a user code that is tried.
func guess[T any](s *Server, who guesser, typed string, try func(grant.Hash) (T, error)) (T, error) {
	var none T
	now := s.Now()
	code, err := secret.ReadUserCode(typed)
	if err != nil {
		return none, oauth.Fail(oauth.UserCodeWrong) // a slip, not a guess: no code reads like that
	}
	if wait, signIn := s.guesses.begin(who, now, s.polls.outstanding(now)); wait > 0 {
		return none, &CodeLimitError{After: wait, SignIn: signIn}
	}
	out, err := try(grant.Hash(secret.UserCodeHash(code)))
	if !errors.Is(err, oauth.Fail(oauth.UserCodeWrong)) {
		s.guesses.right(who, now)
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
		if sess.Version == 0 && refused == nil {
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
	Handle string
	// Wanting is what policy asks for before Allow counts.
	Wanting   policy.Action
	Elsewhere bool // the device is on another network than the approver
	Less      bool // policy takes scopes away that were asked for
}

// ViewDevice shows a device authorization to the browser that typed its code.
func (s *Server) ViewDevice(ctx context.Context, handle string, b Browser) (DeviceView, error) {
	d, err := s.typedDevice(ctx, handle, b)
	if err != nil {
		return DeviceView{}, err
	}
	v, _, err := s.viewDevice(ctx, d.Value, handle, b, false)
	return v, err
}

// typedDevice finds a device authorization that this browser has typed the code
// of and that waits for its decision. Whoever guesses a code can make its handle:
// where the browser's cookie does not fit, the answer is one and the same, whether
// or not there is such a login, or this would be a way round the limits on guesses.
func (s *Server) typedDevice(ctx context.Context, handle string, b Browser) (store.Versioned[grant.Device], error) {
	hash, ok := readHash(handle)
	if !ok {
		return store.Versioned[grant.Device]{}, oauth.Fail(oauth.OtherBrowser)
	}
	sess, err := s.session(ctx, b)
	if err != nil {
		return store.Versioned[grant.Device]{}, err
	}
	d, err := s.store.DeviceByUserCode(ctx, s.tenant, hash)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return d, problem(err)
	}
	switch {
	case err != nil || b.Binding.IsZero() || d.Value.Session != sess.Value.ID || d.Value.Binding != grant.Hash(b.Binding.Hash()):
		return d, oauth.Fail(oauth.OtherBrowser)
	case d.Value.Status != grant.Pending:
		return d, oauth.Fail(oauth.RequestDecided)
	case !s.Now().Before(d.Value.Deadline()):
		return d, oauth.Fail(oauth.RequestExpired)
	}
	return d, nil
}

// viewDevice gives the page, and, where somebody is signed in, what an approval
// would be.
func (s *Server) viewDevice(ctx context.Context, d grant.Device, handle string, b Browser, confirmed bool) (DeviceView, grant.ApproveDevice, error) {
	// The page is the one of an authorization request; only what differs is here.
	v, err := s.view(ctx, grant.Request{
		ID: d.ID, Client: d.Client, Resource: d.Resource, Scope: d.Scope, Facts: d.Facts, CreatedAt: d.CreatedAt,
		Lifetimes: d.Lifetimes, Refresh: d.Refresh, MaxAge: -1,
	}, "", b)
	out := DeviceView{View: v, Handle: handle}
	if err != nil || v.Person == nil {
		return out, grant.ApproveDevice{}, err
	}
	facts := policy.DeviceFacts{
		Approver: b.Address, Confirmed: confirmed, AskedAt: d.TypedAt, AuthTime: v.Person.Session.AuthTime,
	}
	e := out.judge(d, v.Person.Account, facts)
	e.Session, e.Binding, e.ACR = v.Person.Session.ID, grant.Hash(b.Binding.Hash()), v.Person.Session.ACR
	return out, e, nil
}

// judge asks policy, and gives the approval that it would let through.
func (v *DeviceView) judge(d grant.Device, acc store.Account, facts policy.DeviceFacts) grant.ApproveDevice {
	var ours []string // scopes of ours give no power over the resource
	facts.Device, facts.Scope = d.Facts.Address, nil
	for _, n := range v.Resource.mayGrant(d.Scope, acc.Roles) {
		if _, ok := builtin(n); ok {
			ours = append(ours, n)
		} else {
			facts.Scope = append(facts.Scope, n)
		}
	}
	asked := len(facts.Scope)
	if asked == 0 && !v.Lacking { // who only wants to know who somebody is
		facts.Scope, ours = ours, nil
	}
	verdict := policy.Device(v.Client.Device, facts)
	v.Wanting, v.Elsewhere, v.Less = verdict.Action, verdict.Elsewhere, len(verdict.Scope) < len(facts.Scope)
	e := grant.ApproveDevice{Subject: acc.ID, AuthTime: facts.AuthTime, Lifetimes: grant.Lifetimes{Grant: verdict.Grant, Idle: verdict.Grant}}
	v.Scopes = nil
	for _, n := range d.Scope {
		if slices.Contains(ours, n) || slices.Contains(verdict.Scope, n) {
			e.Scope = append(e.Scope, n)
			v.Scopes = append(v.Scopes, v.Resource.Explain(n))
		}
	}
	if verdict.Grant > 0 {
		v.Ends = min(v.Ends, verdict.Grant)
	}
	return e
}

// DeviceDecision is what the person pressed.
type DeviceDecision struct {
	Handle string
	Allow  bool
	// Confirmed is set on the second, deliberate step.
	Confirmed bool
	// Shown are the scopes on the page. No others are granted, though policy may
	// have more by now: the browser is on another network than a moment ago, say.
	Shown []string
}

// What is still wanting before Allow counts.
var (
	// ErrConfirm asks for the second step.
	ErrConfirm = errors.New("authserver: Allow must be pressed a second time")
	// ErrSignInAgain asks for a sign-in that is newer than the typed code.
	ErrSignInAgain = errors.New("authserver: the person must sign in again")
)

// DecideDevice takes the person's Allow or Deny. Errors: ErrConfirm,
// ErrSignInAgain, DevicePolicy, and those of ViewDevice.
func (s *Server) DecideDevice(ctx context.Context, in DeviceDecision, b Browser) error {
	_, err := retry(func() (struct{}, error) { return struct{}{}, s.decideDevice(ctx, in, b) })
	return err
}

func (s *Server) decideDevice(ctx context.Context, in DeviceDecision, b Browser) error {
	d, err := s.typedDevice(ctx, in.Handle, b)
	if err != nil {
		return err
	}
	v, e, err := s.viewDevice(ctx, d.Value, in.Handle, b, in.Confirmed)
	if err != nil {
		return err
	}
	if v.Person == nil {
		return oauth.Fail(oauth.LoginRequired)
	}
	if !in.Allow {
		return s.stepDevice(ctx, d, grant.DenyDevice{Session: e.Session, Binding: e.Binding, Subject: e.Subject})
	}
	if err := wanting(v); err != nil {
		return err
	}
	e.Scope = common(e.Scope, in.Shown)
	return s.stepDevice(ctx, d, e)
}

// common gives those of a that are in b, too.
func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

// wanting names what policy still asks for.
func wanting(v DeviceView) error {
	switch {
	case v.Lacking:
		return oauth.Fail(oauth.ScopeUnknown)
	case v.Wanting == policy.Allow:
		return nil
	case v.Wanting == policy.Confirm:
		return ErrConfirm
	case v.Wanting == policy.SignInAgain:
		return ErrSignInAgain
	}
	return oauth.Fail(oauth.DevicePolicy)
}

// CodeLimitError says how long to wait before the next user code, and whether
// whoever signs in first need not.
type CodeLimitError struct {
	After  time.Duration
	SignIn bool
}

// Error says so.
func (e *CodeLimitError) Error() string { return "authserver: too many user codes tried" }

// Unwrap gives its code.
func (e *CodeLimitError) Unwrap() error { return oauth.Fail(oauth.UserCodeLimit) }
