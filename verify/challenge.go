package verify

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/token"
)

// challenges writes WWW-Authenticate values (RFC 6750 §3, RFC 9449 §7.1, RFC
// 9728 §5.1).
type challenges struct {
	bearer   bool
	metadata string // the resource_metadata parameter
}

func newChallenges(metadataURL string, bearer bool) challenges {
	return challenges{bearer: bearer, metadata: `resource_metadata="` + metadataURL + `"`}
}

func (c challenges) add(h http.Header, errorCode, words, scope string) {
	h.Add("WWW-Authenticate", c.with(oauth.DPoPChallenge(errorCode, words, scope, dpopAlgs)))
	if c.bearer {
		h.Add("WWW-Authenticate", c.with(oauth.BearerChallenge(errorCode, words, scope)))
	}
}

func (c challenges) with(challenge string) string {
	if strings.Contains(challenge, " ") {
		return challenge + ", " + c.metadata
	}
	return challenge + " " + c.metadata
}

// refuse answers a request that is not let through. A wrong proof is 401 at a
// resource (RFC 9449 §7.1), and a request without any token hears no error code
// (RFC 6750 §3.1).
func (v *Verifier) refuse(w http.ResponseWriter, r *http.Request, failure error, scopes []string) {
	p, e := oauth.ProblemOf(failure)
	status, h := p.Status, w.Header()
	switch p.Code {
	case oauth.ProofRequired, oauth.ProofInvalid, oauth.ProofReplayed:
		status = http.StatusUnauthorized
	case oauth.NonceRequired:
		status = http.StatusUnauthorized
		h.Set("DPoP-Nonce", v.nonce(time.Now()))
	}
	scope := ""
	if p.Code == oauth.InsufficientScope {
		scope = strings.Join(scopes, " ")
	}
	switch {
	case p.Code == oauth.TokenMissing:
		v.challenges.add(h, "", "", "")
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusBadRequest:
		v.challenges.add(h, p.Error, p.Words(e.Detail), scope)
	case status == http.StatusServiceUnavailable:
		h.Set("Retry-After", retryAfter)
	}
	v.log.Debug("request refused", "status", status, "code", p.Code, "method", r.Method, "error", failure)
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(oauth.Response{Error: p.Error, Description: p.Words(e.Detail), Code: p.Code})
}

func (v *Verifier) nonce(now time.Time) string {
	var random dpop.NonceRandom
	_, _ = rand.Read(random[:]) // never fails
	return v.nonces.Mint(now, random)
}

// tokenFailure and proofFailure find the catalogue's row.
func tokenFailure(err error) error {
	if errors.Is(err, token.ErrExpired) {
		return oauth.Fail(oauth.TokenExpired).Because(err)
	}
	return oauth.Fail(oauth.TokenInvalid).Because(err)
}

// An iat out of bounds is answered with a nonce: then the client's clock does
// not matter (RFC 9449 §9).
func proofFailure(err error) error {
	code := oauth.Unavailable // the store of seen proofs failed or is full
	for _, row := range [...]struct {
		is   error
		code oauth.Code
	}{
		{dpop.ErrNonceMissing, oauth.NonceRequired},
		{dpop.ErrNonceStale, oauth.NonceRequired},
		{dpop.ErrStale, oauth.NonceRequired},
		{dpop.ErrThumbprint, oauth.TokenBound},
		{dpop.ErrReplay, oauth.ProofReplayed},
		{dpop.ErrMalformed, oauth.ProofInvalid},
		{dpop.ErrType, oauth.ProofInvalid},
		{dpop.ErrAlgorithm, oauth.ProofInvalid},
		{dpop.ErrKey, oauth.ProofInvalid},
		{dpop.ErrSignature, oauth.ProofInvalid},
		{dpop.ErrMethod, oauth.ProofInvalid},
		{dpop.ErrURL, oauth.ProofInvalid},
		{dpop.ErrATH, oauth.ProofInvalid},
	} {
		if errors.Is(err, row.is) {
			code = row.code
			break
		}
	}
	return oauth.Fail(code).Because(err)
}
