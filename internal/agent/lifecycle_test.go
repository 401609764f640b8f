package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/peersock"
)

// begin starts a login whose person does nothing, and gives its link.
func (r *rig) begin(ctx context.Context) (link string, ended chan error) {
	r.t.Helper()
	return r.beginAs(ctx, "")
}

func (r *rig) beginAs(ctx context.Context, profile string) (link string, ended chan error) {
	r.t.Helper()
	links, ended := make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- r.Login(ctx, agentwire.LoginRequest{Issuer: r.server.Issuer, Profile: profile}, func(e agentwire.Event) error {
			if e.Event == agentwire.EventBrowser {
				links <- e.URL
			}
			return nil
		})
	}()
	select {
	case link = <-links:
	case err := <-ended:
		r.t.Fatal(err)
	}
	return link, ended
}

func (r *rig) logins() int {
	r.t.Helper()
	v, err := r.Version(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return v.Logins
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func TestLoginEndsWithItsCaller(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	ctx, cancel := context.WithCancel(t.Context())
	link, ended := r.begin(ctx)
	if r.logins() != 1 {
		t.Error("not counted")
	}
	cancel()
	<-ended
	eventually(t, "the login goes on", func() bool { return r.logins() == 0 })
	eventually(t, "the listener is still there", func() bool {
		res, err := http.Get(link)
		if err == nil {
			_ = res.Body.Close()
		}
		return err != nil
	})
	if names, _ := r.store.Names(t.Context()); len(names) != 0 {
		t.Errorf("left in the store: %v", names)
	}
	if _, err := r.store.Key(t.Context(), keyName(r.server.Issuer)); err == nil {
		t.Error("a key is left of a login that came to nothing")
	}
}

func TestPersonWalksAway(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether(), func(o *Options) { o.LoginTime = 50 * time.Millisecond })
	_, ended := r.begin(t.Context())
	if err := <-ended; !errors.Is(err, agentwire.Expired) {
		t.Errorf("got %v", err)
	}
}

func TestPersonDenies(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.server.Deny()
	if e, err := r.logIn(agentwire.LoginRequest{}); !errors.Is(err, agentwire.Denied) || e.Event != agentwire.EventError {
		t.Errorf("got %v", err)
	}
}

func TestAnotherAccount(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	if _, err := r.logIn(agentwire.LoginRequest{LoginHint: "boss@example.test"}); !errors.Is(err, agentwire.AccountMismatch) {
		t.Errorf("got %v", err)
	}
	if r.server.Count("revoked") != 1 {
		t.Error("not revoked")
	}
	if _, err := r.Whoami(t.Context(), ""); !errors.Is(err, agentwire.NotLoggedIn) {
		t.Errorf("kept all the same: %v", err)
	}
}

func TestLoginsAreBounded(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	ctx, cancel := context.WithCancel(t.Context())
	var all []chan error
	for range maxLogins {
		_, ended := r.begin(ctx)
		all = append(all, ended)
	}
	if _, err := r.logIn(agentwire.LoginRequest{}); !errors.Is(err, agentwire.Busy) {
		t.Errorf("one too many: %v", err)
	}
	cancel()
	for _, c := range all {
		<-c
	}
	eventually(t, "places are not given back", func() bool { return r.logins() == 0 })
	r.mustLogIn()
}

func TestLoginRequests(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	for name, tt := range map[string]struct {
		req  agentwire.LoginRequest
		want error
	}{
		"no such server":  {agentwire.LoginRequest{Issuer: "http://127.0.0.1:1"}, agentwire.Unreachable},
		"not an issuer":   {agentwire.LoginRequest{Issuer: "http://example.test"}, agentwire.Usage},
		"not a profile":   {agentwire.LoginRequest{Profile: "../x"}, agentwire.Usage},
		"in CI":           {agentwire.LoginRequest{Env: agentwire.Env{"CI": "true"}}, agentwire.Unsupported},
		"workload":        {agentwire.LoginRequest{Flow: agentwire.FlowWorkload}, agentwire.Unsupported},
		"a port in use":   {agentwire.LoginRequest{CallbackPort: port(t, r.server.Issuer)}, agentwire.Failed},
		"wrong discovery": {agentwire.LoginRequest{Issuer: r.server.Issuer + "/nothing"}, agentwire.Failed},
	} {
		e, err := r.logIn(tt.req)
		if !errors.Is(err, tt.want) || e.Event != "" {
			t.Errorf("%s: %v", name, err)
		}
		var w *agentwire.Error
		if errors.As(err, &w) && (w.What == "" || w.Why == "" || w.Do == "") {
			t.Errorf("%s: without words: %+v", name, w)
		}
	}
	req := agentwire.LoginRequest{Env: agentwire.Env{"KEYTETHER_ISSUER": r.server.Issuer, "KEYTETHER_PROFILE": "env", "KEYTETHER_CLIENT": "x"}}
	if err := r.Login(t.Context(), req, func(e agentwire.Event) error {
		if e.Event == agentwire.EventBrowser {
			go func() { _, _ = oauthclienttest.NewBrowser().Finish(e.URL) }()
		}
		if e.Event == agentwire.EventDone && (e.Done.Profile != "env" || e.Done.ClientID != "x") {
			t.Errorf("done: %+v", e.Done)
		}
		return nil
	}); err != nil {
		t.Errorf("by the environment: %v", err)
	}
}

func port(t *testing.T, at string) int {
	t.Helper()
	_, p, err := net.SplitHostPort(strings.TrimPrefix(at, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := net.LookupPort("tcp", p)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Logging in again takes the place of the first login, which is revoked.
func TestLoginAgainRevokesTheFirst(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	before, _ := r.Status(t.Context())
	r.mustLogIn()
	eventually(t, "the first login was not revoked", func() bool { return r.server.Count("revoked") == 1 })
	after, err := r.Status(t.Context())
	if err != nil || len(after.Profiles) != 1 || after.Profiles[0].GrantID == before.Profiles[0].GrantID || after.Profiles[0].JKT != before.Profiles[0].JKT {
		t.Errorf("%+v then %+v, %v", before, after, err)
	}
	r.clock.Advance(6 * time.Minute)
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
		t.Error(err)
	}
}

func TestLogoutWithoutServer(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	r.server.Close()
	out, err := r.Logout(t.Context(), agentwire.LogoutRequest{})
	if err != nil || out.Revoked || !out.Wiped || !strings.Contains(out.Warning, "lives on") {
		t.Errorf("%+v %v", out, err)
	}
	if names, _ := r.store.Names(t.Context()); len(names) != 0 {
		t.Errorf("left in the store: %v", names)
	}
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); !errors.Is(err, agentwire.NotLoggedIn) {
		t.Errorf("got %v", err)
	}
}

// A logout while somebody logs in again wipes the token, and leaves that login
// its key.
func TestLogoutDuringALogin(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	link, ended := r.begin(t.Context())
	if _, err := r.Logout(t.Context(), agentwire.LogoutRequest{}); err != nil {
		t.Fatal(err)
	}
	if slots := r.slots("default"); len(slots) != 0 {
		t.Errorf("the refresh token is still there: %v", slots)
	}
	if _, err := oauthclienttest.NewBrowser().Finish(link); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(6 * time.Minute)
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
		t.Error(err)
	}
}

// A logout during a renewal revokes the token that the renewal brought.
func TestLogoutDuringRenewal(t *testing.T) {
	c := oauthclienttest.Keytether()
	c.Nonces = false
	r := newRig(t, c)
	r.mustLogIn()
	r.clock.Advance(6 * time.Minute)
	arrived, let := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.server.On("/oauth/token", func(w http.ResponseWriter, _ *http.Request, next func() *recorder) bool {
		rec := next()
		once.Do(func() { close(arrived) })
		<-let
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes())
		return true
	})
	var revoked string
	r.server.On("/oauth/revoke", func(_ http.ResponseWriter, q *http.Request, _ func() *recorder) bool {
		_ = q.ParseForm()
		revoked = q.PostForm.Get("token")
		return false
	})
	asked := make(chan error, 1)
	go func() { _, err := r.Token(t.Context(), agentwire.TokenRequest{}); asked <- err }()
	<-arrived
	left := make(chan error, 1)
	go func() { _, err := r.Logout(t.Context(), agentwire.LogoutRequest{}); left <- err }()
	eventually(t, "the login is still listed", func() bool { v, err := r.Version(t.Context()); return err == nil && v.Grants == 0 })
	close(let)
	if err := <-left; err != nil {
		t.Fatal(err)
	}
	if err := <-asked; !errors.Is(err, agentwire.NotLoggedIn) {
		t.Errorf("the renewal's caller: %v", err)
	}
	newest := ""
	for what, v := range r.server.Secrets() {
		if strings.HasPrefix(what, "ktr_refresh") && v > "" && (newest == "" || what > newest) {
			newest = what
		}
	}
	if revoked == "" || revoked != r.server.Secrets()[newest] {
		t.Errorf("revoked %q, not the newest", revoked[:min(12, len(revoked))])
	}
}

