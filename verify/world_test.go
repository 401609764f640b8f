package verify

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/feed"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testIssuer   = "http://127.0.0.1:8430"
	testResource = "https://api.example.test/v1"
	testURL      = testResource + "/reports"
)

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func newSigner(tb testing.TB, kid string) jws.Signer {
	tb.Helper()
	s, err := jws.NewES256Signer(kid, newKey(tb), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func newSet(tb testing.TB, signers ...jws.Signer) *jws.Set {
	tb.Helper()
	var entries []jws.Entry
	for _, s := range signers {
		entries = append(entries, jws.Entry{KeyID: s.KeyID(), Key: s.Public()})
	}
	set, err := jws.NewSet(entries...)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// pipes is a network without sockets, so that time in a synctest bubble goes on.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8430} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.conns <- there:
		return here, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// issuer is a fake authorization server: metadata, keys and the feed.
type issuer struct {
	tb     testing.TB
	net    *pipes
	server *http.Server
	signer jws.Signer
	api    *jws.PublicKey // the resource server's

	mu       sync.Mutex
	meta     oauth.Metadata
	set      *jws.Set
	control  string // Cache-Control of the JWKS
	fetches  int    // of the JWKS
	keysDown bool
	used     map[string]bool // assertions
	connects int             // to the feed
	feedDown bool
	silent   bool          // no heartbeats
	behind   time.Duration // how old events are when they are sent
	seq      uint64
	grants   []feed.Entry
	cut      chan struct{} // closed to end the open feeds
	send     chan []byte   // raw bytes for the open feed
	told     []url.Values  // what was reported to the tripwire
	telling  int           // how often it was tried
	trip     func() int    // status of the tripwire's answer; nil: 204
}

func newIssuer(tb testing.TB, api *jws.PublicKey) *issuer {
	s := &issuer{
		tb: tb, net: &pipes{make(chan net.Conn), make(chan struct{})}, signer: newSigner(tb, "k1"), api: api,
		meta: oauth.MetadataFor(testIssuer, nil), used: map[string]bool{},
		cut: make(chan struct{}), send: make(chan []byte),
	}
	s.set = newSet(tb, s.signer)
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+oauth.WellKnownOAuth, func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		writeJSON(w, s.meta)
	})
	mux.HandleFunc("GET "+oauth.PathJWKS, func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.fetches++
		if s.keysDown {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		w.Header().Set("Cache-Control", s.control)
		writeJSON(w, s.set)
	})
	mux.HandleFunc("POST "+oauth.PathRevocations, s.feed)
	mux.HandleFunc("POST "+oauth.PathTripwire, s.tripwire)
	s.server = &http.Server{Handler: mux}
	go func() { _ = s.server.Serve(s.net) }()
	return s
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// authenticate checks private_key_jwt as RFC 7523 §3 has it.
func (s *issuer) authenticate(r *http.Request) string {
	m, err := jws.Parse(r.PostFormValue("client_assertion"))
	if err != nil || r.PostFormValue("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return "form"
	}
	if m.Verify(s.api) != nil {
		return "signature"
	}
	var c struct {
		Iss, Sub, Aud, JTI string
		Exp                int64
	}
	if err := json.Unmarshal(m.Payload, &c); err != nil {
		return err.Error()
	}
	exp := time.Unix(c.Exp, 0)
	switch {
	case c.Iss != testResource || c.Sub != testResource || c.Aud != testIssuer:
		return "names"
	case !exp.After(time.Now()) || exp.After(time.Now().Add(2*time.Minute)):
		return "exp"
	case len(c.JTI) < 16 || s.used[c.JTI]:
		return "jti"
	}
	s.used[c.JTI] = true
	return ""
}

func (s *issuer) feed(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.connects++
	why, down, cut := s.authenticate(r), s.feedDown, s.cut
	snap := feed.Snapshot{Sequence: s.seq, IssuedAt: time.Now().Add(-s.behind), Grants: s.grants}
	s.mu.Unlock()
	switch {
	case why != "":
		s.tb.Errorf("assertion refused: %s", why)
		fallthrough
	case down:
		w.WriteHeader(http.StatusServiceUnavailable)
		writeJSON(w, oauth.Response{Error: "temporarily_unavailable"})
		return
	}
	w.Header().Set("Content-Type", feed.ContentType)
	first, err := feed.AppendSnapshot(nil, &snap)
	if err != nil {
		s.tb.Error(err)
	}
	flush := http.NewResponseController(w).Flush
	if _, err := w.Write(first); err != nil || flush() != nil {
		return
	}
	beat := time.NewTicker(feed.HeartbeatEvery)
	defer beat.Stop()
	for {
		var out []byte
		select {
		case <-r.Context().Done():
			return
		case <-cut:
			return
		case out = <-s.send:
		case <-beat.C:
			s.mu.Lock()
			if !s.silent {
				out, _ = feed.AppendHeartbeat(nil, &feed.Heartbeat{Sequence: s.seq, At: time.Now().Add(-s.behind)})
			}
			s.mu.Unlock()
		}
		if _, err := w.Write(out); err != nil || flush() != nil {
			return
		}
	}
}

// revoke tells the open feed, if there is one, and later snapshots.
func (s *issuer) revoke(grant string) { s.lock(grant, time.Time{}) }

// lock ends what was issued before a time, or, with the zero time, all.
func (s *issuer) lock(grant string, before time.Time) {
	s.mu.Lock()
	s.seq++
	until := time.Now().Add(10 * time.Minute)
	out, err := feed.AppendRevoked(nil, &feed.Revoked{Sequence: s.seq, Prev: s.seq - 1, At: time.Now(), Grant: grant, Before: before, Until: until})
	s.grants = append(s.grants, feed.Entry{ID: grant, Before: before, Until: until})
	down := s.feedDown
	s.mu.Unlock()
	if err != nil {
		s.tb.Fatal(err)
	}
	if !down {
		s.send <- out
	}
}

// with changes the issuer.
func (s *issuer) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// connected counts how often the feed was asked for.
func (s *issuer) connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connects
}

// disconnect ends the open feeds.
func (s *issuer) disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.cut)
	s.cut = make(chan struct{})
}

