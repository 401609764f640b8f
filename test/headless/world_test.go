//go:build linux

package headless

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/verify"
)

const (
	issuer   = "https://auth.test"
	resource = "https://api.test"
	reports  = resource + "/reports"

	victim   = "person@example.test"
	thief    = "mallory@example.test"
	password = "correct horse battery staple"
)

// clients are registered by the rules for device logins that they have, as the
// config writes them.
var clients = map[string]string{
	"confirm":       "{}",
	"narrow":        "{other_network: narrow, narrow_to: [read]}",
	"sign-in-again": "{other_network: sign_in_again}",
	"trusted":       "{other_network: trusted}",
	"refuse":        "{other_network: refuse}",
}

// world is what all tests share: a server at the hub, an API in the person's
// network that package verify guards, and whatever machines they make.
type world struct {
	dir    string
	ca     *testkit.CA
	caFile string
	server *testkit.Process
	guard  *verify.Verifier
	api    *http.Server
	client *http.Client

	mu       sync.Mutex
	machines []*machine
}

var theWorld = sync.OnceValues(newWorld)

// made is the world that there is to close.
var made *world

func play(m *testing.M) int {
	code := m.Run()
	if made != nil {
		if err := made.close(); err != nil {
			fmt.Fprintln(os.Stderr, "closing the world:", err)
			code = 1
		}
	}
	return code
}

// get gives the world, and on a failure what its server said.
func get(t *testing.T) *world {
	t.Helper()
	w, err := theWorld()
	if err != nil {
		t.Fatal(err)
	}
	begun := len(w.server.Stderr())
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server said:\n%s", w.server.Stderr()[begun:])
		}
	})
	return w
}

func newWorld() (*world, error) {
	w := &world{dir: os.Getenv(envFolder)}
	if err := w.build(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	made = w
	return w, nil
}

func (w *world) build() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var err error
	if w.ca, err = testkit.NewCA(); err != nil {
		return err
	}
	files, err := w.ca.WriteFiles(w.dir, "auth.test")
	if err != nil {
		return err
	}
	w.caFile = files.CA
	w.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.ca.Pool(), MinVersion: tls.VersionTLS12},
	}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	keys, err := verify.PublicKeySet(key, "")
	if err != nil {
		return err
	}
	if err := w.configure(keys); err != nil {
		return err
	}
	argv := on(hub, "auth", filepath.Join(w.dir, "keytether-server"), "serve", "--config", filepath.Join(w.dir, "keytether.yaml"), "--log-level", "debug")
	w.server, err = testkit.StartProcess(testkit.Command{Path: "/usr/bin/env", Args: argv, Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "TZ=UTC"}, Dir: w.dir})
	if err != nil {
		return err
	}
	if err := w.server.WaitReady(ctx, w.client, issuer+"/readyz"); err != nil {
		return err
	}
	w.guard, err = verify.New(ctx, verify.Options{Issuer: issuer, Resource: resource, Key: key, Env: map[string]string{"SSL_CERT_FILE": w.caFile}})
	if err != nil {
		return err
	}
	if err := w.serveAPI(); err != nil {
		return err
	}
	for w.guard.Ready() != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("the API does not get ready: %w", w.guard.Ready())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

func (w *world) configure(apiKeys []byte) error {
	var b strings.Builder
	fmt.Fprintf(&b, "issuer: %s\nlisten: %s:443\ndata: ./data\ntls: {cert_file: cert.pem, key_file: key.pem}\naccounts:\n", issuer, addresses[hub])
	for _, email := range []string{victim, thief} {
		fmt.Fprintf(&b, "  - {email: %s, password_file: password}\n", email)
	}
	fmt.Fprintf(&b, "resources:\n  - {id: %q, name: Sample API, scopes: {read: Read reports, write: Change reports}, bearer: refused, jwks_file: api.jwks.json}\nclients:\n", resource)
	for id, rules := range clients {
		fmt.Fprintf(&b, "  - id: %s\n    name: Tool\n    redirect_uris: [\"http://127.0.0.1/callback\", \"http://[::1]/callback\"]\n"+
			"    grants: [authorization_code, refresh_token, device_code]\n    default_resource: %s\n    device: %s\n", id, resource, rules)
	}
	var errs []error
	for name, text := range map[string]string{"keytether.yaml": b.String(), "password": password + "\n", "api.jwks.json": string(apiKeys)} {
		errs = append(errs, os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600))
	}
	return errors.Join(errs...)
}

// serveAPI serves /reports: GET to who may read, POST to who may write.
func (w *world) serveAPI() error {
	conf, err := w.ca.TLS("api.test")
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", net.JoinHostPort(addresses[person], "443"), conf)
	if err != nil {
		return err
	}
	ok := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	mux := http.NewServeMux()
	mux.Handle("GET /reports", w.guard.Require("read")(ok))
	mux.Handle("POST /reports", w.guard.Require("write")(ok))
	w.api = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = w.api.Serve(l) }()
	return nil
}

func (w *world) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var errs []error
	for _, m := range w.machines {
		_ = m.command(ctx, "agent", "stop").Run() // it may have stopped
	}
	if w.api != nil {
		errs = append(errs, w.api.Close())
	}
	if w.guard != nil {
		w.guard.Close()
	}
	if w.server != nil {
		errs = append(errs, w.server.Stop(ctx))
	}
	return errors.Join(errs...)
}

// call makes a request of the API with what the tool's agent gave for it.
func (w *world) call(t *testing.T, method string, h http.Header) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, reports, nil)
	do(t, err)
	req.Header = h
	resp, err := w.client.Do(req)
	do(t, err)
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// headers reads what `keytether token --proof` printed.
func headers(lines string) http.Header {
	h := http.Header{}
	for line := range strings.Lines(lines) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		h.Set(name, value)
	}
	return h
}

// tokenRequests counts what the token endpoint has answered so far.
func (w *world) tokenRequests() int {
	return bytes.Count([]byte(w.server.Stderr()), []byte("/oauth/token"))
}

// do fails the test if a step of it went wrong.
func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
