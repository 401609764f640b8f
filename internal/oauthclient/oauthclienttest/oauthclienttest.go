// Package oauthclienttest is a small authorization server in memory, and a
// browser that presses its buttons, for tests of everything that logs in. It
// speaks real HTTP on loopback and checks what it is sent with the packages
// that a server would use, none of the client's.
//
// What it offers is chosen at New; faults are put in with Intercept.
package oauthclienttest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
)

// Config says what the server offers. The zero value is the plainest server
// that conforms: no PAR, no DPoP, answers in the query.
type Config struct {
	PAR, DPoP, Nonces, FormPost, ISS, Handshake, OpenID bool

	// Device is the device flow; nil: there is none.
	Device *Device

	// Register has clients register themselves (RFC 7591), and takes no others.
	Register *Register

	NoRotation   bool     // a refresh gives no new refresh token
	NoRevocation bool     // no revocation endpoint (RFC 7009)
	NoExpiry     bool     // token answers without expires_in
	Ignores      []string // parameters that the server does not look at

	ReferrerPolicy string // of posting pages: "" sends the Origin, "no-referrer" makes it null
	AccessLife     time.Duration
	GrantLife      time.Duration
	Now            func() time.Time // the server's clock; nil: time.Now
	Subject, Email string
	Resource       string // named in token responses
	// Path is the issuer's, for issuers that have one.
	Path string
}

// Keytether is a server as ours is.
func Keytether() Config {
	return Config{
		PAR: true, DPoP: true, Nonces: true, FormPost: true, ISS: true, Handshake: true, OpenID: true,
		Subject: "acc_1", Email: "person@example.test", Resource: "https://api.example.test/v1",
		GrantLife: 24 * time.Hour, Device: &Device{Wait: 25, TypeWithin: 300},
	}
}

// Intercept sees a request before the server does. It answers true when it has
// answered itself. next lets the server do its work and gives the answer, which
// then can be dropped or changed.
type Intercept func(w http.ResponseWriter, r *http.Request, next func() *httptest.ResponseRecorder) bool

// Server is a running server.
type Server struct {
	Config
	Issuer string

	t      testing.TB
	srv    *httptest.Server
	signer jws.Signer
	nonces *dpop.Nonces

	mu        sync.Mutex
	intercept map[string]Intercept
	count     map[string]int
	requests  map[string]*request // by request_uri, code or handshake nonce
	grants    map[string]*grant   // by refresh token
	secrets   map[string]string
	deny      bool
	seq       int
	devices   map[string]*device // by device code
	polls     []Poll
	polling   int
	decided   chan struct{} // closed when the person has decided
	meta      func(*oauth.Metadata)
	clients   []map[string]any // as they registered; the n-th is client-n
}

// New starts a server that ends with the test.
func New(t testing.TB, c Config) *Server {
	t.Helper()
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.AccessLife == 0 {
		c.AccessLife = 5 * time.Minute
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jws.NewES256Signer("k1", key, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	src, err := dpop.NewNonceSource(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Config: c, t: t, signer: signer, nonces: src.For("default", "as"),
		intercept: map[string]Intercept{}, count: map[string]int{},
		devices: map[string]*device{}, decided: make(chan struct{}),
		requests: map[string]*request{}, grants: map[string]*grant{}, secrets: map[string]string{},
	}
	s.srv = httptest.NewUnstartedServer(http.HandlerFunc(s.route))
	s.Issuer = "http://" + s.srv.Listener.Addr().String() + c.Path // before anybody can ask
	s.srv.Start()
	t.Cleanup(s.srv.Close)
	return s
}

func noRedirect(rt http.RoundTripper) *http.Client {
	return &http.Client{Transport: rt, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// Close ends the server early: it is gone.
func (s *Server) Close() { s.srv.CloseClientConnections(); s.srv.Close() }

// On sets what happens to requests of a path below the issuer; nil undoes it.
func (s *Server) On(path string, f Intercept) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept[path] = f
}

// Deny makes the person press Deny.
func (s *Server) Deny() { s.mu.Lock(); s.deny = true; s.mu.Unlock() }

// Metadata changes the document.
func (s *Server) Metadata(f func(*oauth.Metadata)) { s.mu.Lock(); s.meta = f; s.mu.Unlock() }

// Count is how often something happened: a path was asked, or one of "refresh",
// "rotate", "repeat", "code", "revoked", "signed", "cancelled".
func (s *Server) Count(what string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[what]
}

// Secrets gives every secret that was ever issued or shown, by a name.
func (s *Server) Secrets() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]string, len(s.secrets))
	for k, v := range s.secrets {
		out[k] = v
	}
	return out
}

