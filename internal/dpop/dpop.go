// Package dpop makes and checks DPoP proofs and their nonces (RFC 9449).
//
// A proof says: whoever holds this key sends this request now. [Verify] gives
// the key back and, where the caller knows which key it must be, compares it:
// a thumbprint that is returned and never compared protects nobody.
//
// "Now" is judged by the age of a nonce that the server gave out, where one is in
// use, and by "iat" only without one: a laptop's clock may be wrong by an hour.
package dpop

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/keytether/keytether/internal/jws"
)

// Type is the header "typ" of a proof (RFC 9449 §4.2).
const Type = "dpop+jwt"

// Errors of Verify, for errors.Is. ErrNonceMissing and ErrNonceStale are answered
// with use_dpop_nonce, ErrThumbprint is theft or a mix-up, all others are
// invalid_dpop_proof.
var (
	ErrMalformed    = errors.New("dpop: malformed proof")
	ErrType         = errors.New("dpop: typ is not dpop+jwt")
	ErrAlgorithm    = errors.New("dpop: algorithm refused")
	ErrKey          = errors.New("dpop: key in the proof refused") // no jwk, private members, not on its curve
	ErrSignature    = errors.New("dpop: signature does not verify")
	ErrMethod       = errors.New("dpop: htm is not the request's method")
	ErrURL          = errors.New("dpop: htu is not the request's URL")
	ErrATH          = errors.New("dpop: ath is missing or not the access token's")
	ErrNonceMissing = errors.New("dpop: a nonce is required")
	ErrNonceStale   = errors.New("dpop: the nonce is not a fresh one of ours")
	ErrStale        = errors.New("dpop: iat is too far from now")
	ErrThumbprint   = errors.New("dpop: proved by another key than the bound one")
	ErrReplay       = errors.New("dpop: proof was used before")
	ErrReplayFull   = errors.New("dpop: no room to remember another proof")
)

// Request is what a client proves.
type Request struct {
	Method      string    // htm, as it goes on the wire
	URL         string    // absolute; query and fragment are cut off for htu
	AccessToken string    // for ath; empty at the authorization server
	Nonce       string    // the last one from DPoP-Nonce, empty for none
	IssuedAt    time.Time // iat
	ID          string    // jti: at least 96 random bits (RFC 9449 §4.2)
}

// New makes a proof. The signer must be ES256 or EdDSA.
func New(s jws.Signer, r Request) (string, error) {
	if alg := s.Algorithm(); alg != jws.ES256 && alg != jws.EdDSA {
		return "", ErrAlgorithm
	}
	htu, err := normalise(r.URL)
	if err != nil {
		return "", err
	}
	if r.Method == "" || r.ID == "" || len(r.ID) > maxJTI || len(r.Nonce) > maxNonce || r.IssuedAt.Unix() < 0 ||
		!jws.ValidString(r.Method) || !jws.ValidString(r.ID) || !jws.ValidString(r.Nonce) {
		return "", fmt.Errorf("%w: method, jti, nonce or time not usable", ErrMalformed)
	}
	var room [512]byte
	b := append(room[:0], `{"jti":`...)
	b = jws.AppendString(b, r.ID)
	b = append(b, `,"htm":`...)
	b = jws.AppendString(b, r.Method)
	b = append(b, `,"htu":`...)
	b = jws.AppendString(b, htu)
	b = append(b, `,"iat":`...)
	b = strconv.AppendInt(b, r.IssuedAt.Unix(), 10)
	if r.AccessToken != "" {
		b = append(b, `,"ath":"`...)
		b = append(b, tokenHash(r.AccessToken)...)
		b = append(b, '"')
	}
	if r.Nonce != "" {
		b = append(b, `,"nonce":`...)
		b = jws.AppendString(b, r.Nonce)
	}
	return jws.SignEmbedded(s, Type, append(b, '}'))
}

