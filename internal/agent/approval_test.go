package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/peersock"
)

// The agent signs the documented claims of a decision about a device login at
// the profile's own issuer, whatever else a caller sends; with a login for
// another resource or without the scope, while locked and over a forwarded
// socket it signs nothing.
//
// Invariant: AG-8
func TestApprovalSignsNothingElse(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	api := r.server.Issuer + oauth.PathAPI
	for name, req := range map[string]agentwire.LoginRequest{
		"me": {Resource: api, Scope: "account"}, "admin": {Resource: api, Scope: "admin"}, "work": {Scope: "account"},
	} {
		req.Profile = name
		if _, err := r.logIn(req); err != nil {
			t.Fatal(name, err)
		}
	}
	const device, code = "dev_01JD5W0000000000000000000D", "BCDF-GHJK"
	good := agentwire.ApprovalRequest{Profile: "me", Device: device, UserCode: code, Decision: "allow", Scope: []string{"read", "write"}}
	out := r.rawApproval(`{"profile":"me","device":"` + device + `","user_code":"` + code + `","decision":"deny","scope":["read"],
		"iss":"x","aud":"https://evil.test","iat":1,"jti":"x","typ":"dpop+jwt","htm":"POST","user_code_hash":"x","claims":{"htu":"x"}}`)
	msg, err := jws.Parse(out)
	if err != nil || !jws.TypeIs(msg.Header.Type, "keytether-approval+jwt") {
		t.Fatalf("%+v, %v", msg, err)
	}
	key, err := r.store.Key(t.Context(), keyName(r.server.Issuer))
	if err != nil || msg.Verify(key.Public()) != nil {
		t.Errorf("not signed by the installation's key: %v", err)
	}
	var claims map[string]any
	if err := json.Unmarshal(msg.Payload, &claims); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(claims)), []string{"aud", "decision", "device", "iat", "iss", "jti", "scope", "user_code_hash"}; !slices.Equal(got, want) {
		t.Errorf("claims %v", got)
	}
	if claims["iss"] != "keytether" || claims["aud"] != r.server.Issuer || claims["device"] != device || claims["decision"] != "deny" || claims["scope"] != "read" ||
		claims["iat"] != float64(r.clock.Now().Unix()) || len(claims["jti"].(string)) < 20 ||
		claims["user_code_hash"] != "UOY8n91UeCPC0I6D_Mf4gzlBZ_sYaf4SDuzb-sDG7tY" {
		t.Errorf("claims %v", claims)
	}

	change := func(f func(*agentwire.ApprovalRequest)) agentwire.ApprovalRequest { q := good; f(&q); return q }
	for name, tt := range map[string]struct {
		req  agentwire.ApprovalRequest
		want agentwire.Code
	}{
		"another resource":     {change(func(q *agentwire.ApprovalRequest) { q.Profile = "work" }), agentwire.ResourceNotAllowed},
		"another scope":        {change(func(q *agentwire.ApprovalRequest) { q.Profile = "admin" }), agentwire.Scope},
		"nobody":               {change(func(q *agentwire.ApprovalRequest) { q.Profile = "nobody" }), agentwire.NotLoggedIn},
		"no device":            {change(func(q *agentwire.ApprovalRequest) { q.Device = "" }), agentwire.Usage},
		"another id":           {change(func(q *agentwire.ApprovalRequest) { q.Device = "req_01JD5W0000000000000000000D" }), agentwire.Usage},
		"a code as typed":      {change(func(q *agentwire.ApprovalRequest) { q.UserCode = "bcdf-ghjk" }), agentwire.Usage},
		"a code of eight":      {change(func(q *agentwire.ApprovalRequest) { q.UserCode = "BCDFGHJK" }), agentwire.Usage},
		"letters out of place": {change(func(q *agentwire.ApprovalRequest) { q.UserCode = "AEIO-UAEI" }), agentwire.Usage},
		"nothing shown":        {change(func(q *agentwire.ApprovalRequest) { q.Scope = nil }), agentwire.Usage},
		"another decision":     {change(func(q *agentwire.ApprovalRequest) { q.Decision = "always" }), agentwire.Usage},
	} {
		if out, err := r.Approval(t.Context(), tt.req); !errors.Is(err, tt.want) || !out.Approval.IsZero() {
			t.Errorf("%s: %v", name, err)
		}
	}

	f, err := r.Forward(t.Context(), agentwire.ForwardRequest{Host: "build7", Profiles: []string{"me"}})
	if err != nil {
		t.Fatal(err)
	}
	remote := agentwire.NewClient(func(ctx context.Context) (net.Conn, error) { return peersock.Dial(ctx, f.Socket) })
	defer remote.Close()
	if _, err := remote.Approval(t.Context(), good); !errors.Is(err, agentwire.Unsupported) {
		t.Errorf("over the forwarded socket: %v", err)
	}
	if err := r.Lock(t.Context(), agentwire.LockRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Approval(t.Context(), good); !errors.Is(err, agentwire.Locked) {
		t.Errorf("while locked: %v", err)
	}
}

// rawApproval sends a body as it is, and gives the signature.
func (r *rig) rawApproval(body string) string {
	r.t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return peersock.Dial(ctx, r.socket) }}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).Post("http://keytether"+agentwire.PathApproval, "application/json", strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	var out agentwire.ApprovalResponse
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&out); err != nil || out.Approval.IsZero() {
		r.t.Fatalf("%d, %v", res.StatusCode, err)
	}
	return out.Approval.Reveal()
}

// Notices are kept once each, the newest first, and no more than 20.
func TestNoticesAreBounded(t *testing.T) {
	p := new(profile)
	start := time.Date(2026, time.March, 14, 9, 0, 0, 0, time.UTC)
	for i := range 30 {
		n := oauthclient.Notice{GrantID: fmt.Sprint("grt_", i), Client: "Keytether", At: start.Add(time.Duration(i) * time.Minute)}
		p.notify([]oauthclient.Notice{n, n})
		p.notify([]oauthclient.Notice{n})
	}
	if len(p.notices) != maxNotices || p.notices[0].GrantID != "grt_29" || p.notices[19].GrantID != "grt_10" {
		t.Errorf("%d: %+v", len(p.notices), p.notices)
	}
	p.notify(nil)
	if len(p.notices) != maxNotices {
		t.Error("an answer without notices took them away")
	}
}
