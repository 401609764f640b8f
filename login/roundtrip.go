package login

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/keytether/keytether/internal/agentwire"
)

// Bounds on what a server can make us keep.
const (
	maxNonce   = 512      // bytes of one DPoP-Nonce
	maxOrigins = 64       // origins whose nonce is remembered
	maxDrain   = 64 << 10 // bytes read of a refused answer, so that its connection can be kept
)

// RoundTripper authorizes each request by one call to the agent and sends it through base, or
// http.DefaultTransport if base is nil. It sets Authorization and, for a bound token, DPoP
// (RFC 9449 section 7.1) on a copy of the request.
//
// A request outside the client's Resource fails with ErrDenied and is not sent. A request that
// comes from following a redirect is sent without any credential, wherever it leads: proof and
// token are for the request that the program made, not for what a server makes of it. Neither
// does the RoundTripper follow redirects itself.
//
// An answer 401 is tried again, by one more call to the agent, once when the server asks for its
// nonce (use_dpop_nonce, RFC 9449 section 9) and once when it refuses the token (invalid_token,
// RFC 6750 section 3.1) and the agent has another by then. A request whose body cannot be had
// again (no GetBody) is not repeated. Nonces are remembered for each origin, from every answer.
//
// Errors of the agent come as they are from [Client.Token]; http.Client wraps them in
// *url.Error, through which errors.Is sees.
func (c *Client) RoundTripper(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{c: c, base: base}
}

// The errors of a challenge that are worth another try.
const (
	useNonce = "use_dpop_nonce"
	badToken = "invalid_token"
)

type transport struct {
	c    *Client
	base http.RoundTripper
}

// RoundTrip sends r with the agent's credentials.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Response != nil { // the answer that redirected here
		return t.base.RoundTrip(bare(r))
	}
	if err := t.c.covers(r.URL); err != nil {
		closeBody(r)
		return nil, err
	}
	origin := originOf(r.URL)
	auth, err := t.c.authorize(r.Context(), r.Method, r.URL, t.c.nonce(origin), "")
	if err != nil {
		closeBody(r)
		return nil, err
	}
	tried := map[string]bool{}
	for body := r.Body; ; {
		res, err := t.base.RoundTrip(authorized(r, body, auth))
		if err != nil {
			return nil, err
		}
		fresh := t.c.remember(origin, res.Header)
		if res.StatusCode != http.StatusUnauthorized {
			return res, nil
		}
		why := challenge(res.Header)
		if why == "" || tried[why] || why == useNonce && !fresh {
			return res, nil
		}
		tried[why] = true
		next, ok := again(r)
		if !ok {
			return res, nil
		}
		rejected := ""
		if why == badToken {
			rejected = tokenHash(auth.Authorization.Reveal())
		}
		now, err := t.c.authorize(r.Context(), r.Method, r.URL, t.c.nonce(origin), rejected)
		if err != nil || why == badToken && now.Authorization.Equal(auth.Authorization) {
			if next != nil {
				_ = next.Close()
			}
			return res, nil // the API's own answer says more than ours would
		}
		_, _ = io.CopyN(io.Discard, res.Body, maxDrain)
		_ = res.Body.Close()
		auth, body = now, next
	}
}

// tokenHash names the token of an Authorization header, as "ath" does (RFC 9449
// section 4.2).
func tokenHash(authorization string) string {
	_, token, _ := strings.Cut(authorization, " ")
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func authorized(r *http.Request, body io.ReadCloser, auth agentwire.AuthorizeResponse) *http.Request {
	out := bare(r)
	out.Body = body
	out.Header.Set("Authorization", auth.Authorization.Reveal())
	if !auth.DPoP.IsZero() {
		out.Header.Set("DPoP", auth.DPoP.Reveal())
	}
	return out
}

// bare copies r without what only this package may say.
func bare(r *http.Request) *http.Request {
	out := r.Clone(r.Context())
	out.Header.Del("DPoP")
	return out
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// again gives the body once more, if it can be had.
func again(r *http.Request) (io.ReadCloser, bool) {
	if r.Body == nil || r.Body == http.NoBody {
		return r.Body, true
	}
	if r.GetBody == nil {
		return nil, false
	}
	body, err := r.GetBody()
	return body, err == nil
}

func (c *Client) authorize(ctx context.Context, method string, u *url.URL, nonce, rejected string) (agentwire.AuthorizeResponse, error) {
	if method == "" {
		method = http.MethodGet
	}
	// The proof is made without query and fragment (RFC 9449 section 4.2), so the agent need not see them.
	plain := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	res, err := c.agent.Authorize(ctx, agentwire.AuthorizeRequest{
		Profile: c.opt.Profile, Resource: c.opt.Resource, Scope: c.opt.Scope,
		Method: method, URL: plain.String(), Nonce: nonce, Rejected: rejected,
	})
	if err != nil {
		return res, wrap(err)
	}
	return res, nil
}

func (c *Client) nonce(origin string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nonces[origin]
}

// remember keeps the answer's nonce and says whether there was a usable one (RFC 9449 section 8.2).
func (c *Client) remember(origin string, h http.Header) bool {
	v := h.Get("DPoP-Nonce")
	if v == "" || len(v) > maxNonce || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.nonces[origin]; !known && len(c.nonces) >= maxOrigins {
		clear(c.nonces)
	}
	c.nonces[origin] = v
	return true
}

// challenge gives the error of a DPoP or Bearer challenge (RFC 9449 section 7.1, RFC 6750
// section 3). Parameters of the two errors that matter hold no comma and no quote, so a
// search for the whole parameter suffices.
func challenge(h http.Header) string {
	for _, v := range h.Values("WWW-Authenticate") {
		for _, name := range []string{useNonce, badToken} {
			if strings.Contains(v, `error="`+name+`"`) || strings.Contains(v, "error="+name) {
				return name
			}
		}
	}
	return ""
}