// tokenHash is ath: base64url of the token's SHA-256 (RFC 9449 §4.2).
func tokenHash(accessToken string) string {
	sum := sha256.Sum256([]byte(accessToken))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// NonceUse says what becomes of a proof without a nonce. The zero value refuses it.
type NonceUse int

const (
	// NonceRequired: a proof without a nonce is ErrNonceMissing (RFC 9449 §8).
	NonceRequired NonceUse = iota
	// NonceIfPresent: a proof without a nonce is judged by iat, one with a nonce by
	// the nonce. For resource servers, which keep every jti (RFC 9449 §9, §11.1).
	NonceIfPresent
)

// Expect is what the request being served was, and what it must be bound to.
type Expect struct {
	Method string // the request's method, exactly
	URL    string // the request's own absolute URL as clients know it; query and fragment are ignored

	// AccessToken is the token that came along; empty at the authorization
	// server. With one, ath must match it and Thumbprint must be given.
	AccessToken string
	// Thumbprint is the key that the token, grant or request is bound to. Empty
	// only where no key is bound yet.
	Thumbprint string

	Now    time.Time
	MaxAge time.Duration // how old iat may be, where iat is judged; 60 s by default of the callers
	Leeway time.Duration // how far clocks may be apart, both ways, where iat is judged

	Nonces   NonceChecker // nil: this server gives out no nonces, and iat is judged
	NonceUse NonceUse

	Replays ReplayCache      // nil: something else makes the request one-time
	Headers *jws.HeaderCache // may be nil
}

// Proof is a proof that held.
type Proof struct {
	Key        *jws.PublicKey
	Thumbprint string    // the key's jkt, equal to Expect.Thumbprint where that was given
	ID         string    // jti
	IssuedAt   time.Time // iat, the client's clock: believe it only without a nonce
	Nonce      string    // empty where the proof had none
	NonceAge   time.Duration
	// RenewNonce: the client should be given a new nonce with this answer.
	RenewNonce bool
}

type claims struct {
	jti, htm, htu, ath, nonce string
	iat                       time.Time
	hasIAT, hasNonce          bool
}

// Verify checks one proof against the request it came with (RFC 9449 §4.3). It
// goes from what any stranger can get wrong to what is dear: form, type, key,
// signature, method, URL, token, freshness, bound key, and last the replay
// cache, so that only proofs which hold take room there. The caller has already
// refused a request with more than one DPoP header.
func Verify(proof string, want Expect) (Proof, error) {
	if len(proof) > maxProof {
		return Proof{}, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, maxProof)
	}
	m, err := jws.ParseEmbedded(proof, want.Headers)
	if err != nil {
		return Proof{}, translate(err)
	}
	if m.Header.Type != Type {
		return Proof{}, ErrType
	}
	if alg := m.Header.Algorithm; alg != jws.ES256 && alg != jws.EdDSA {
		return Proof{}, ErrAlgorithm
	}
	if err := m.VerifyEmbedded(); err != nil {
		return Proof{}, translate(err)
	}
	c, err := parseClaims(m.Payload)
	if err != nil {
		return Proof{}, translate(err)
	}
	if want.Method == "" || c.htm != want.Method {
		return Proof{}, ErrMethod
	}
	if !sameURL(c.htu, want.URL) {
		return Proof{}, ErrURL
	}
	if want.AccessToken != "" {
		if subtle.ConstantTimeCompare([]byte(c.ath), []byte(tokenHash(want.AccessToken))) != 1 {
			return Proof{}, ErrATH
		}
		if want.Thumbprint == "" {
			return Proof{}, fmt.Errorf("%w: the token names no key", ErrThumbprint)
		}
	}
	p := Proof{
		Key: m.Header.Key, Thumbprint: m.Header.Key.Thumbprint(),
		ID: c.jti, IssuedAt: c.iat, Nonce: c.nonce,
	}
	until, err := want.judgeAge(&p, c)
	if err != nil {
		return Proof{}, err
	}
	if want.Thumbprint != "" && subtle.ConstantTimeCompare([]byte(p.Thumbprint), []byte(want.Thumbprint)) != 1 {
		return Proof{}, ErrThumbprint
	}
	if want.Replays != nil {
		seen, err := want.Replays.Seen(NewReplayKey(p.Thumbprint, p.ID), want.Now, until)
		if err != nil {
			return Proof{}, err
		}
		if seen {
			return Proof{}, ErrReplay
		}
	}
	return p, nil
}

// judgeAge decides whether the proof is fresh and until when it must be
// remembered.
func (want Expect) judgeAge(p *Proof, c claims) (until time.Time, err error) {
	if want.Nonces != nil && (c.hasNonce || want.NonceUse != NonceIfPresent) {
		if !c.hasNonce {
			return until, ErrNonceMissing
		}
		state, err := want.Nonces.Check(want.Now, c.nonce)
		if err != nil {
			return until, err
		}
		p.NonceAge, p.RenewNonce = state.Age, state.Renew
		return want.Now.Add(state.Remaining), nil
	}
	oldest, newest := want.Now.Add(-want.MaxAge-want.Leeway), want.Now.Add(want.Leeway)
	if c.iat.Before(oldest) || c.iat.After(newest) {
		return until, ErrStale
	}
	p.RenewNonce = want.Nonces != nil
	return c.iat.Add(want.MaxAge + want.Leeway), nil
}

func parseClaims(payload []byte) (claims, error) {
	var c claims
	err := jws.EachMember(payload, func(name string, v jws.Value) (err error) {
		switch name {
		case "jti":
			c.jti, err = v.Text()
		case "htm":
			c.htm, err = v.Text()
		case "htu":
			c.htu, err = v.Text()
		case "ath":
			c.ath, err = v.Text()
		case "iat":
			c.hasIAT = true
			c.iat, err = v.Time()
		case "nonce":
			c.hasNonce = true
			c.nonce, err = v.Text()
		}
		return err
	})
	switch {
	case err != nil:
		return claims{}, err
	case c.jti == "" || c.htm == "" || c.htu == "" || !c.hasIAT:
		return claims{}, fmt.Errorf("%w: jti, htm, htu and iat are required", ErrMalformed)
	case len(c.jti) > maxJTI || len(c.nonce) > maxNonce:
		return claims{}, fmt.Errorf("%w: jti or nonce too long", ErrMalformed)
	}
	return c, nil
}

// translate makes jws's errors ours and keeps the detail.
func translate(err error) error {
	for _, pair := range [...][2]error{
		{jws.ErrKey, ErrKey},
		{jws.ErrAlgorithm, ErrAlgorithm},
		{jws.ErrSignature, ErrSignature},
		{jws.ErrHeader, ErrMalformed},
		{jws.ErrMalformed, ErrMalformed},
	} {
		if errors.Is(err, pair[0]) {
			return fmt.Errorf("%w (%w)", pair[1], err)
		}
	}
	return err
}