// EndGrants makes every grant end, as a revocation would.
func (s *Server) EndGrants() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.grants {
		g.ended = true
	}
}

func (s *Server) document() oauth.Metadata {
	m := oauth.MetadataFor(s.Issuer, nil)
	if !s.PAR {
		m.PAREndpoint = ""
	}
	if !s.DPoP {
		m.DPoPAlgs = nil
	}
	if !s.FormPost {
		m.ResponseModesSupported = nil
	}
	if s.Register != nil {
		m.RegistrationEndpoint = s.Issuer + oauth.PathRegister
	}
	if s.NoRevocation {
		m.RevocationEndpoint = ""
	}
	if s.Device == nil {
		m.DeviceAuthorizationEndpoint = ""
	}
	m.DeviceWait = 0
	if s.Device != nil {
		m.DeviceWait = s.Device.Wait
	}
	if !s.Handshake {
		m.HandshakeEndpoint, m.RevocationFeedEndpoint = "", ""
	}
	if s.OpenID {
		m.ScopesSupported = []string{"openid", "email", "offline_access", "read", "write"}
	}
	m.AuthorizationResponseISSSupported = s.ISS
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.meta != nil {
		s.meta(&m)
	}
	return m
}

// ServeHTTP answers without a network, for tests whose time is not the world's.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.route(w, r) }

func (s *Server) route(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", s.Now().UTC().Format(http.TimeFormat))
	path := r.URL.Path
	if s.Path != "" && len(path) > len(s.Path) && path[:len(s.Path)] == s.Path {
		path = path[len(s.Path):]
	}
	s.mu.Lock()
	s.count[path]++
	f := s.intercept[path]
	s.mu.Unlock()
	if f != nil {
		next := func() *httptest.ResponseRecorder {
			rec := httptest.NewRecorder()
			rec.Header().Set("Date", w.Header().Get("Date"))
			s.serve(rec, r, path)
			return rec
		}
		if f(w, r, next) {
			return
		}
	}
	s.serve(w, r, path)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, path string) {
	switch path {
	case oauth.WellKnownOAuth + s.Path, oauth.WellKnownOAuth, oauth.WellKnownOIDC:
		writeJSON(w, http.StatusOK, s.document())
	case oauth.PathJWKS:
		set, err := jws.NewSet(jws.Entry{KeyID: "k1", Key: s.signer.Public()})
		if err != nil {
			s.t.Error(err)
		}
		writeJSON(w, http.StatusOK, set)
	case oauth.PathRegister:
		s.register(w, r)
	case oauth.PathPAR:
		s.par(w, r)
	case oauth.PathDevice:
		s.startDevice(w, r)
	case oauth.PathAuthorize:
		s.authorize(w, r)
	case oauth.PathHandshake:
		s.handshake(w, r)
	case oauth.PathToken:
		s.token(w, r)
	case oauth.PathRevoke:
		s.revoke(w, r)
	default:
		http.NotFound(w, r)
	}
}

// mint makes a secret and remembers it.
func (s *Server) mint(name string) string {
	v := name + "-" + rand.Text() + rand.Text()
	s.seq++
	s.secrets[fmt.Sprintf("%s %d", name, s.seq)] = v
	return v
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, code string) {
	writeJSON(w, status, oauth.Response{Error: code, Description: "the test server says " + code})
}

// proof checks the DPoP header. ok is false when it has answered.
func (s *Server) proof(w http.ResponseWriter, r *http.Request, jkt string) (string, bool) {
	if !s.DPoP {
		return "", true
	}
	want := dpop.Expect{
		Method: r.Method, URL: "http://" + r.Host + r.URL.Path, Thumbprint: jkt, Now: s.Now(),
		MaxAge: time.Minute, Leeway: 5 * time.Second,
	}
	if s.Nonces {
		want.Nonces = s.nonces
		var random dpop.NonceRandom
		_, _ = rand.Read(random[:])
		w.Header().Set("DPoP-Nonce", s.nonces.Mint(s.Now(), random))
	}
	p, err := dpop.Verify(r.Header.Get("DPoP"), want)
	switch {
	case err == nil:
		return p.Thumbprint, true
	case isAny(err, dpop.ErrNonceMissing, dpop.ErrNonceStale):
		fail(w, http.StatusBadRequest, "use_dpop_nonce")
	default:
		s.t.Logf("test server: proof refused: %v", err)
		fail(w, http.StatusBadRequest, "invalid_dpop_proof")
	}
	return "", false
}

func (s *Server) values(r *http.Request) url.Values {
	_ = r.ParseForm()
	return s.heard(r.PostForm)
}

// heard leaves out what the server ignores.
func (s *Server) heard(v url.Values) url.Values {
	for _, name := range s.Ignores {
		v.Del(name)
	}
	return v
}
