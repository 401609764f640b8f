package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/token"
)

// Require gives middleware that lets requests through whose token has all the
// scopes, and answers every other itself:
//
//	400 invalid_request        two Authorization headers
//	401                        no token; with invalid_token, invalid_dpop_proof or
//	                           use_dpop_nonce (and DPoP-Nonce) when one is not good
//	403 insufficient_scope     names the scopes
//	503 and Retry-After        what is revoked, or the token's key, is not known now
//
// The body is JSON with error and error_description (RFC 6749 §5.2), the
// WWW-Authenticate header that of RFC 6750 §3 and RFC 9449 §7.1. The handler
// finds the Caller with From.
func (v *Verifier) Require(scopes ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			now := time.Now()
			caller, renew, err := v.check(r, now)
			if err == nil {
				err = allowed(caller, scopes)
			}
			if err != nil {
				v.refuse(w, r, err, scopes)
				return
			}
			if renew {
				w.Header().Set("DPoP-Nonce", v.nonce(now))
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, caller)))
		})
	}
}

// Handler is Require without a scope: who calls is known, and the handler
// decides.
func (v *Verifier) Handler(next http.Handler) http.Handler { return v.Require()(next) }

func allowed(c *Caller, scopes []string) error {
	for _, s := range scopes {
		if !c.Has(s) {
			return oauth.Fail(oauth.InsufficientScope)
		}
	}
	return nil
}

// check does everything but the scope. Renew asks for a DPoP-Nonce beside the
// answer.
func (v *Verifier) check(r *http.Request, now time.Time) (caller *Caller, renew bool, err error) {
	scheme, compact, err := credential(r.Header)
	if err != nil {
		return nil, false, err
	}
	bearer := scheme == schemeBearer
	if bearer && !v.mode.bearer {
		v.bare(r, compact, now)
		return nil, false, oauth.Fail(oauth.TokenBound).Because(errBearer)
	}
	var proof string
	if !bearer {
		if proof, err = oneProof(r.Header); err != nil {
			return nil, false, err
		}
	}
	if err := v.ready(now); err != nil {
		return nil, false, oauth.Fail(oauth.StaleRevocations).Because(err)
	}
	if caller, err = v.token(compact, now); err != nil {
		return nil, false, err
	}
	if v.revoked.check(caller.GrantID, caller.TokenID, caller.IssuedAt) {
		return nil, false, oauth.Fail(oauth.TokenRevoked)
	}
	if bearer {
		if caller.Thumbprint != "" {
			v.suspect(r, compact, "", caller, errBearer)
			return nil, false, oauth.Fail(oauth.TokenBound).Because(errBearer)
		}
		return caller, false, nil
	}
	p, err := dpop.Verify(proof, dpop.Expect{
		Method: r.Method, URL: v.base + requestPath(r), AccessToken: compact, Thumbprint: caller.Thumbprint,
		Now: now, MaxAge: proofAge, Leeway: leeway, Nonces: v.nonces, NonceUse: v.use,
		Replays: v.replays(r.Context()), Headers: v.headers,
	})
	if err != nil {
		if errors.Is(err, dpop.ErrThumbprint) && caller.Thumbprint != "" {
			v.suspect(r, compact, proof, caller, err)
		}
		return nil, false, proofFailure(err)
	}
	return caller, p.RenewNonce, nil
}

// token verifies an access token, or finds that it was.
func (v *Verifier) token(compact string, now time.Time) (*Caller, error) {
	set := v.keys.current(now)
	if set == nil {
		return nil, oauth.Fail(oauth.Unavailable).Because(ErrKeysOld)
	}
	sum := sha256.Sum256([]byte(compact))
	if e, ok := v.tokens.get(sum, set, now); ok {
		return &e.caller, nil
	}
	c, err := token.Verify(compact, set, token.Expectations{Issuer: v.issuer, Audience: v.resource, Now: now, Leeway: leeway})
	if errors.Is(err, token.ErrUnknownKey) && v.keys.missing(now) {
		return nil, oauth.Fail(oauth.Unavailable).Because(err)
	}
	if err != nil {
		return nil, tokenFailure(err)
	}
	var scope []string
	if c.Scope != "" {
		if scope, err = oauth.ParseScope(c.Scope); err != nil {
			return nil, tokenFailure(err)
		}
	}
	e := &verified{caller: callerOf(c, scope), under: set}
	v.tokens.put(sum, e)
	return &e.caller, nil
}

const (
	schemeDPoP   = "dpop"
	schemeBearer = "bearer"
)

var (
	errBearer = errors.New("sent as Bearer")
	errScheme = errors.New("neither DPoP nor Bearer")
	errShape  = errors.New("not one scheme and one token")
)

// credential reads the Authorization header (RFC 9110 §11.6.2): exactly one,
// with one scheme and one token.
func credential(h http.Header) (scheme, compact string, err error) {
	values := h["Authorization"]
	switch {
	case len(values) == 0:
		return "", "", oauth.Fail(oauth.TokenMissing)
	case len(values) > 1:
		return "", "", oauth.FailParam(oauth.BadRequest, "Authorization")
	case len(values[0]) > maxAuthorization:
		return "", "", oauth.Fail(oauth.TokenInvalid).Because(errShape)
	}
	name, rest, _ := strings.Cut(values[0], " ")
	switch {
	case strings.EqualFold(name, schemeDPoP):
		scheme = schemeDPoP
	case strings.EqualFold(name, schemeBearer):
		scheme = schemeBearer
	default:
		return "", "", oauth.Fail(oauth.TokenMissing).Because(errScheme)
	}
	if compact = strings.TrimLeft(rest, " "); compact == "" || strings.ContainsAny(compact, " ,\t") {
		return "", "", oauth.Fail(oauth.TokenInvalid).Because(errShape)
	}
	return scheme, compact, nil
}

// oneProof reads the DPoP header: exactly one (RFC 9449 §4.3).
func oneProof(h http.Header) (string, error) {
	switch values := h["Dpop"]; len(values) {
	case 0:
		return "", oauth.Fail(oauth.ProofRequired)
	case 1:
		return values[0], nil
	default:
		return "", oauth.FailParam(oauth.ProofInvalid, "more than one DPoP header")
	}
}

// requestPath is the path as the client sent it, however routers have cut
// r.URL since.
func requestPath(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		path, _, _ := strings.Cut(r.RequestURI, "?")
		return path
	}
	return r.URL.EscapedPath()
}

// replays is the store of seen proofs as package dpop knows it.
func (v *Verifier) replays(ctx context.Context) dpop.ReplayCache {
	if v.shared == nil {
		return v.local
	}
	return sharedReplays{ctx, v.shared}
}

type sharedReplays struct {
	ctx   context.Context // of the one request that this is made for
	store ReplayStore
}

// Seen implements dpop.ReplayCache.
func (s sharedReplays) Seen(key dpop.ReplayKey, _, until time.Time) (bool, error) {
	return s.store.Seen(s.ctx, key, until)
}
