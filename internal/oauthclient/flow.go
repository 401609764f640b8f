package oauthclient

import (
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"

	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// flow is one login as the listener sees it: what was asked, and so what an
// answer must look like. It does no I/O. Whoever calls it holds a lock.
type flow struct {
	issuer      string
	origins     []string // where a posted answer may come from
	needOrigin  bool     // our servers' pages send Origin; one without is not theirs
	needISS     bool     // the metadata promises iss (RFC 9207 §2.4)
	canSign     bool     // the server knows the handshake
	formPost    bool     // response_mode that was asked; else query
	state       string
	redirectURI string

	opened bool     // the start link was used
	asked  bool     // the server took the request; requestURI stands where PAR was used
	ended  bool     // a code or an error was accepted
	nonces []string // handshake nonces that were signed

	requestURI string
}

// callback is what came to the redirect URI.
type callback struct {
	post      bool
	origin    string // of the Origin header
	hasOrigin bool
	params    oauth.Params
}

// What becomes of a callback.
type verdict int

const (
	refuse verdict = iota // answer with words; the login waits on
	sign                  // sign the nonce, go on to the handshake endpoint
	redeem                // take the code to the token endpoint
	fail                  // the server ended the login
)

type decision struct {
	verdict verdict
	why     string       // refuse: for the log and the page; no value from outside
	nonce   string       // sign
	code    secret.Value // redeem
	err     error        // fail
}

func refused(why string) decision { return decision{verdict: refuse, why: why} }

// open uses up the start link; it says false when it was used before.
func (f *flow) open() bool {
	if f.opened {
		return false
	}
	f.opened = true
	return true
}

// receive decides about one callback. Everything that does not prove to belong
// to this login leaves it as it was.
func (f *flow) receive(c callback) decision {
	if c.post != f.formPost {
		return refused("the answer came by another way than was asked for")
	}
	if c.post && !f.fromIssuer(c) {
		return refused("the answer was posted by another site than the server's")
	}
	if !f.asked {
		return refused("no request is out")
	}
	if f.state == "" || subtle.ConstantTimeCompare([]byte(c.params.Get("state")), []byte(f.state)) != 1 {
		return refused("its state is not this login's")
	}
	if iss := c.params.Get("iss"); iss != f.issuer && (f.needISS || iss != "") {
		return refused("its iss is not the server's")
	}
	if f.ended {
		return refused("the login was answered before")
	}
	return f.accept(c.params)
}

// fromIssuer compares the Origin. "null" is what a page sends whose policy hides
// it, as some servers' pages do: it tells as much as no header at all.
func (f *flow) fromIssuer(c callback) bool {
	if !c.hasOrigin || c.origin == "null" {
		return !f.needOrigin
	}
	return slices.Contains(f.origins, c.origin)
}

func (f *flow) accept(p oauth.Params) decision {
	nonce, code, failure := p.Get("handshake_nonce"), p.Get("code"), p.Get("error")
	n := 0
	for _, v := range []string{nonce, code, failure} {
		if v != "" {
			n++
		}
	}
	switch {
	case n != 1:
		return refused("it holds not exactly one of code, error and handshake_nonce")
	case nonce != "":
		return f.acceptNonce(nonce)
	case failure != "":
		f.ended = true
		return decision{verdict: fail, err: ended(refusal(failure, p.Get("error_description"), ""))}
	}
	f.ended = true
	return decision{verdict: redeem, code: secret.New(code)}
}

// acceptNonce lets each nonce be signed once, and few of them: our signature
// says that this listener saw the server's page, and is given for nothing else.
func (f *flow) acceptNonce(nonce string) decision {
	switch {
	case !f.canSign || f.requestURI == "":
		return refused("a handshake was not agreed on")
	case len(nonce) < minNonce || len(nonce) > maxNonce || strings.Trim(nonce, base64url) != "":
		return refused("its handshake_nonce is malformed")
	case slices.Contains(f.nonces, nonce):
		return refused("its handshake_nonce was used before")
	case len(f.nonces) >= maxNonces:
		return refused("there were too many tries")
	}
	f.nonces = append(f.nonces, nonce)
	return decision{verdict: sign, nonce: nonce}
}

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// ended names an error response's sentinel.
func ended(r *Refusal) error {
	if r.Code == "access_denied" {
		return fmt.Errorf("%w: %w", ErrDenied, r)
	}
	return r
}
