// Package verify guards an API: an http.Handler that lets a request through only
// with an access token of one issuer, for this API, bound to a key that the
// sender proves to hold, not revoked, and with the scope that is asked for.
//
//	v, err := verify.New(ctx, verify.Options{
//		Issuer:   "https://login.example.test",
//		Resource: "https://api.example.test",
//		Key:      key, // whose public half the issuer has for this resource
//	})
//	…
//	mux.Handle("GET /reports", v.Require("read")(reports))
//
// Every request is checked in this order, from what is cheap to what is dear:
//
//  1. one Authorization header with scheme DPoP, one DPoP header (RFC 9449 §7.1);
//     tokens in queries and bodies are not looked at;
//  2. what is revoked is known, and not older than five seconds;
//  3. the token: typ at+jwt, signature by a key of the issuer's JWKS, iss, exactly
//     this resource as aud, exp and iat within five seconds (RFC 9068 §4);
//  4. neither the token nor the grant it came from is revoked;
//  5. the proof: signature, method, URL, the token's hash, freshness, the key that
//     the token is bound to, and that it was never seen before (RFC 9449 §4.3);
//  6. the scope.
//
// A bound token that comes with another key's proof, or as Bearer, was copied: it
// is refused, and the issuer is told in the background (docs/tripwire.md).
//
// None of this makes a network call: the issuer's keys are fetched at start and
// anew when they may have changed, and what is revoked arrives by the issuer's
// revocation feed, in well under a second. A Verifier that lost the feed refuses
// everything with 503 after five seconds. What is safe is the default and cannot
// be switched off by an option; see the constructors whose names are long.
//
// # Behind a reverse proxy
//
// A proof names the URL that the client sees. Scheme and host of it are taken
// from Options.Resource and never from the request's Host or any forwarded
// header, which a client can write. The path is the one of the request line. A
// proxy that takes a prefix off it is told about with Options.StrippedPrefix.
//
// # Several instances of one API
//
// Each keeps the proofs that it has seen, and makes its own nonces. Give all of
// them one ReplayStore and one NonceKey, or a proof could be used once at each.
package verify

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/outbound"
)

// Errors, for errors.Is. ErrNoSnapshot, ErrStale and ErrKeysOld are why a
// Verifier is not ready; the others are of the constructors.
var (
	ErrOptions  = errors.New("verify: an option cannot be used")
	ErrKey      = errors.New("verify: the private key cannot be used")
	ErrIssuer   = errors.New("verify: the issuer's documents cannot be used")
	ErrNoFeed   = errors.New("verify: the issuer has no revocation feed")
	ErrNoAnswer = errors.New("verify: the issuer does not answer")

	ErrNoSnapshot = errors.New("verify: what is revoked is not known yet")
	ErrStale      = errors.New("verify: what is revoked is not known any more")
	ErrKeysOld    = errors.New("verify: the issuer's keys could not be fetched for too long")
)

// Options of a Verifier. Issuer, Resource and Key are needed.
type Options struct {
	// Issuer is the authorization server, exactly as its metadata writes it
	// (RFC 8414 §2): https, or http on a loopback address.
	Issuer string

	// Resource is this API's identifier, the aud of its tokens (RFC 8707 §2), and
	// at the same time the URL under which clients reach it: https, or http on a
	// loopback address, without query. It may have a path.
	Resource string

	// Key signs this API's own identity at the issuer (private_key_jwt, RFC 7523
	// §3): ECDSA on P-256, Ed25519, or RSA of at least 2048 bits. LoadKey reads one.
	Key crypto.Signer `json:"-"`
	// KeyID is the key's kid, where the issuer has several keys for this API.
	KeyID string

	// ScopesSupported is told in the protected-resource metadata (RFC 9728 §2).
	ScopesSupported []string

	// StrippedPrefix is what a reverse proxy takes off the path before requests
	// arrive here, such as "/v1"; usually empty.
	StrippedPrefix string

	// RequireNonces refuses proofs without a nonce of ours (RFC 9449 §9); a client
	// then repeats its first request. Without it a proof that has no nonce is judged
	// by its iat, which must not be older than a minute.
	RequireNonces bool
	// NonceKey is at least 32 random bytes that all instances of this API share; nil
	// makes one that ends with the process.
	NonceKey []byte `json:"-"`
	// Replays is a store of seen proofs that all instances share; nil keeps up to a
	// million of them in this process.
	Replays ReplayStore

	// ClientAddress says where a request came from, for the report of a copied
	// token (docs/tripwire.md): behind a reverse proxy only you know. Nil tells no
	// address.
	ClientAddress func(*http.Request) netip.Addr `json:"-"`

	// Env says how to reach the issuer: HTTPS_PROXY, HTTP_PROXY, NO_PROXY,
	// SSL_CERT_FILE (a private CA). Nil takes those of this process.
	Env map[string]string

	// Log gets what happens to the feed and the keys, refusals at debug level, and
	// a warning when a token comes with another key's proof. Never a token. Nil logs
	// nothing.
	Log *slog.Logger

	dial func(ctx context.Context, network, addr string) (net.Conn, error) // tests
}

