// Package edgetest is a whole authorization server in a test, on a real
// listener and a real store, with a browser that presses its buttons and a tool
// that logs in at it. The tool is written against the RFCs with net/http, and
// shares nothing with the client that ships.
package edgetest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/edge"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/identity"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/policy"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/sequencer"
	"github.com/keytether/keytether/internal/signer"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/store/sqlite"
	"github.com/keytether/keytether/internal/testkit"
)

// Who and what every server here knows.
const (
	Email    = "person@example.test" // an administrator
	Other    = "other@example.test"  // without a role
	Password = "correct horse battery"

	API     = "https://api.example.test"  // takes bound tokens alone; scopes read, write
	OpenAPI = "https://open.example.test" // takes bearer tokens too; scopes read, write

	Handshake = "keytether" // client with PAR, form_post, handshake and proofs
	Plain     = "plain-cli" // client that may do without any of them
	Bound     = "bound-cli" // client with proofs, without PAR and handshake
	WebBasic  = "web:basic" // confidential clients, named for how they authenticate, with Secret
	WebPost   = "web-post"
	WebJWT    = "web-jwt"                             // with the key Server.Web
	Secret    = "J+u:4kZ%p9 3r&Qw=8Lm/Xs0Tn_Vb2Hd6Gf" // all that must be encoded in a Basic header
	Redirect  = "http://127.0.0.1:43210/callback"
	Redirect6 = "http://[::1]:43210/callback"

	WebRedirect = "https://app.example.test/callback" // of the confidential clients
)

// Options change a server. The zero value is plain http on loopback.
type Options struct {
	// HTTPS makes the issuer https://auth.test, with a certificate of CA.
	HTTPS bool
	// Path is behind the issuer's host, such as "/t/lab".
	Path string
	// TrustedProxies are edge.Options'.
	TrustedProxies []netip.Prefix
	// Store wraps the store, to put faults in.
	Store func(store.Store) store.Store
	// Device are all clients' rules for device logins.
	Device policy.DeviceRules
	// Registration says who may register clients.
	Registration *authserver.Registration
}

// Server is a running server.
type Server struct {
	Issuer  string
	Addr    string // where it listens
	Auth    *authserver.Server
	Store   store.Store
	Clock   *testkit.Clock
	CA      *testkit.CA // nil without HTTPS
	Log     *testkit.Buffer
	Handler *edge.Handler
	API     jws.Signer // the key of the resource server API
	Web     jws.Signer // the key of the client WebJWT
	http    *http.Client
	options Options
	running atomic.Pointer[edge.Handler]
	t       testing.TB
}

// keys are made once for all servers of a test binary: an RSA key is dear. The
// ring cannot be changed, and so may be shared.
var keys = sync.OnceValues(func() (store.Change, *signer.Ring) {
	var root [32]byte
	_, _ = rand.Read(root[:])
	change, ring, err := signer.Plan(signer.Env{
		Root: signer.NewRoot(root, "a test"), Tenant: store.DefaultTenant, Now: testkit.Epoch.Truncate(time.Microsecond), Random: rand.Reader,
	}, nil)
	if err != nil {
		panic(err)
	}
	return change, ring
})

// NewServer starts a server that ends with the test.
func NewServer(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{Clock: testkit.NewClock(), Log: &testkit.Buffer{}, API: NewKey(t, "rs"), Web: NewKey(t, "web"), t: t, options: o}
	srv := httptest.NewUnstartedServer(nil)
	s.Addr = srv.Listener.Addr().String()
	s.Issuer = "http://" + s.Addr + o.Path
	if o.HTTPS {
		s.Issuer = "https://auth.test" + o.Path
		s.secure(srv)
	}
	st, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "keytether.db")})
	must(t, err)
	t.Cleanup(func() { must(t, st.Close()) })
	s.Store = st
	if o.Store != nil {
		s.Store = o.Store(st)
	}
	change, _ := keys()
	must(t, s.Store.Commit(t.Context(), store.DefaultTenant, change))
	s.Restart()
	srv.Config.Handler = s.Handler
	edge.ConfigureServer(srv.Config)
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.running.Load().ServeHTTP(w, r) })
	if o.HTTPS {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	t.Cleanup(srv.Close)
	t.Cleanup(func() { s.running.Load().Stop() })
	s.http = s.client()
	return s
}