// world is an issuer, an API behind a Verifier, and a client with a key.
type world struct {
	t      *testing.T
	issuer *issuer
	v      *Verifier
	client jws.Signer
	key    *ecdsa.PrivateKey // the API's
	api    http.Handler
	log    *logText
	n      int // proofs made
}

type constructor func(context.Context, Options) (*Verifier, error)

// inWorld runs f in a synctest bubble, with everything up and ready.
func inWorld(t *testing.T, make constructor, edit func(*Options), f func(t *testing.T, w *world)) {
	t.Helper()
	inEmptyWorld(t, func(t *testing.T, w *world) {
		w.open(make, edit)
		w.ready()
		f(t, w)
	})
}

func inEmptyWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, client: newSigner(t, ""), key: newKey(t), log: &logText{}}
		public, err := jws.NewPublicKey(w.key.Public())
		if err != nil {
			t.Fatal(err)
		}
		w.issuer = newIssuer(t, public)
		defer func() {
			if w.v != nil {
				w.v.Close()
			}
			_ = w.issuer.server.Close()
		}()
		f(t, w)
	})
}

func (w *world) ready() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
	defer cancel()
	if err := w.v.WaitReady(ctx); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) options() Options {
	return Options{
		Issuer: testIssuer, Resource: testResource, Key: w.key, Env: map[string]string{}, dial: w.issuer.net.dial,
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// logText is what was logged.
type logText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (w *world) open(make constructor, edit func(*Options)) {
	w.t.Helper()
	o := w.options()
	if edit != nil {
		edit(&o)
	}
	v, err := make(w.t.Context(), o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.v = v
	w.api = v.Require("read")(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c, ok := From(r.Context())
		if !ok {
			w.t.Error("let through without a caller")
		}
		writeJSON(rw, c)
	}))
}

// attempt is one request in parts, good until a test changes something.
type attempt struct {
	claims token.AccessClaims
	signer jws.Signer // of the token
	token  string     // made from claims unless set
	scheme string
	proof  dpop.Request
	key    jws.Signer // of the proof
	raw    string     // the proof, made unless set
	method string
	target string // request line
	last   func(*http.Request)
}

func (w *world) attempt() *attempt {
	w.n++
	now := time.Now().Truncate(time.Second)
	return &attempt{
		claims: token.AccessClaims{
			Issuer: testIssuer, Subject: "acc_1", Audience: testResource, ClientID: "example-cli", Scope: "read openid",
			ID: "jti_1", GrantID: "grt_1", Thumbprint: w.client.Public().Thumbprint(), ACR: oauth.ACRPassword,
			IssuedAt: now, ExpiresAt: now.Add(5 * time.Minute), AuthTime: now.Add(-time.Minute),
		},
		signer: w.issuer.signer, scheme: "DPoP", key: w.client, method: "GET", target: "/v1/reports",
		proof: dpop.Request{Method: "GET", URL: testURL, IssuedAt: time.Now(), ID: "proof" + strconv.Itoa(w.n)},
	}
}

func (w *world) issue(a *attempt) string {
	if a.token != "" {
		return a.token
	}
	compact, err := token.Issue(a.signer, a.claims)
	if err != nil {
		w.t.Fatal(err)
	}
	return compact
}

// do sends a request that edits made different from a good one.
func (w *world) do(edits ...func(*attempt)) *httptest.ResponseRecorder {
	w.t.Helper()
	a := w.attempt()
	for _, edit := range edits {
		edit(a)
	}
	compact := w.issue(a)
	if a.proof.AccessToken == "" {
		a.proof.AccessToken = compact
	}
	if a.raw == "" {
		var err error
		if a.raw, err = dpop.New(a.key, a.proof); err != nil {
			w.t.Fatal(err)
		}
	}
	r := httptest.NewRequest(a.method, a.target, nil)
	r.Host = "elsewhere.example" // nothing may depend on it
	r.Header.Set("Authorization", a.scheme+" "+compact)
	r.Header.Set("DPoP", a.raw)
	if a.last != nil {
		a.last(r)
	}
	rec := httptest.NewRecorder()
	w.api.ServeHTTP(rec, r)
	if rec.Code != http.StatusOK && rec.Body.Len() > 0 && rec.Header().Get("Cache-Control") != "no-store" {
		w.t.Error("a refusal can be cached")
	}
	return rec
}

// want checks status, error code and our own code of an answer.
func want(t *testing.T, rec *httptest.ResponseRecorder, status int, code oauth.Code) {
	t.Helper()
	var body oauth.Response
	if status != http.StatusOK {
		if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
	}
	if rec.Code != status || body.Code != code {
		t.Fatalf("%d %s, want %d %s: %s %v", rec.Code, body.Code, status, code, rec.Body, rec.Header())
	}
}
