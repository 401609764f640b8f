package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/stage"
	"github.com/keytether/keytether/verify"
)

// world is a running server with clients of every kind, and two APIs: one that
// takes bound tokens only, and one that takes bearer tokens too.
type world struct {
	*stage.Stage
	http   *http.Client // follows no redirects, keeps no cookies
	meta   map[string]any
	person *driver.Person // signed in
	bearer string         // the bearer API
	api    *key           // the bearer API's own key
	other  *key           // the key of a third API that does not run
	close  []func() error
	aged   *aged

	mu      sync.Mutex
	nonce   string
	nonceAt time.Time
}

const (
	otherAPI = "https://other.example.test/v1"
	app      = "https://app.example.test/cb?tenant=a"
	loop     = "http://127.0.0.1:53682/callback"
)

// clientsYAML registers the clients by what they try out.
const clientsYAML = `- {id: std, name: Standard, redirect_uris: ["https://app.example.test/cb?tenant=a", "http://127.0.0.1/callback", "http://[::1]/callback"], dpop: allowed, handshake: none, default_resource: "BEARER"}
- {id: std2, name: Other, redirect_uris: ["https://two.example.test/cb", "http://127.0.0.1/callback"], dpop: allowed, handshake: none, default_resource: "BEARER", id_token_alg: ES256}
- {id: bound, name: Bound, redirect_uris: ["http://127.0.0.1/callback"], dpop: required, handshake: none}
- {id: pushed, name: Pushed, redirect_uris: ["http://127.0.0.1/callback"], dpop: allowed, handshake: none, par: required, default_resource: "BEARER"}
- {id: narrow, name: Narrow, redirect_uris: ["http://127.0.0.1/callback"], dpop: allowed, handshake: none, resources: ["BEARER"], default_resource: "BEARER", scopes: [read], response_modes: [query]}
- {id: brief, name: Brief, redirect_uris: ["http://127.0.0.1/callback"], dpop: allowed, handshake: none, default_resource: "BEARER", lifetimes: {access: 30s}}
- {id: codes, name: Codes alone, redirect_uris: ["http://127.0.0.1/callback"], dpop: allowed, handshake: none, grants: [authorization_code], default_resource: "BEARER"}
`

var theWorld *world // made by TestMain, read by every test

// binDir is where TestMain built the programs.
var binDir string

func TestMain(m *testing.M) {
	code := 1
	err := func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		dir, err := os.MkdirTemp("", "kt-conformance-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		binDir = dir
		if err := stage.Binaries(ctx, dir); err != nil {
			return err
		}
		w, err := newWorld(ctx, dir)
		if err != nil {
			return err
		}
		theWorld = w
		code = m.Run()
		return w.end()
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func newWorld(ctx context.Context, dir string) (*world, error) {
	addr, err := testkit.FreeLoopback()
	if err != nil {
		return nil, err
	}
	w := &world{bearer: "http://" + addr, api: newKey("ES256"), other: newKey("ES256")}
	var resources strings.Builder
	for name, r := range map[string]struct {
		id string
		k  *key
	}{"Bearer": {w.bearer, w.api}, "Third": {otherAPI, w.other}} {
		jwks := filepath.Join(dir, name+".jwks.json")
		if err := os.WriteFile(jwks, []byte(compactJSON(jose{"keys": []any{r.k.jwk()}})), 0o600); err != nil {
			return nil, err
		}
		fmt.Fprintf(&resources, "- {id: %q, name: %s API, scopes: {read: Read reports, write: Change reports}, bearer: allowed, jwks_file: %q}\n", r.id, name, jwks)
	}
	clients := strings.ReplaceAll(clientsYAML, "BEARER", w.bearer)
	if w.Stage, err = stage.New(ctx, dir, stage.Options{Clients: clients, Resources: resources.String()}); err != nil {
		return nil, err
	}
	w.http = w.Stage.Client()
	if err := w.begin(ctx, addr, dir); err != nil {
		return nil, errors.Join(err, w.end())
	}
	return w, nil
}

func (w *world) begin(ctx context.Context, addr, dir string) error {
	a, err := w.get(w.Issuer + "/.well-known/oauth-authorization-server")
	if err != nil {
		return err
	}
	if w.meta = a.json; w.meta == nil {
		return fmt.Errorf("no metadata: %s", a)
	}
	if err := w.serveBearer(addr, dir); err != nil {
		return err
	}
	if w.person, err = w.signIn(ctx); err != nil {
		return err
	}
	w.aged, err = w.startAging()
	return err
}

// serveBearer runs the API that takes bearer tokens.
func (w *world) serveBearer(addr, dir string) error {
	file := filepath.Join(dir, "bearer.pem")
	if err := os.WriteFile(file, []byte(w.api.pem()), 0o600); err != nil {
		return err
	}
	k, err := verify.LoadKey(file)
	if err != nil {
		return err
	}
	v, err := verify.NewAcceptingBearerTokens(context.Background(), verify.Options{Issuer: w.Issuer, Resource: w.bearer, Key: k})
	if err != nil {
		return err
	}
	srv, err := serveAPI(addr, v)
	if err != nil {
		v.Close()
		return err
	}
	w.close = append(w.close, srv.Close, func() error { v.Close(); return nil })
	for range 200 {
		if v.Ready() == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return v.Ready()
}

// serveAPI puts a verifier before a handler that says who calls.
func serveAPI(addr string, v *verify.Verifier) (*http.Server, error) {
	mux := http.NewServeMux()
	mux.Handle(v.MetadataPath(), v.Metadata())
	hello := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		c, _ := verify.From(r.Context())
		_ = json.NewEncoder(rw).Encode(map[string]any{"sub": c.Subject, "client_id": c.ClientID})
	})
	mux.Handle("/reports", v.Require("read")(hello))
	mux.Handle("/change", v.Require("write")(hello))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	go func() { _ = srv.Serve(l) }()
	return srv, nil
}

// signIn makes a browser in which the person is signed in.
func (w *world) signIn(ctx context.Context) (*driver.Person, error) {
	p, err := driver.NewPerson(stage.Email, stage.Password, w.http)
	if err != nil {
		return nil, err
	}
	page, err := p.Get(ctx, w.Issuer+"/me")
	if err != nil {
		return nil, err
	}
	for _, f := range page.Forms {
		if f.Has("Password") {
			page, err = p.Submit(ctx, f, "Sign in", map[string]string{"Email": p.Email, "Password": p.Password})
			if err == nil && page.Status != http.StatusOK {
				err = fmt.Errorf("sign-in: %d %s", page.Status, page.Text)
			}
			return p, err
		}
	}
	return nil, fmt.Errorf("no sign-in page: %s", page.Text)
}

func (w *world) end() error {
	var errs []error
	for i := len(w.close) - 1; i >= 0; i-- {
		errs = append(errs, w.close[i]())
	}
	if w.Stage != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		errs = append(errs, w.Stage.Close(ctx))
	}
	return errors.Join(errs...)
}

