// Package token makes and checks the claims of access tokens (RFC 9068, typ
// "at+jwt") and ID tokens (OpenID Connect Core 1.0 §2) on top of package jws.
//
// An access token of Keytether is for exactly one resource, names the grant it
// came from, and, where it is bound, the proof key it may be used with. [Verify]
// checks in a fixed order: type, algorithm and key, signature, claims; nothing
// of the payload is looked at before the signature holds.
//
// Verify compares no proof key: cnf.jkt is returned as Thumbprint, and whoever
// serves a request must have it compared with the DPoP proof (dpop.Expect does).
package token

import (
	"errors"
	"fmt"
	"time"

	"github.com/keytether/keytether/internal/jws"
)

// Errors of Issue and Verify, for errors.Is.
var (
	ErrMalformed  = errors.New("token: malformed")
	ErrType       = errors.New("token: wrong or missing typ")          // RFC 9068 §4
	ErrAlgorithm  = errors.New("token: algorithm refused")             // none, HS256, or not the key's
	ErrHeader     = errors.New("token: header member refused")         // jwk, jku, x5u, x5c, crit
	ErrUnknownKey = errors.New("token: no such key")                   // kid is not in the key set
	ErrSignature  = errors.New("token: signature does not verify")     //
	ErrClaim      = errors.New("token: a required claim is missing")   // RFC 9068 §2.2
	ErrIssuer     = errors.New("token: from another issuer")           //
	ErrAudience   = errors.New("token: for another audience")          // or for more than one
	ErrExpired    = errors.New("token: expired")                       //
	ErrNotYet     = errors.New("token: issued in the future")          // iat or nbf beyond the leeway
	ErrNonce      = errors.New("token: nonce is not the one we asked") // ID tokens only
)

// typAccess and typID are the header types: RFC 9068 §2.1 and RFC 7519 §5.1.
const (
	typAccess = "at+jwt"
	typID     = "JWT"
)

// AccessClaims are the claims of an access token. Times have whole seconds.
type AccessClaims struct {
	Issuer     string    // iss
	Subject    string    // sub
	Audience   string    // aud, exactly one
	ClientID   string    // client_id
	Scope      string    // scope, space-separated, may be empty
	ID         string    // jti
	GrantID    string    // sid: the grant that this came from; empty from other issuers
	Thumbprint string    // cnf.jkt (RFC 9449 §6.1); empty in a bearer token
	ACR        string    // acr, may be empty
	IssuedAt   time.Time // iat
	ExpiresAt  time.Time // exp
	AuthTime   time.Time // auth_time, zero where not said
	Actor      []byte    // act (RFC 8693 §4.1), a JSON object as it stood; nil for none. Nested ones decide nothing
}

// Expectations are what a verifier demands.
type Expectations struct {
	Issuer   string        // compared exactly; never empty
	Audience string        // the resource (access token) or client (ID token); never empty
	Now      time.Time     // the verifier's clock
	Leeway   time.Duration // how far clocks may be apart, both ways
}

// Issue signs an access token. A claim that RFC 9068 §2.2 requires and that is
// empty is ErrClaim: a token without it is never made.
func Issue(s jws.Signer, c AccessClaims) (string, error) {
	if c.Issuer == "" || c.Subject == "" || c.Audience == "" || c.ClientID == "" || c.ID == "" ||
		c.IssuedAt.IsZero() || c.ExpiresAt.IsZero() {
		return "", ErrClaim
	}
	var room [1024]byte
	e := encoder{b: append(room[:0], '{')}
	e.text("iss", c.Issuer)
	e.time("exp", c.ExpiresAt)
	e.time("iat", c.IssuedAt)
	e.text("jti", c.ID)
	e.text("aud", c.Audience)
	e.text("sub", c.Subject)
	e.text("client_id", c.ClientID)
	e.optional("scope", c.Scope)
	e.optional("sid", c.GrantID)
	e.optional("acr", c.ACR)
	if !c.AuthTime.IsZero() {
		e.time("auth_time", c.AuthTime)
	}
	if c.Thumbprint != "" {
		e.name("cnf")
		e.b = append(e.b, `{"jkt":`...)
		e.string(c.Thumbprint)
		e.b = append(e.b, '}')
	}
	if len(c.Actor) > 0 {
		e.raw("act", c.Actor)
	}
	return e.sign(s, typAccess)
}