func TestLockUnlock(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	ctx := t.Context()
	pass := agentwire.LockRequest{Passphrase: agentwire.NewSecret("open sesame")}
	if err := r.Lock(ctx, pass); err != nil {
		t.Fatal(err)
	}
	_, e1 := r.Token(ctx, agentwire.TokenRequest{})
	_, e2 := r.Authorize(ctx, agentwire.AuthorizeRequest{Method: "GET", URL: resource})
	_, e3 := r.Whoami(ctx, "")
	_, e4 := r.Logout(ctx, agentwire.LogoutRequest{All: true})
	_, e5 := r.logIn(agentwire.LoginRequest{})
	for i, err := range []error{e1, e2, e3, e4, e5, r.Lock(ctx, agentwire.LockRequest{})} {
		if !errors.Is(err, agentwire.Locked) {
			t.Errorf("call %d while locked: %v", i, err)
		}
	}
	if s, err := r.Status(ctx); err != nil || !s.Agent.Locked || len(s.Profiles) != 0 {
		t.Errorf("%+v %v", s, err)
	}
	if err := r.Unlock(ctx, agentwire.LockRequest{}); !errors.Is(err, agentwire.Locked) {
		t.Errorf("without the passphrase: %v", err)
	}
	r.clock.Advance(10 * time.Millisecond)
	if err := r.Unlock(ctx, pass); !errors.Is(err, agentwire.Locked) {
		t.Errorf("right after a wrong one: %v", err)
	}
	r.clock.Advance(2 * time.Second)
	if err := r.Unlock(ctx, pass); err != nil {
		t.Fatal(err)
	}
	before := r.server.Count("refresh")
	if _, err := r.Token(ctx, agentwire.TokenRequest{}); err != nil {
		t.Error(err)
	}
	if r.server.Count("refresh") != before+1 {
		t.Error("a token was in memory while it was locked")
	}
	if strings.Contains(r.log.String(), "sesame") {
		t.Error("the passphrase is in the log")
	}
}