// atEnd has something done at the end.
func (w *world) atEnd(f func() error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.close = append(w.close, f)
}

// at is an endpoint that the metadata names.
func (w *world) at(name string) string { s, _ := w.meta[name].(string); return s }

func (w *world) token() string { return w.at("token_endpoint") }
func (w *world) par() string   { return w.at("pushed_authorization_request_endpoint") }

// freshNonce is a DPoP nonce of the authorization server, at most 20 s old.
func (w *world) freshNonce() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nonce == "" || time.Since(w.nonceAt) > 20*time.Second {
		k := newKey("ES256")
		a, err := w.post(w.token(), url.Values{"grant_type": {"refresh_token"}, "client_id": {"std"}, "refresh_token": {"x"}},
			"DPoP", k.proof("POST", w.token(), ""))
		if err == nil {
			w.nonce, w.nonceAt = a.header.Get("DPoP-Nonce"), time.Now()
		}
	}
	return w.nonce
}

func TestMetadata(t *testing.T)   { run(t, theWorld, metadataRows()) }
func TestTransport(t *testing.T)  { run(t, theWorld, transportRows()) }
func TestAuthorize(t *testing.T)  { run(t, theWorld, authorizeRows()) }
func TestRedirect(t *testing.T)   { run(t, theWorld, redirectRows()) }
func TestPAR(t *testing.T)        { run(t, theWorld, parRows()) }
func TestToken(t *testing.T)      { run(t, theWorld, tokenRows()) }
func TestRefresh(t *testing.T)    { run(t, theWorld, refreshRows()) }
func TestDPoP(t *testing.T)       { run(t, theWorld, dpopRows()) }
func TestRevoke(t *testing.T)     { run(t, theWorld, revokeRows()) }
func TestIntrospect(t *testing.T) { run(t, theWorld, introspectRows()) }
func TestIDToken(t *testing.T)    { run(t, theWorld, idTokenRows()) }
func TestResource(t *testing.T)   { run(t, theWorld, resourceRows()) }
func TestForged(t *testing.T)     { run(t, theWorld, forgedRows()) }
func TestHandshake(t *testing.T)  { run(t, theWorld, handshakeRows()) }
func TestOdd(t *testing.T)        { run(t, theWorld, oddRows()) }
func TestPages(t *testing.T)      { run(t, theWorld, pageRows()) }
func TestTLS(t *testing.T)        { t.Parallel(); run(t, theWorld, tlsRows()) }
func TestTwoPersons(t *testing.T) { t.Parallel(); run(t, theWorld, personRows()) }
func TestGuessing(t *testing.T)   { t.Parallel(); run(t, theWorld, guessRows()) }
func TestLate(t *testing.T)       { t.Parallel(); run(t, theWorld, lateRows()) }