// Verify checks an access token and gives its claims. Errors are the sentinels
// above. Only the key set decides which algorithm a kid may be used with.
func Verify(compact string, keys jws.KeySet, want Expectations) (AccessClaims, error) {
	m, err := open(compact, keys, func(typ string) bool { return jws.TypeIs(typ, typAccess) })
	if err != nil {
		return AccessClaims{}, err
	}
	var c AccessClaims
	var notBefore time.Time
	err = jws.EachMember(m.Payload, func(name string, v jws.Value) (err error) {
		switch name {
		case "iss":
			c.Issuer, err = v.Text()
		case "sub":
			c.Subject, err = v.Text()
		case "aud":
			c.Audience, err = oneAudience(v)
		case "client_id":
			c.ClientID, err = v.Text()
		case "scope":
			c.Scope, err = v.Text()
		case "jti":
			c.ID, err = v.Text()
		case "sid":
			c.GrantID, err = v.Text()
		case "acr":
			c.ACR, err = v.Text()
		case "iat":
			c.IssuedAt, err = v.Time()
		case "exp":
			c.ExpiresAt, err = v.Time()
		case "nbf":
			notBefore, err = v.Time()
		case "auth_time":
			c.AuthTime, err = v.Time()
		case "cnf":
			c.Thumbprint, err = thumbprint(v)
		case "act":
			c.Actor, err = append([]byte(nil), v...), jws.EachMember(v, func(string, jws.Value) error { return nil })
		}
		return err
	})
	if err != nil {
		return AccessClaims{}, translate(err)
	}
	if c.Issuer == "" || c.Subject == "" || c.Audience == "" || c.ClientID == "" || c.ID == "" ||
		c.IssuedAt.IsZero() || c.ExpiresAt.IsZero() {
		return AccessClaims{}, ErrClaim
	}
	if want.Issuer == "" || c.Issuer != want.Issuer {
		return AccessClaims{}, ErrIssuer
	}
	if want.Audience == "" || c.Audience != want.Audience {
		return AccessClaims{}, ErrAudience
	}
	if err := want.checkTimes(c.IssuedAt, c.ExpiresAt, notBefore); err != nil {
		return AccessClaims{}, err
	}
	return c, nil
}

// checkTimes: a token is good from iat (and nbf) up to, not including, exp.
func (want Expectations) checkTimes(issued, expires, notBefore time.Time) error {
	if !want.Now.Before(expires.Add(want.Leeway)) {
		return ErrExpired
	}
	latest := want.Now.Add(want.Leeway)
	if issued.After(latest) || notBefore.After(latest) {
		return ErrNotYet
	}
	return nil
}

// open reads a compact JWS and checks type, key, algorithm and signature, in
// that order.
func open(compact string, keys jws.KeySet, typeOK func(string) bool) (jws.Message, error) {
	m, err := jws.Parse(compact)
	if err != nil {
		return m, translate(err)
	}
	if !typeOK(m.Header.Type) {
		return m, ErrType
	}
	key, ok := keys.Key(m.Header.KeyID)
	if !ok || key == nil {
		return m, ErrUnknownKey
	}
	if err := m.Verify(key); err != nil {
		return m, translate(err)
	}
	return m, nil
}

// translate makes jws's errors ours and keeps the detail.
func translate(err error) error {
	for _, pair := range [...][2]error{
		{jws.ErrAlgorithm, ErrAlgorithm},
		{jws.ErrHeader, ErrHeader},
		{jws.ErrSignature, ErrSignature},
		{jws.ErrMalformed, ErrMalformed},
	} {
		if errors.Is(err, pair[0]) {
			return fmt.Errorf("%w (%w)", pair[1], err)
		}
	}
	return err
}

// thumbprint reads cnf. A cnf without jkt means a binding that we cannot check
// (RFC 7800 §3.1), so it is refused rather than taken for a bearer token.
func thumbprint(cnf jws.Value) (jkt string, err error) {
	err = jws.EachMember(cnf, func(name string, v jws.Value) (err error) {
		if name == "jkt" {
			jkt, err = v.Text()
		}
		return err
	})
	if err == nil && jkt == "" {
		err = fmt.Errorf("%w: cnf without jkt", ErrMalformed)
	}
	return jkt, err
}

// oneAudience reads aud as a string or an array of one.
func oneAudience(v jws.Value) (string, error) {
	if !v.IsArray() {
		return v.Text()
	}
	all, err := audiences(v)
	if err == nil && len(all) != 1 {
		return "", ErrAudience
	}
	if err != nil {
		return "", err
	}
	return all[0], nil
}

func audiences(v jws.Value) ([]string, error) {
	if !v.IsArray() {
		s, err := v.Text()
		return []string{s}, err
	}
	var all []string
	err := jws.EachElement(v, func(v jws.Value) error {
		s, err := v.Text()
		all = append(all, s)
		return err
	})
	return all, err
}
