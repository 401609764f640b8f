//go:build linux

package python

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/depot"
	"github.com/keytether/keytether/internal/testkit/secretservice"
	"github.com/keytether/keytether/internal/testkit/stage"
	"github.com/keytether/keytether/verify"
)

// tools is a client that may do without proofs, for an index that takes passwords.
const tools = `- id: tools
  name: Command-line tools
  grants: [device_code, refresh_token]
  dpop: allowed
  handshake: none
`

// TestPip has Debian's pip download from an index that takes bearer tokens as
// passwords, by the keyring backend and a real login. The login is kept in
// gnome-keyring; the agent is killed, and pip wakes the next one. After the logout pip
// gets nothing.
//
// Invariant: PY-7
func TestPip(t *testing.T) {
	t.Parallel()
	addr, err := testkit.FreeLoopback()
	if err != nil {
		t.Fatal(err)
	}
	index := "http://" + addr
	st, err := stage.New(t.Context(), bin, stage.Options{
		NoAPI: true, Clients: tools,
		Resources: fmt.Sprintf("- {id: %q, name: Packages, scopes: {use: Install}, bearer: allowed, jwks_file: api.jwks.json}\n", index),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := st.Close(ctx); err != nil {
			t.Errorf("closing the stage: %v", err)
		}
	})
	config := filepath.Join(st.Home.Dir, "home", ".config", "keytether")
	if err := errors.Join(os.MkdirAll(config, 0o700), os.WriteFile(filepath.Join(config, "config.yaml"), []byte("store: keychain\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	st.Home.Env = append(st.Home.Env, "DBUS_SESSION_BUS_ADDRESS="+secretservice.Start(t).Address, "PIP_CONFIG_FILE=/dev/null")
	served := serveIndex(t, st, index, addr)
	agent, err := st.StartAgent(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	person, err := driver.NewPerson(stage.Email, stage.Password, st.Client())
	if err != nil {
		t.Fatal(err)
	}
	res, err := st.LoginDevice(t.Context(), func(e stage.Event) error { return person.AllowCode(t.Context(), e.VerificationURI, e.UserCode) },
		"--client", "tools", "--resource", index, "--scope", "use", "--profile", "index")
	if err != nil || res.Code != 0 {
		t.Fatalf("login: %v, exit code %d\n%s", err, res.Code, res.Stderr)
	}
	pip := func() (string, error) {
		out, err := tool(t, st.Machine, "-m", "pip", "download", "-vvv", "--no-deps", "--no-cache-dir", "--disable-pip-version-check",
			"--index-url", strings.Replace(index, "//", "//keytether@", 1)+"/simple", "--dest", t.TempDir(), "reports").CombinedOutput()
		if strings.Contains(string(out), "eyJ") {
			t.Errorf("pip printed a token:\n%s", out)
		}
		return string(out), err
	}
	for _, when := range []string{"with the agent of the login", "after the agent was killed"} {
		before := served.Load()
		if out, err := pip(); err != nil || served.Load() == before {
			t.Fatalf("%s: %v\n%s", when, err, out)
		}
		agent.Kill()
	}
	if r, err := st.Run(t.Context(), "logout", "--all"); err != nil || r.Code != 0 {
		t.Errorf("logout: %v\n%s", err, r.Stderr)
	}
	if out, err := pip(); err == nil {
		t.Errorf("pip downloads after the logout:\n%s", out)
	}
}

// serveIndex serves a package, and counts the answers that a token was good for.
func serveIndex(t *testing.T, st *stage.Stage, resource, addr string) *atomic.Int32 {
	t.Helper()
	key, err := verify.LoadKey(filepath.Join(st.Dir, "api.key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.NewAcceptingBearerTokens(t.Context(), verify.Options{Issuer: st.Issuer, Resource: resource, Key: key, Env: map[string]string{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	packages, err := depot.Index("reports", "1.0")
	if err != nil {
		t.Fatal(err)
	}
	var served atomic.Int32
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: depot.Basic(v.Require("use"), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		packages.ServeHTTP(w, r)
	}))}}
	srv.Start()
	t.Cleanup(srv.Close)
	if err := v.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &served
}
