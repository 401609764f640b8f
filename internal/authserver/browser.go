package authserver

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"time"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// Browser is what a browser brought along: its cookies and where it is.
type Browser struct {
	Session   secret.Value // the session cookie; every page sets one
	Binding   secret.Value // the cookie of the authorization request at hand; zero: none
	Address   string
	UserAgent string
}

// NewSessionSecret makes the value of a session cookie. Nothing is stored until
// a person submits something.
func (s *Server) NewSessionSecret() secret.Value { return secret.Mint(secret.Session, s.draw32()) }

// Person is who is signed in in a browser.
type Person struct {
	Account store.Account
	Session store.Session
}

// Person finds who is signed in, if anybody is.
func (s *Server) Person(ctx context.Context, b Browser) (Person, bool, error) {
	sess, err := s.session(ctx, b)
	if err != nil || sess.Version == 0 || sess.Value.Account == "" {
		return Person{}, false, err
	}
	acc, err := s.store.Account(ctx, s.tenant, sess.Value.Account)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Person{}, false, nil
	case err != nil:
		return Person{}, false, problem(err)
	case acc.Value.Disabled, sess.Value.AuthTime.Before(acc.Value.Since):
		return Person{}, false, nil
	}
	return Person{Account: acc.Value, Session: sess.Value}, true, nil
}

// session finds the browser's session. One that does not exist yet has Version
// 0, and is what a first submit will store. If the browser's cookie is of a
// session that is over, it has no Hash, and needs a new cookie.
func (s *Server) session(ctx context.Context, b Browser) (store.Versioned[store.Session], error) {
	now := s.Now()
	hash := grant.Hash(b.Session.Hash())
	v, err := s.store.SessionByHash(ctx, s.tenant, hash)
	switch {
	case err == nil && !v.Value.Ended && now.Before(v.Value.ExpiresAt):
		return v, nil
	case err == nil: // over: its cookie is used up
		hash = grant.Hash{}
	case !errors.Is(err, store.ErrNotFound):
		return v, problem(err)
	}
	return store.Versioned[store.Session]{Value: store.Session{
		ID: id.New(id.Session, now, s.draw10()), Hash: hash,
		CreatedAt: now, ExpiresAt: now.Add(grant.SessionLife),
	}}, nil
}

// FormToken is the hidden field of every form: a MAC over the browser's session
// cookie and what the form is for. Another site can neither read nor make it.
func (s *Server) FormToken(b Browser, purpose string) string {
	return formTag(s.Keys().CSRFKey(s.Now()), b, purpose)
}

// CheckForm reports whether a form came from a page that this browser was given.
func (s *Server) CheckForm(b Browser, purpose, token string) bool {
	if b.Session.IsZero() {
		return false
	}
	for _, k := range s.Keys().CSRFKeys(s.Now()) {
		if hmac.Equal([]byte(formTag(k, b, purpose)), []byte(token)) {
			return true
		}
	}
	return false
}

func formTag(k secret.Key, b Browser, purpose string) string {
	m := hmac.New(sha256.New, k.Bytes())
	h := b.Session.Hash()
	_, _ = m.Write(h[:])
	_, _ = io.WriteString(m, purpose)
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// BindingName is the part of the per-request cookie's name that tells requests
// apart, so that two logins in one browser do not disturb each other.
func BindingName(requestURI string) string { return bindingName(handleHash(requestURI)) }

func bindingName(h grant.Hash) string { return base64.RawURLEncoding.EncodeToString(h[:9]) }

// sessionLeft is how long a cookie should live.
func (s *Server) sessionLeft(v store.Session) time.Duration { return v.ExpiresAt.Sub(s.Now()) }