// Restart forgets all that the server holds in memory, as a new process would.
func (s *Server) Restart() {
	s.t.Helper()
	s.Auth = s.authServer(s.t)
	s.Handler = edge.New(edge.Options{
		Server: s.Auth, Sequencer: s.sequencer(s.t), TrustedProxies: s.options.TrustedProxies,
		Log: slog.New(slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if old := s.running.Swap(s.Handler); old != nil {
		old.Stop()
	}
}

func (s *Server) secure(srv *httptest.Server) {
	var err error
	s.CA, err = testkit.NewCA()
	must(s.t, err)
	srv.TLS, err = s.CA.TLS("auth.test")
	must(s.t, err)
}

// client follows no redirect, keeps no cookie, and finds the server whatever
// the host is called.
func (s *Server) client() *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", s.Addr)
	}}
	if s.CA != nil {
		tr.TLSClientConfig = &tls.Config{RootCAs: s.CA.Pool(), MinVersion: tls.VersionTLS12}
	}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (s *Server) authServer(t testing.TB) *authserver.Server {
	_, ring := keys()
	people, err := identity.NewPasswords(s.Clock.Now, rand.Reader)
	must(t, err)
	a, err := authserver.New(t.Context(), authserver.Options{
		Issuer: s.Issuer, Store: s.Store, Keys: ring, Registry: s.registry(t), People: people,
		Attempts: identity.NewLimiter(s.Clock.Now), Now: s.Clock.Now, Random: rand.Reader,
		Log: slog.New(slog.DiscardHandler), Version: "test",
	})
	must(t, err)
	must(t, a.Seed(t.Context(), nil, []authserver.SeedAccount{
		{Email: Email, Roles: []string{authserver.RoleAdmin}, Password: secret.New(Password)},
		{Email: Other, Password: secret.New(Password)},
	}))
	return a
}

func (s *Server) registry(t testing.TB) *authserver.Registry {
	own, err := jws.NewSet(jws.Entry{KeyID: "rs", Key: s.API.Public()})
	must(t, err)
	scopes := []authserver.Scope{{Name: "read", Words: "Read reports"}, {Name: "write", Words: "Change reports"}}
	both := []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken, oauth.GrantDeviceCode}
	loopback := []string{"http://127.0.0.1/callback", "http://[::1]/callback"}
	clients := []*authserver.Client{
		{
			ID: Handshake, Name: "Keytether", RedirectURIs: loopback, GrantTypes: both, DefaultResource: API,
			DPoPRequired: true, Handshake: true, PARRequired: true, ResponseModes: []string{"form_post"},
			IDTokenAlg: jws.ES256, Lifetimes: grant.DefaultLifetimes(),
		},
		{
			ID: Plain, Name: "Plain CLI", RedirectURIs: loopback, GrantTypes: both, DefaultResource: OpenAPI,
			ResponseModes: []string{"query", "form_post"}, IDTokenAlg: jws.RS256, Lifetimes: grant.DefaultLifetimes(),
		},
		{
			ID: Bound, Name: "Bound CLI", RedirectURIs: append(loopback, "http://127.0.0.1/callback?tool=1"), GrantTypes: both,
			DefaultResource: API, DPoPRequired: true, ResponseModes: []string{"query", "form_post"},
			IDTokenAlg: jws.ES256, Lifetimes: grant.DefaultLifetimes(),
		},
	}
	clients = append(clients, s.confidential()...)
	for _, c := range clients {
		c.Device = s.options.Device
	}
	return authserver.NewRegistry(clients, []*authserver.Resource{
		{ID: API, Name: "Example API", Scopes: scopes, Keys: own},
		{ID: OpenAPI, Name: "Open API", Scopes: scopes, Bearer: true},
		authserver.APIResource(s.Issuer),
	}).WithRegistration(s.options.Registration)
}

func (s *Server) sequencer(t testing.TB) *sequencer.Sequencer {
	origin, err := audit.Origin(s.Issuer, store.DefaultTenant)
	must(t, err)
	signers, err := s.Auth.Keys().NoteSigners(origin, s.Clock.Now())
	must(t, err)
	vkeys, err := s.Auth.Keys().NoteVerifierKeys(origin)
	must(t, err)
	known, err := audit.Verifiers(vkeys...)
	must(t, err)
	return &sequencer.Sequencer{
		Log: s.Store, Tenant: store.DefaultTenant, Origin: origin, Signer: signers[0], Known: known, Clock: s.Clock.Now,
	}
}

// Client is an HTTP client that finds the server, for libraries: it follows no
// redirect and keeps no cookie.
func (s *Server) Client() *http.Client { return s.http }

// Do sends a request as it is: no redirect is followed, no cookie kept. The
// whole body is read.
func (s *Server) Do(r *http.Request) *Response {
	s.t.Helper()
	res, err := s.http.Do(r)
	must(s.t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(s.t, err)
	return &Response{Status: res.StatusCode, Header: res.Header, Body: string(body)}
}

// Stream sends a request whose answer does not end. The caller closes the body.
func (s *Server) Stream(r *http.Request) *http.Response {
	s.t.Helper()
	res, err := s.http.Do(r)
	must(s.t, err)
	return res
}

// Response is an answer that was read whole.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Size is how many records the audit log has.
func (s *Server) Size() int64 {
	s.t.Helper()
	n, err := s.Store.Size(context.Background(), store.DefaultTenant)
	must(s.t, err)
	return n
}

// Since gives the records of the audit log from the n-th on.
func (s *Server) Since(n int64) []event.Record {
	s.t.Helper()
	var out []event.Record
	must(s.t, s.Store.Leaves(context.Background(), store.DefaultTenant, n, s.Size(), func(l store.Leaf) error {
		leaf, err := audit.DecodeLeaf(l.Data)
		out = append(out, leaf.Record)
		return err
	}))
	return out
}

// Events gives the names of the records from the n-th on.
func (s *Server) Events(n int64) []event.Name {
	s.t.Helper()
	var out []event.Name
	for _, r := range s.Since(n) {
		out = append(out, r.Name)
	}
	return out
}

// Expect fails the test unless exactly these events were recorded from the n-th
// on.
func (s *Server) Expect(n int64, want ...event.Name) {
	s.t.Helper()
	if got := s.Events(n); !slices.Equal(got, want) {
		s.t.Errorf("recorded %v, want %v", got, want)
	}
}

// NewKey makes an ES256 key.
func NewKey(t testing.TB, kid string) jws.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	s, err := jws.NewES256Signer(kid, k, rand.Reader)
	must(t, err)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
