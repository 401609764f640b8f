package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/peersock"
	"github.com/keytether/keytether/internal/testkit"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if socket := os.Getenv("KEYTETHER_TEST_TOOL"); socket != "" {
		tool(socket)
		return
	}
	goleak.VerifyTestMain(m)
}

const resource = "https://api.example.test/v1"

// rig is an agent on a socket of its own, with a server to log in at.
type rig struct {
	*agentwire.Client
	t      testing.TB
	server *oauthclienttest.Server
	clock  *testkit.Clock
	log    *testkit.Buffer
	socket string
	ended  chan error
	cancel context.CancelFunc
	opt    Options
	store  keystore.Store // of the kind memory
}

// onlyIn is memory alone, in that store.
func onlyIn(s keystore.Store) []keystore.Kind {
	return []keystore.Kind{{Name: "memory", Open: func(context.Context) (keystore.Store, error) { return s, nil }}}
}

func newRig(t testing.TB, c oauthclienttest.Config, change ...func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, clock: testkit.NewClock(), log: new(testkit.Buffer), ended: make(chan error, 1), store: keystore.NewMemory()}
	r.clock.Set(time.Now())
	if c.Now == nil {
		c.Now = r.clock.Now
	}
	r.server = oauthclienttest.New(t, c)
	r.socket = filepath.Join(t.TempDir(), "k", "agent.sock")
	ready := make(chan struct{})
	r.opt = Options{
		Socket: r.socket, Version: "v1.2.3", Clock: r.clock.Now, Ready: func() { close(ready) },
		Log:   slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Kinds: onlyIn(r.store),
		Facts: agentwire.Facts{Host: "laptop", OSUser: "dev", Platform: "linux/amd64"},
		here:  func() machine { return machine{os: "darwin"} }, // with a desktop, wherever the test runs
	}
	for _, f := range change {
		f(&r.opt)
	}
	r.start(ready)
	return r
}

// again is another agent, for the same person at the same server.
func (r *rig) again(change ...func(*Options)) *rig {
	r.t.Helper()
	n := &rig{t: r.t, clock: r.clock, log: new(testkit.Buffer), ended: make(chan error, 1), store: r.store, server: r.server, opt: r.opt}
	n.socket = filepath.Join(r.t.TempDir(), "k", "agent.sock")
	ready := make(chan struct{})
	n.opt.Socket, n.opt.Ready = n.socket, func() { close(ready) }
	n.opt.Log = slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for _, f := range change {
		f(&n.opt)
	}
	n.start(ready)
	return n
}

func (r *rig) start(ready chan struct{}) {
	r.t.Helper()
	t := r.t
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(t.Context())
	go func() { r.ended <- serve(ctx, r.opt) }()
	select {
	case <-ready:
	case err := <-r.ended:
		t.Fatal(err)
	}
	r.Client = agentwire.NewClient(func(ctx context.Context) (net.Conn, error) { return peersock.Dial(ctx, r.socket) })
	t.Cleanup(func() {
		r.Client.Close()
		r.cancel()
		select {
		case <-r.ended:
		case <-time.After(10 * time.Second):
			t.Error("the agent does not end")
		}
	})
}

// wait gives how the agent ended.
func (r *rig) wait() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		return err
	case <-time.After(10 * time.Second):
		r.t.Fatal("the agent does not end")
		return nil
	}
}

// logIn logs in as a person would, and gives the last event.
func (r *rig) logIn(req agentwire.LoginRequest) (agentwire.Event, error) {
	r.t.Helper()
	if req.Issuer == "" {
		req.Issuer = r.server.Issuer
	}
	var last agentwire.Event
	browsed := make(chan struct{})
	close(browsed)
	err := r.Login(r.t.Context(), req, func(e agentwire.Event) error {
		if e.Event == agentwire.EventBrowser {
			browsed = make(chan struct{})
			go func() { defer close(browsed); _, _ = oauthclienttest.NewBrowser().Finish(e.URL) }()
		}
		last = e
		return nil
	})
	<-browsed
	return last, err
}

func (r *rig) mustLogIn() {
	r.t.Helper()
	if _, err := r.logIn(agentwire.LoginRequest{Scope: "read write"}); err != nil {
		r.t.Fatal(err)
	}
}

func TestLoginTokenWhoamiLogout(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	ctx := t.Context()
	v, err := r.Version(ctx)
	if err != nil || v.Version != "v1.2.3" || v.Protocol != agentwire.Protocol || v.Grants != 0 {
		t.Fatalf("%+v %v", v, err)
	}
	if _, err := r.Token(ctx, agentwire.TokenRequest{}); !errors.Is(err, agentwire.NotLoggedIn) {
		t.Errorf("before a login: %v", err)
	}
	e, err := r.logIn(agentwire.LoginRequest{Scope: "read write"})
	if err != nil {
		t.Fatal(err)
	}
	who, err := r.Whoami(ctx, "")
	if err != nil || *e.Done != who {
		t.Errorf("done says %+v, whoami %+v, %v", *e.Done, who, err)
	}
	if who.Subject != "acc_1" || who.Username != "person@example.test" || who.Resource != resource || who.Flow != "browser" ||
		who.GrantID == "" || who.ClientID != "keytether" || who.ExpiresAt.IsZero() || who.Profile != "default" {
		t.Errorf("whoami: %+v", who)
	}
	tok, err := r.Token(ctx, agentwire.TokenRequest{Resource: resource})
	if err != nil || tok.TokenType != "DPoP" || tok.AccessToken.IsZero() || tok.Resource != resource {
		t.Fatalf("%v %v", tok, err)
	}
	again, err := r.Token(ctx, agentwire.TokenRequest{})
	if err != nil || !again.AccessToken.Equal(tok.AccessToken) || r.server.Count("refresh") != 0 {
		t.Errorf("a good token was renewed: %v", err)
	}
	s, err := r.Status(ctx)
	if err != nil || len(s.Profiles) != 1 || s.Profiles[0].KeyStore != "memory" || len(s.Profiles[0].JKT) != 43 || s.Agent.Grants != 1 {
		t.Errorf("%+v %v", s, err)
	}
	out, err := r.Logout(ctx, agentwire.LogoutRequest{})
	if err != nil || !out.Revoked || !out.Wiped || !slices.Equal(out.Profiles, []string{"default"}) || r.server.Count("revoked") != 1 {
		t.Errorf("%+v %v", out, err)
	}
	if _, err := r.Token(ctx, agentwire.TokenRequest{}); !errors.Is(err, agentwire.NotLoggedIn) {
		t.Errorf("after the logout: %v", err)
	}
	if _, err := r.Logout(ctx, agentwire.LogoutRequest{}); !errors.Is(err, agentwire.NotLoggedIn) {
		t.Errorf("a second logout: %v", err)
	}
	for what, v := range r.server.Secrets() {
		if strings.Contains(r.log.String(), v) {
			t.Errorf("%s is in the agent's log", what)
		}
	}
}
