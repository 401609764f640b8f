package authserver

import (
	"errors"
	"net/netip"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
)

// Call is a direct request of a client to an endpoint.
type Call struct {
	Params        oauth.Params
	Proofs        []string // every DPoP header
	Authorization []string // every Authorization header
	Method        string
	URL           string     // of the endpoint, as the metadata names it
	Address       string     // of the caller
	From          netip.Addr // the same; may be the zero Addr

	// Wait is how long the client is ready to wait for an answer (RFC 7240 §4.3,
	// Prefer: wait).
	Wait time.Duration
	// Release, when it is closed, sends whoever waits home: the server stops.
	Release <-chan struct{}
}

// proof verifies the DPoP proof of a call (RFC 9449 §4.3, §5), before anything
// is looked up or changed. The zero Proof means that none was sent and none is
// required: such a token is a bearer token, if the resource takes those.
func (s *Server) proof(c Call, client *Client) (dpop.Proof, error) {
	switch {
	case len(c.Proofs) > 1:
		return dpop.Proof{}, oauth.FailParam(oauth.ProofInvalid, "DPoP")
	case len(c.Proofs) == 0 && client.DPoPRequired:
		return dpop.Proof{}, oauth.Fail(oauth.ProofRequired)
	case len(c.Proofs) == 0:
		return dpop.Proof{}, nil
	}
	p, err := dpop.Verify(c.Proofs[0], dpop.Expect{
		Method: c.Method, URL: c.URL, Now: s.Now(), MaxAge: grant.ProofLife, Leeway: 5 * time.Second,
		Nonces: s.nonces, NonceUse: dpop.NonceRequired, Replays: s.proofs, Headers: s.headers,
	})
	return p, proofProblem(err)
}

// proofProblem turns a dpop error into one of the catalogue.
func proofProblem(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, dpop.ErrNonceMissing), errors.Is(err, dpop.ErrNonceStale):
		return oauth.Fail(oauth.NonceRequired)
	case errors.Is(err, dpop.ErrReplay):
		return oauth.Fail(oauth.ProofReplayed)
	case errors.Is(err, dpop.ErrReplayFull):
		return oauth.Fail(oauth.RateLimited)
	}
	return oauth.Fail(oauth.ProofInvalid).Because(err)
}