func TestStop(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	if err := r.Stop(t.Context(), agentwire.StopRequest{IfIdle: true}); !errors.Is(err, agentwire.Busy) {
		t.Errorf("with a login: %v", err)
	}
	if err := r.Stop(t.Context(), agentwire.StopRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	if names, _ := r.store.Names(t.Context()); len(names) != 0 {
		t.Errorf("left in the store: %v", names)
	}
	if _, err := peersock.Dial(t.Context(), r.socket); !errors.Is(err, peersock.ErrNotRunning) {
		t.Errorf("the socket: %v", err)
	}
}

func TestStopDuringALogin(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	_, ended := r.begin(t.Context())
	if err := r.Stop(t.Context(), agentwire.StopRequest{IfIdle: true}); !errors.Is(err, agentwire.Busy) {
		t.Errorf("with a login in progress: %v", err)
	}
	if err := r.Stop(t.Context(), agentwire.StopRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("the login is said to be done")
	}
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

func TestIdleAgentEnds(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether(), func(o *Options) { o.IdleTime = 200 * time.Millisecond })
	r.mustLogIn()
	r.clock.Advance(time.Minute)
	time.Sleep(150 * time.Millisecond) // several looks at the clock
	if _, err := r.Version(t.Context()); err != nil {
		t.Fatalf("it ended with a login in its hands: %v", err)
	}
	if _, err := r.Logout(t.Context(), agentwire.LogoutRequest{}); err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(time.Minute)
	if err := r.wait(); err != nil {
		t.Error(err)
	}
}

func TestUnknownCall(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	for _, at := range []string{"GET /v1/nothing", "POST /v1/version", "GET /v1/token", "GET /"} {
		method, path, _ := strings.Cut(at, " ")
		c, err := peersock.Dial(t.Context(), r.socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, method+" "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		b, _ := io.ReadAll(c)
		_ = c.Close()
		if !bytes.Contains(b, []byte("404")) || !bytes.Contains(b, []byte(`"unsupported"`)) {
			t.Errorf("%s: %s", at, b)
		}
	}
}

// The process itself, started as a child: closed to others, and a termination
// signal ends it in order.
func TestProcess(t *testing.T) {
	if os.Getenv("KEYTETHER_TEST_AGENT") != "" {
		err := Run(context.Background(), Options{Socket: os.Getenv("KEYTETHER_TEST_AGENT"), Version: "child", Ready: func() {
			b, _ := os.ReadFile("/proc/self/limits")
			for line := range strings.Lines(string(b)) {
				if strings.HasPrefix(line, "Max core file size") {
					_, _ = os.Stdout.WriteString(strings.Join(strings.Fields(line), " "))
				}
			}
			_, _ = os.Stdout.WriteString("\n" + dumpable() + "ready\n")
		}})
		if err != nil {
			_, _ = os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	socket := filepath.Join(t.TempDir(), "k", "agent.sock")
	cmd := exec.Command(os.Args[0], "-test.run=^TestProcess$")
	cmd.Env = append(os.Environ(), "KEYTETHER_TEST_AGENT="+socket)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := ""
	b := make([]byte, 256)
	for !strings.Contains(said, "ready") {
		n, err := out.Read(b)
		if said += string(b[:n]); err != nil {
			t.Fatal(err, said)
		}
	}
	checkClosed(t, said)
	c := agentwire.NewClient(func(ctx context.Context) (net.Conn, error) { return peersock.Dial(ctx, socket) })
	if v, err := c.Version(t.Context()); err != nil || v.PID != cmd.Process.Pid {
		t.Errorf("%+v %v", v, err)
	}
	c.Close()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}