// String names issuer and resource; the keys are not shown.
func (o Options) String() string { return "verify.Options{" + o.Issuer + " " + o.Resource + "}" }

// Format is String for every verb.
func (o Options) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(o.String())) }

// LogValue is String for slog.
func (o Options) LogValue() slog.Value { return slog.StringValue(o.String()) }

// ReplayStore remembers the proofs that were seen (RFC 9449 §11.1), for all
// instances of an API. With Redis it is one SET NX PXAT.
type ReplayStore interface {
	// Seen reports whether the key is there, and if it is not, remembers it at least
	// until the given time: one atomic step. With an error the request is answered
	// 503: a proof that cannot be remembered is not accepted.
	Seen(ctx context.Context, key [16]byte, until time.Time) (bool, error)
}

// mode is what only a constructor can choose.
type mode struct {
	noFeed, anyAge, bearer bool
}

// Verifier checks requests. It is safe for concurrent use. Close it.
type Verifier struct {
	issuer   string
	resource string
	origin   string // scheme and host of the resource
	base     string // what is put before a request's path: origin and StrippedPrefix
	mode     mode
	log      *slog.Logger

	client  *outbound.Client
	keys    *keys
	revoked *revocations
	feedURL string
	reports *reports // nil: the issuer has no tripwire, or there is no key
	address func(*http.Request) netip.Addr
	signer  jws.Signer // nil without the feed
	tokens  *tokenCache
	headers *jws.HeaderCache
	nonces  *dpop.Nonces
	use     dpop.NonceUse
	local   *dpop.MemoryReplays
	shared  ReplayStore

	metadata   []byte
	challenges challenges

	stop context.CancelFunc
	done sync.WaitGroup
}

// New makes a Verifier that takes DPoP-bound tokens only and refuses everything
// while it does not know what is revoked. It fetches the issuer's metadata and
// keys; the context is for that alone. Errors are ErrOptions, ErrKey, ErrIssuer,
// ErrNoFeed and ErrNoAnswer. It may not be Ready yet when it returns.
func New(ctx context.Context, o Options) (*Verifier, error) {
	return start(ctx, o, mode{})
}

// NewAcceptingStaleRevocations is New for an API that must go on while its
// issuer cannot be reached. Once it has known what is revoked it answers however
// old that knowledge is: A TOKEN THAT WAS REVOKED SINCE IS ACCEPTED UNTIL IT
// EXPIRES, five minutes by default.
func NewAcceptingStaleRevocations(ctx context.Context, o Options) (*Verifier, error) {
	return start(ctx, o, mode{anyAge: true})
}

// NewWithoutRevocations is New for an API that has no key at the issuer, or an
// issuer without the feed: REVOCATION IS NOT SEEN AT ALL, and only the life of an
// access token, five minutes by default, bounds what a revoked grant can do.
// Options.Key is not used.
func NewWithoutRevocations(ctx context.Context, o Options) (*Verifier, error) {
	return start(ctx, o, mode{noFeed: true})
}

// NewAcceptingBearerTokens is New for an API that must serve clients without
// DPoP: beside bound tokens it takes those bound to no key, and such A TOKEN CAN
// BE USED BY WHOEVER HAS A COPY. The issuer issues them only for a resource with
// "bearer: allowed". A bound token sent as Bearer is refused (RFC 9449 §7.2).
func NewAcceptingBearerTokens(ctx context.Context, o Options) (*Verifier, error) {
	return start(ctx, o, mode{bearer: true})
}

