package authserver

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/identity"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// SignIn is what the sign-in form holds. RequestURI and ClientID are empty at
// /me.
type SignIn struct {
	ClientID   string
	RequestURI string
	Email      string
	Password   secret.Value
}

// SignedIn are the cookies to set after a sign-in, whether it succeeded or not:
// the request at hand is bound to the browser by the first thing a person
// submits.
type SignedIn struct {
	Session     secret.Value  // zero: keep the one there is
	Left        time.Duration // how long it lives; zero: as long as the browser runs
	Binding     secret.Value  // zero: none new
	BindingName string
}

// LimitedError says how long to wait before the next attempt.
type LimitedError struct{ After time.Duration }

// Error says so.
func (e *LimitedError) Error() string { return "authserver: too many attempts to sign in" }

// Unwrap gives its code.
func (e *LimitedError) Unwrap() error { return oauth.Fail(oauth.SignInLimited) }

// SignIn checks a password and signs the browser in. A wrong password still
// binds the authorization request to this browser. Errors: SignInFailed,
// *LimitedError, and those of the request.
func (s *Server) SignIn(ctx context.Context, in SignIn, b Browser) (SignedIn, error) {
	if in.RequestURI != "" {
		r, err := s.request(ctx, in.ClientID, in.RequestURI)
		if err != nil {
			return SignedIn{}, err
		}
		if r.Value.Status != grant.Pending {
			return SignedIn{}, oauth.Fail(oauth.RequestDecided)
		}
	}
	who, refused, err := s.authenticate(ctx, in, b)
	if err != nil {
		return SignedIn{}, err
	}
	return retry(func() (SignedIn, error) { return s.signIn(ctx, in, b, who, refused) })
}

// authenticate gives the account, or why it was refused.
func (s *Server) authenticate(ctx context.Context, in SignIn, b Browser) (identity.Result, event.Reason, error) {
	address, _ := netip.ParseAddr(b.Address)
	attempt, wait := s.attempts.Begin(in.Email, address)
	if attempt == nil {
		return identity.Result{}, "", &LimitedError{After: wait}
	}
	acc, err := s.store.AccountByEmail(ctx, s.tenant, identity.FoldEmail(in.Email))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		attempt.Abandoned()
		return identity.Result{}, "", problem(err)
	}
	who, err := s.people.Verify(ctx, acc.Value, in.Password)
	switch {
	case err == nil:
		attempt.Succeeded()
		return who, "", nil
	case errors.Is(err, identity.ErrWrong) && acc.Version == 0:
		return identity.Result{}, event.ReasonUnknownUser, nil
	case errors.Is(err, identity.ErrWrong):
		return identity.Result{Account: acc.Value}, event.ReasonBadPassword, nil
	case errors.Is(err, identity.ErrBusy):
		attempt.Abandoned()
		return identity.Result{}, "", oauth.Fail(oauth.Unavailable)
	}
	return identity.Result{}, "", problem(err)
}

func (s *Server) signIn(ctx context.Context, in SignIn, b Browser, who identity.Result, refused event.Reason) (SignedIn, error) {
	var out SignedIn
	sess, err := s.session(ctx, b)
	if err != nil {
		return out, err
	}
	rec := event.Record{
		Name: event.SignInSucceeded, Tenant: s.tenant, Time: s.Now(), Subject: who.Account.ID, Session: sess.Value.ID,
		Facts: event.Facts{Address: b.Address, Agent: cleanFact(b.UserAgent)},
	}
	if refused != "" {
		rec.Name, rec.Reason = event.SignInFailed, refused
		if sess.Value.Hash == (grant.Hash{}) {
			out.Session = s.NewSessionSecret()
			sess.Value.Hash = grant.Hash(out.Session.Hash())
		}
	} else {
		out.Session = s.NewSessionSecret() // a new one: what was there before may be known to somebody (session fixation)
		sess.Value.Hash = grant.Hash(out.Session.Hash())
		sess.Value.Account, sess.Value.AuthTime, sess.Value.ACR = who.Account.ID, who.AuthTime, string(who.ACR)
		sess.Value.ExpiresAt = rec.Time.Add(grant.SessionLife)
		out.Left = s.sessionLeft(sess.Value)
	}
	c := store.Change{Sessions: []store.Versioned[store.Session]{sess}, Records: []event.Record{rec}}
	if in.RequestURI == "" {
		err = s.apply(ctx, c)
	} else {
		err = s.bindRequest(ctx, in, b, c, sess.Value.ID, &out)
	}
	if err == nil && refused != "" {
		err = oauth.Fail(oauth.SignInFailed)
	}
	return out, err
}

// bindRequest commits a sign-in together with the opening of the request at
// hand.
func (s *Server) bindRequest(ctx context.Context, in SignIn, b Browser, c store.Change, session string, out *SignedIn) error {
	r, err := s.request(ctx, in.ClientID, in.RequestURI)
	if err != nil {
		return err
	}
	t := s.turn(r, b)
	t.step(grant.Open{Session: session, Binding: t.hash})
	opened := !t.change.IsEmpty()
	c.Records[0].Request = r.Value.ID
	t.change.Sessions, t.change.Records = c.Sessions, append(c.Records, t.change.Records...)
	if !opened && t.err == nil {
		return s.apply(ctx, t.change)
	}
	if t.err != nil { // another browser's request: neither it nor the session changes
		return problem(t.err)
	}
	if t.fresh {
		out.Binding, out.BindingName = t.binding, bindingName(r.Value.HandleHash)
	}
	return t.commit(ctx)
}

// SignOut ends the browser's session.
func (s *Server) SignOut(ctx context.Context, b Browser) error {
	_, err := retry(func() (struct{}, error) {
		sess, err := s.session(ctx, b)
		if err != nil || sess.Version == 0 {
			return struct{}{}, err
		}
		sess.Value.Ended = true
		return struct{}{}, s.apply(ctx, store.Change{
			Sessions: []store.Versioned[store.Session]{sess},
			Records: []event.Record{{
				Name: event.SessionEnded, Tenant: s.tenant, Time: s.Now(), Subject: sess.Value.Account,
				Session: sess.Value.ID, Reason: event.ReasonSignOut,
			}},
		})
	})
	return err
}
