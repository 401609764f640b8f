package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"html"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agent"
	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/oauth"
)

// approveRig is a server, and an agent that is logged in at its API with a browser.
type approveRig struct {
	t      *testing.T
	server *edgetest.Server
	app    *app
	agent  *agentwire.Client
	out    bytes.Buffer
	shown  bytes.Buffer
}

func newApproveRig(t *testing.T) *approveRig {
	t.Helper()
	return newApproveRigAt(t, edgetest.NewServer(t, edgetest.Options{}))
}

// newApproveRigAt is one more computer.
func newApproveRigAt(t *testing.T, server *edgetest.Server) *approveRig {
	t.Helper()
	r := &approveRig{t: t, server: server}
	socket := filepath.Join(t.TempDir(), "k", "agent.sock")
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- agent.Run(ctx, agent.Options{
			Socket: socket, Version: "v1", Clock: r.server.Clock.Now, Ready: func() { close(ready) },
		})
	}()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); <-ended })
	r.app = newApp(Program{
		Version: "v1", Environ: []string{"KEYTETHER_SOCKET=" + socket}, Stdout: &r.out, Stderr: &r.shown, Now: r.server.Clock.Now,
	})
	var err error
	if r.agent, err = r.app.agent(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.agent.Close)
	return r
}

// logIn logs a profile in with a browser.
func (r *approveRig) logIn(profile, resource, scope string) {
	r.t.Helper()
	browsed := make(chan struct{})
	err := r.agent.Login(r.t.Context(), agentwire.LoginRequest{
		Profile: profile, Issuer: r.server.Issuer, ClientID: edgetest.Handshake, Resource: resource, Scope: scope, Flow: agentwire.FlowBrowser,
	}, func(e agentwire.Event) error {
		if e.Event == agentwire.EventBrowser {
			go func() { defer close(browsed); r.browse(e.URL) }()
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	<-browsed
}

// browse does what a person's browser does from the start link on.
func (r *approveRig) browse(link string) {
	b := r.server.NewBrowser()
	outside := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer outside.CloseIdleConnections()
	to := func(req *http.Request, err error) string {
		if err != nil {
			r.t.Error(err)
			return ""
		}
		req.Header.Set("Origin", r.server.Issuer)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := outside.Do(req)
		if err != nil {
			r.t.Error(err)
			return ""
		}
		_ = res.Body.Close()
		return res.Header.Get("Location")
	}
	b.Open(to(http.NewRequest(http.MethodGet, link, nil)))
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Press("Allow")
	nonce := b.Form("Continue")
	b.Open(to(http.NewRequest(http.MethodPost, nonce.Action, strings.NewReader(nonce.Fields.Encode()))))
	code := b.Form("Continue")
	to(http.NewRequest(http.MethodPost, code.Action, strings.NewReader(code.Fields.Encode())))
}

// device is a login with a code on another computer.
type device struct {
	oauth.DeviceResponse
	tool *edgetest.Tool
}

func (r *approveRig) device() *device {
	r.t.Helper()
	d := &device{tool: r.server.NewTool(edgetest.Handshake)}
	res := d.tool.Post(oauth.PathDevice, url.Values{
		"client_id": {edgetest.Handshake}, "scope": {"read"}, "keytether_host": {"build-7"}, "keytether_os_user": {"ci"},
	})
	if err := json.Unmarshal([]byte(res.Body), &d.DeviceResponse); err != nil || res.Status != http.StatusOK {
		r.t.Fatalf("%d %s", res.Status, res.Body)
	}
	return d
}

// poll gives the error of the token endpoint, or "" for a token.
func (d *device) poll() string {
	res := d.tool.Post(oauth.PathToken, url.Values{
		"grant_type": {oauth.GrantDeviceCode}, "client_id": {edgetest.Handshake}, "device_code": {d.DeviceCode},
	})
	var doc struct{ Error string }
	_ = json.Unmarshal([]byte(res.Body), &doc)
	return doc.Error
}

// approve runs the command as if the person had typed an answer.
func (r *approveRig) approve(code string, deny bool, typed string) error {
	r.out.Reset()
	r.shown.Reset()
	r.app.Stdin = strings.NewReader(typed)
	return r.app.approve(r.t.Context(), code, deny)
}

// TestApprove approves and denies at our server with a real agent, and hears of the login afterwards.
//
// Invariant: AG-8
func TestApprove(t *testing.T) {
	r := newApproveRig(t)
	api := r.server.Issuer + apiPath
	r.logIn("", "", "read")
	d := r.device()
	err := r.approve(d.UserCode, false, "y\n")
	if !errors.Is(err, agentwire.ResourceNotAllowed) || !strings.Contains(describe(err).Do, "--resource "+api+" --scope account") {
		t.Fatalf("without a login for the API: %v", err)
	}
	r.logIn("me", api, scopeAccount)

	for _, typed := range []string{"n\n", "\n", "", "yess\n"} {
		if err := r.approve(d.UserCode, false, typed); !errors.Is(err, agentwire.Denied) {
			t.Errorf("%q: %v", typed, err)
		}
	}
	for _, want := range []string{
		"Keytether (keytether)", "Read reports (read)", "Example API (" + edgetest.API + ")", "build-7", "ci", "127.0.0.1", " ago", edgetest.Email, "Allow it? [y/N]",
	} {
		if !strings.Contains(html.UnescapeString(r.shown.String()), want) {
			t.Errorf("%q is not shown:\n%s", want, r.shown.String())
		}
	}
	if got := d.poll(); got != "authorization_pending" {
		t.Errorf("after a no: %q", got)
	}
	if err := r.approve("BBBB-BBBB", false, "y\n"); !errors.Is(err, agentwire.Denied) || !strings.Contains(err.Error(), "no login with this code") {
		t.Errorf("another code: %v", err)
	}

	r.server.Clock.Advance(6 * time.Second)
	denied := r.device()
	r.app.json = true
	if err := r.approve(denied.UserCode, true, "y\n"); err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(r.out.Bytes(), &doc); err != nil || doc["decision"] != "deny" || doc["host"] != "build-7" {
		t.Errorf("%s, %v", r.out.String(), err)
	}
	r.app.json = false
	if got := denied.poll(); got != "access_denied" {
		t.Errorf("after --deny: %q", got)
	}
	if err := r.approve(d.UserCode, false, "y\n"); err != nil || !strings.HasPrefix(r.out.String(), "Allowed.") {
		t.Fatalf("%v, %s", err, r.out.String())
	}
	if got := d.poll(); got != "" {
		t.Fatalf("after the approval: %q", got)
	}

	r.server.Clock.Advance(10 * time.Minute)
	if _, err := r.agent.Token(t.Context(), agentwire.TokenRequest{Profile: "me"}); err != nil {
		t.Fatal(err)
	}
	s, running, err := r.app.agentStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.out.Reset()
	if err := r.app.showStatus(s, running, true); err != nil {
		t.Fatal(err)
	}
	if got := r.out.String(); strings.Count(got, "Keytether logged in with a code") != 1 || !strings.Contains(got, "on build-7 (127.0.0.1)") ||
		!strings.Contains(got, "Was it not you? "+r.server.Issuer+"/me") {
		t.Errorf("status:\n%s", got)
	}
}

// TestApproveOverUnreachable: where no answer comes, the command does not say more than it knows.
func TestApproveOverUnreachable(t *testing.T) {
	o := &ownAPI{what: "it is not known whether the decision arrived", none: notDecided}
	if e := describe(o.unreached(io.ErrUnexpectedEOF)); e.Code != agentwire.Unreachable || e.What != o.what {
		t.Errorf("%+v", e)
	}
	if e := describe(o.refused(http.StatusBadGateway, nil)); e.Code != agentwire.Unreachable || e.What != o.what {
		t.Errorf("%+v", e)
	}
	for status, want := range map[int]agentwire.Code{
		http.StatusForbidden: agentwire.Denied, http.StatusUnauthorized: agentwire.NotLoggedIn,
		http.StatusTooManyRequests: agentwire.Denied, http.StatusNotFound: agentwire.Failed, http.StatusBadRequest: agentwire.Failed,
	} {
		if e := describe(o.refused(status, []byte("<html>"))); e.Code != want || e.What != notDecided {
			t.Errorf("%d: %+v", status, e)
		}
	}
}
