package token

import (
	"crypto/subtle"
	"slices"
	"time"

	"github.com/keytether/keytether/internal/jws"
)

// IDClaims are the claims of an ID token (OpenID Connect Core 1.0 §2, §5.1).
// Times have whole seconds.
type IDClaims struct {
	Issuer          string    // iss
	Subject         string    // sub
	Audience        string    // aud: the client
	AuthorizedParty string    // azp, may be empty
	Nonce           string    // nonce, as the authorization request had it
	Email           string    // email, may be empty; email_verified stands only beside it
	EmailVerified   bool      // email_verified
	ACR             string    // acr, may be empty
	GrantID         string    // sid, may be empty
	IssuedAt        time.Time // iat
	ExpiresAt       time.Time // exp
	AuthTime        time.Time // auth_time, zero where not said
}

// IssueID signs an ID token. An empty required claim is ErrClaim.
func IssueID(s jws.Signer, c IDClaims) (string, error) {
	if c.Issuer == "" || c.Subject == "" || c.Audience == "" || c.IssuedAt.IsZero() || c.ExpiresAt.IsZero() {
		return "", ErrClaim
	}
	var room [1024]byte
	e := encoder{b: append(room[:0], '{')}
	e.text("iss", c.Issuer)
	e.text("sub", c.Subject)
	e.text("aud", c.Audience)
	e.time("exp", c.ExpiresAt)
	e.time("iat", c.IssuedAt)
	if !c.AuthTime.IsZero() {
		e.time("auth_time", c.AuthTime)
	}
	e.optional("nonce", c.Nonce)
	e.optional("acr", c.ACR)
	e.optional("azp", c.AuthorizedParty)
	e.optional("sid", c.GrantID)
	if c.Email != "" {
		e.text("email", c.Email)
		e.bool("email_verified", c.EmailVerified)
	}
	return e.sign(s, typID)
}

// VerifyID checks an ID token for the client want.Audience (OpenID Connect Core
// 1.0 §3.1.3.7). Header typ is "JWT" or absent; an access token is ErrType. Nonce
// is what the authorization request sent, empty where it sent none; then the
// token must not have one either. With several audiences, or with azp, azp must
// be the client.
func VerifyID(compact string, keys jws.KeySet, nonce string, want Expectations) (IDClaims, error) {
	m, err := open(compact, keys, func(typ string) bool { return typ == "" || jws.TypeIs(typ, typID) })
	if err != nil {
		return IDClaims{}, err
	}
	var c IDClaims
	var aud []string
	err = jws.EachMember(m.Payload, func(name string, v jws.Value) (err error) {
		switch name {
		case "iss":
			c.Issuer, err = v.Text()
		case "sub":
			c.Subject, err = v.Text()
		case "aud":
			aud, err = audiences(v)
		case "azp":
			c.AuthorizedParty, err = v.Text()
		case "nonce":
			c.Nonce, err = v.Text()
		case "email":
			c.Email, err = v.Text()
		case "email_verified":
			c.EmailVerified, err = v.Bool()
		case "acr":
			c.ACR, err = v.Text()
		case "sid":
			c.GrantID, err = v.Text()
		case "iat":
			c.IssuedAt, err = v.Time()
		case "exp":
			c.ExpiresAt, err = v.Time()
		case "auth_time":
			c.AuthTime, err = v.Time()
		}
		return err
	})
	if err != nil {
		return IDClaims{}, translate(err)
	}
	if c.Issuer == "" || c.Subject == "" || len(aud) == 0 || c.IssuedAt.IsZero() || c.ExpiresAt.IsZero() {
		return IDClaims{}, ErrClaim
	}
	if want.Issuer == "" || c.Issuer != want.Issuer {
		return IDClaims{}, ErrIssuer
	}
	c.Audience = want.Audience
	if want.Audience == "" || !slices.Contains(aud, want.Audience) {
		return IDClaims{}, ErrAudience
	}
	if (len(aud) > 1 || c.AuthorizedParty != "") && c.AuthorizedParty != want.Audience {
		return IDClaims{}, ErrAudience
	}
	if err := want.checkTimes(c.IssuedAt, c.ExpiresAt, time.Time{}); err != nil {
		return IDClaims{}, err
	}
	if subtle.ConstantTimeCompare([]byte(c.Nonce), []byte(nonce)) != 1 {
		return IDClaims{}, ErrNonce
	}
	return c, nil
}