func start(ctx context.Context, o Options, m mode) (*Verifier, error) {
	v, err := build(o, m)
	if err != nil {
		return nil, err
	}
	if err := v.discover(ctx); err != nil {
		v.client.Close()
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.stop = stop
	v.done.Go(func() { v.keys.keepFresh(run) })
	if !m.noFeed {
		v.done.Go(func() { v.follow(run) })
	}
	if v.reports != nil {
		v.done.Go(func() { v.tell(run) })
	}
	return v, nil
}

// build checks the options and reaches for nothing.
func build(o Options, m mode) (*Verifier, error) {
	if err := oauth.CheckIssuer(o.Issuer); err != nil {
		return nil, fmt.Errorf("%w: Issuer %q must be an https URL without query and fragment, or http on a loopback address", ErrOptions, o.Issuer)
	}
	u, err := url.Parse(o.Resource)
	if oauth.CheckIssuer(o.Resource) != nil || err != nil {
		return nil, fmt.Errorf("%w: Resource %q must be the API's https URL without query and fragment, or http on a loopback address", ErrOptions, o.Resource)
	}
	prefix := o.StrippedPrefix
	if prefix != "" && (!strings.HasPrefix(prefix, "/") || strings.HasSuffix(prefix, "/")) {
		return nil, fmt.Errorf("%w: StrippedPrefix %q must begin with a slash and not end with one", ErrOptions, prefix)
	}
	env := o.Env
	if env == nil {
		env = processEnv()
	}
	client, err := outbound.New(outbound.Options{Env: env, DialContext: o.dial})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	nonceKey := o.NonceKey
	if nonceKey == nil {
		nonceKey = make([]byte, 32)
		_, _ = rand.Read(nonceKey) // never fails
	}
	source, err := dpop.NewNonceSource(nonceKey)
	if err != nil {
		return nil, fmt.Errorf("%w: NonceKey needs at least 32 random bytes", ErrOptions)
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	v := &Verifier{
		issuer: o.Issuer, resource: o.Resource, mode: m, log: log, client: client,
		origin: u.Scheme + "://" + u.Host, base: u.Scheme + "://" + u.Host + prefix,
		revoked: &revocations{}, tokens: newTokenCache(maxTokens), headers: jws.NewHeaderCache(maxHeaders),
		nonces: source.For("", o.Resource), use: dpop.NonceIfPresent,
		local: dpop.NewMemoryReplays(maxProofs), shared: o.Replays, address: o.ClientAddress,
	}
	if o.RequireNonces {
		v.use = dpop.NonceRequired
	}
	if !m.noFeed {
		if o.Key == nil {
			return nil, fmt.Errorf("%w: Key is missing; it is this API's identity at the issuer's revocation feed", ErrKey)
		}
		if v.signer, err = jws.NewSigner(o.KeyID, o.Key, rand.Reader); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
	}
	v.metadata = v.document(o.ScopesSupported)
	v.challenges = newChallenges(oauth.MetadataURL(o.Resource, wellKnownResource), m.bearer)
	return v, nil
}

func processEnv() map[string]string {
	env := map[string]string{}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy", "SSL_CERT_FILE"} {
		if value, ok := os.LookupEnv(name); ok {
			env[name] = value
		}
	}
	return env
}

// discover fetches the issuer's metadata and keys, once.
func (v *Verifier) discover(ctx context.Context) error {
	body, err := v.get(ctx, oauth.MetadataURL(v.issuer, oauth.WellKnownOAuth))
	if err != nil {
		return err
	}
	m, err := oauth.DecodeMetadata(v.issuer, body.Body)
	if err != nil {
		return fmt.Errorf("%w: the metadata is not that of %s: %w", ErrIssuer, v.issuer, err)
	}
	if m.JWKSURI == "" {
		return fmt.Errorf("%w: the metadata names no jwks_uri", ErrIssuer)
	}
	if v.feedURL = m.RevocationFeedEndpoint; v.feedURL == "" && !v.mode.noFeed {
		return fmt.Errorf("%w: its metadata names none. Use NewWithoutRevocations if the tokens' life is bound enough", ErrNoFeed)
	}
	if m.TripwireEndpoint != "" && v.signer != nil {
		v.reports = newReports(m.TripwireEndpoint)
	}
	v.keys = &keys{log: v.log, wake: make(chan struct{}, 1), get: func(ctx context.Context) (*outbound.Response, error) {
		return v.get(ctx, m.JWKSURI)
	}}
	return v.keys.fetch(ctx)
}

// get fetches a public document of the issuer.
func (v *Verifier) get(ctx context.Context, from string) (*outbound.Response, error) {
	res, err := v.client.GetMetadata(ctx, from)
	switch {
	case errors.Is(err, outbound.ErrUnreachable):
		return nil, fmt.Errorf("%w: %w", ErrNoAnswer, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrIssuer, err)
	case res.Status >= 500 || res.Status == http.StatusTooManyRequests:
		return nil, fmt.Errorf("%w: %s answered %d", ErrNoAnswer, oauth.Origin(from), res.Status)
	case res.Status != http.StatusOK:
		return nil, fmt.Errorf("%w: %s answered %d", ErrIssuer, oauth.Origin(from), res.Status)
	}
	return res, nil
}

// Close ends what runs in the background. A closed Verifier refuses requests as
// soon as its knowledge is stale.
func (v *Verifier) Close() {
	v.stop()
	v.done.Wait()
	v.client.Close()
}

// Ready tells whether requests are answered now: nil, or ErrNoSnapshot, ErrStale
// or ErrKeysOld. It is made for a readiness probe.
func (v *Verifier) Ready() error { return v.ready(time.Now()) }

func (v *Verifier) ready(now time.Time) error {
	if v.keys.current(now) == nil {
		return ErrKeysOld
	}
	if v.mode.noFeed {
		return nil
	}
	return v.revoked.fresh(now, v.mode.anyAge)
}

// WaitReady waits until the Verifier is ready. If the context ends first, the
// error is that of Ready with the last reason why the feed failed.
func (v *Verifier) WaitReady(ctx context.Context) error {
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for {
		err := v.Ready()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			if last := v.revoked.lastError(); last != nil {
				err = fmt.Errorf("%w: %w", err, last)
			}
			return err
		case <-tick.C:
		}
	}
}
