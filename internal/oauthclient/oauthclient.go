// Package oauthclient runs the browser login and the device login against any
// conforming authorization server, from its metadata alone, with the strongest
// that both sides have: PAR (RFC 9126), DPoP (RFC 9449), form_post, the
// response's iss (RFC 9207), Keytether's loopback handshake and polls that wait
// where the server offers them; PKCE S256 (RFC 7636) and a loopback listener
// (RFC 8252) always.
//
//	Open ── Client ─┬─ StartLogin ── Login.URL         a person opens it
//	                │        └────── Login.Wait        tokens and who signed in
//	                ├─ StartDevice ─ DeviceLogin.Code  a person types it elsewhere (RFC 8628)
//	                │        └────── DeviceLogin.Wait
//	                └─ Refresh, Revoke, Proof
//
// What is decided about one callback is a function of the login's state and the
// request (flow.go), when to poll is one of what the last poll brought (poll.go):
// neither does I/O; what is around them only parses and writes.
//
// Time, randomness and the HTTP client are arguments. Errors are the sentinels
// below and *Refusal; none holds a token, a code or a URL with a query.
package oauthclient

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/outbound"
)

// HTTP sends requests; *outbound.Client is one. It follows no redirect of Do,
// and bounds time and size.
type HTTP interface {
	Do(*http.Request) (*outbound.Response, error)
	GetMetadata(ctx context.Context, url string) (*outbound.Response, error)
	Close() // drops idle connections
}

// NewHTTP reaches out as a caller's variables say: HTTPS_PROXY, NO_PROXY,
// SSL_CERT_FILE. Variables that cannot be used are ErrSetup.
func NewHTTP(env map[string]string) (HTTP, error) {
	c, err := outbound.New(outbound.Options{Env: env})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSetup, err)
	}
	return c, nil
}

// Env is what the flows need of the world.
type Env struct {
	HTTP   HTTP
	Now    func() time.Time // with a monotonic reading where there is one
	Random io.Reader        // cryptographic; a read that fails ends the operation
	Log    *slog.Logger     // nil: nothing is logged
}

// Client is one client at one server with one proof key. It remembers the
// server's last DPoP nonce and how far the server's clock is from ours. It is
// safe for concurrent use.
type Client struct {
	env  Env
	meta oauth.Metadata
	id   string
	key  jws.Signer

	mu       sync.Mutex
	nonce    string        // the server's last DPoP-Nonce
	answered bool          // the server had a proof of ours to answer
	offset   time.Duration // what to add to our clock to get the server's
	skewed   bool          // the server's clock was beyond maxOffset from ours
}

// Open fetches an issuer's metadata and makes a client of it. The key is ES256 or
// EdDSA; it stays behind its signer. Errors: ErrIssuer, ErrUnreachable when
// nothing could be fetched, ErrMetadata.
func Open(ctx context.Context, env Env, issuer, clientID string, key jws.Signer) (*Client, error) {
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	c := &Client{env: env, id: clientID, key: key}
	meta, err := c.discover(ctx, issuer)
	if err != nil {
		return nil, err
	}
	c.meta = meta
	return c, nil
}

// Close drops idle connections; the client can still be used.
func (c *Client) Close() { c.env.HTTP.Close() }

// Metadata is the server's document.
func (c *Client) Metadata() oauth.Metadata { return c.meta }

// ID is the client_id.
func (c *Client) ID() string { return c.id }

// Thumbprint is the proof key's jkt (RFC 7638), or empty where the server does
// not do DPoP.
func (c *Client) Thumbprint() string {
	if !c.proves() {
		return ""
	}
	return c.key.Public().Thumbprint()
}

// proves says whether the server takes proofs by our key.
func (c *Client) proves() bool {
	return slices.Contains(c.meta.DPoPAlgs, string(c.key.Algorithm()))
}

// handshakes says whether this is a server that knows the loopback handshake.
func (c *Client) handshakes() bool {
	return c.meta.HandshakeEndpoint != "" && c.meta.PAREndpoint != "" && c.proves()
}

// HasDevice says whether the server has the device flow (RFC 8628).
func (c *Client) HasDevice() bool { return deviceUsable(c.meta) == nil }

// HasBrowser says whether a browser login can be run there.
func (c *Client) HasBrowser() bool { return browserUsable(c.meta) == nil }

// deviceWait is how long the server keeps the answer to a poll back for us; zero
// where it does not say that it can.
func (c *Client) deviceWait() time.Duration {
	return time.Duration(min(max(0, c.meta.DeviceWait), int64(maxDeviceWait/time.Second))) * time.Second
}

// Proof makes a DPoP proof for one request to a resource (RFC 9449 §7): bound
// to the access token by ath. The nonce is the resource server's last one.
func (c *Client) Proof(method, url, accessToken, nonce string) (string, error) {
	if accessToken == "" {
		return "", fmt.Errorf("%w: a proof for a resource needs its token", ErrAnswer)
	}
	return c.proof(method, url, accessToken, nonce)
}

func (c *Client) proof(method, url, accessToken, nonce string) (string, error) {
	jti, err := c.random(16)
	if err != nil {
		return "", err
	}
	return dpop.New(c.key, dpop.Request{
		Method: method, URL: url, AccessToken: accessToken, Nonce: nonce,
		IssuedAt: c.serverNow(), ID: jti,
	})
}

// random gives n random bytes in base64url.
func (c *Client) random(n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.env.Random, b); err != nil {
		return "", fmt.Errorf("oauthclient: no randomness: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// scopes is what a login asks for: what was wanted, and where the server knows
// OpenID Connect, who signed in.
func (c *Client) scopes(wanted string) string {
	list := strings.Fields(wanted)
	add := func(s string) {
		if slices.Contains(c.meta.ScopesSupported, s) && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	if slices.Contains(c.meta.ScopesSupported, oauth.ScopeOpenID) {
		add(oauth.ScopeOpenID)
		add(oauth.ScopeEmail)
	}
	// Ours gives a refresh token by registration; others ask for the word
	// (OpenID Connect Core §11).
	if !c.Ours() {
		add(oauth.ScopeOfflineAccess)
	}
	return strings.Join(list, " ")
}
