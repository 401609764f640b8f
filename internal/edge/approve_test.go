package edge_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/policy"
)

// trusted is an installation that logged in with a browser on its own machine.
func trusted(t *testing.T, s *edgetest.Server) *edgetest.Tool {
	t.Helper()
	tool := s.NewTool(edgetest.Handshake)
	tool.Resource, tool.Scope = s.Issuer+"/api/v1", "account"
	tool.Login()
	return tool
}

// approval signs a decision as docs/api.md says.
func approval(t *testing.T, s *edgetest.Server, key jws.Signer, typ string, change func(map[string]any), deviceID, userCode, decision string) string {
	t.Helper()
	claims := map[string]any{
		"iss": edgetest.Handshake, "aud": s.Issuer, "device": deviceID, "user_code_hash": edgetest.Hash(userCode),
		"decision": decision, "scope": "read", "iat": s.Clock.Now().Unix(), "jti": edgetest.Random(),
	}
	if change != nil {
		change(claims)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.Sign(key, typ, payload)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const approvalType = "keytether-approval+jwt"

func view(t *testing.T, tool *edgetest.Tool, code string) (map[string]any, int) {
	t.Helper()
	res := tool.Send("/api/v1/device/view", map[string]string{"user_code": code})
	var doc map[string]any
	if err := json.Unmarshal([]byte(res.Body), &doc); err != nil {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	return doc, res.Status
}

// TestApprove approves and denies from an installation that the person trusts, as
// a policy that asks for one wants it.
//
// Invariant: DF-13d
func TestApprove(t *testing.T) {
	for decision, want := range map[string]string{"allow": "", "deny": "access_denied"} {
		t.Run(decision, func(t *testing.T) {
			o := behindProxy
			o.Device = policy.DeviceRules{SameNetwork: policy.Trusted, OtherNetwork: policy.Trusted, Grant: time.Hour}
			s := edgetest.NewServer(t, o)
			mine := trusted(t, s)
			d := startDevice(t, s, edgetest.Bound)
			n := s.Size()
			doc, status := view(t, mine, strings.ToLower(d.UserCode))
			if status != http.StatusOK || doc["user_code"] != d.UserCode || doc["host"] != "build-7" || doc["address"] != "127.0.0.1" ||
				doc["client_id"] != edgetest.Bound || doc["account"] != edgetest.Email || doc["wanting"] != "allow" || doc["other_network"] != false ||
				doc["grant_lifetime"] != 3600.0 || strings.Contains(strings.ToLower(toJSON(t, doc)), "ktd_") {
				t.Errorf("%d %v", status, doc)
			}
			s.Expect(n)
			res := mine.Send("/api/v1/device/decide", map[string]string{
				"user_code": d.UserCode, "decision": decision,
				"approval": approval(t, s, mine.Key, approvalType, nil, doc["device_id"].(string), d.UserCode, decision),
			})
			if res.Status != http.StatusOK {
				t.Fatalf("%d %s", res.Status, res.Body)
			}
			name := map[string]event.Name{"allow": event.DeviceApproved, "deny": event.DeviceDenied}[decision]
			s.Expect(n, name)
			if r := s.Since(n)[0]; !strings.HasPrefix(r.Installation, "ins_") || r.Subject == "" || r.Session != "" {
				t.Errorf("%+v", r)
			}
			if got := d.poll(t); got != want {
				t.Errorf("the tool: %s", got)
			}
		})
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestApproveRefuses: nothing is decided by a signature that is not the
// installation's own, for this login, code, issuer and decision.
//
// Invariant: DF-13d
func TestApproveRefuses(t *testing.T) {
	s := edgetest.NewServer(t, behindProxy)
	mine := trusted(t, s)
	d := startDevice(t, s, edgetest.Bound)
	doc, _ := view(t, mine, d.UserCode)
	id := doc["device_id"].(string)
	n := s.Size()
	sign := func(change func(map[string]any)) string {
		return approval(t, s, mine.Key, approvalType, change, id, d.UserCode, "allow")
	}
	for name, signed := range map[string]string{
		"nothing":         "",
		"no JWS":          "a.b.c",
		"another key":     approval(t, s, edgetest.NewKey(t, ""), approvalType, nil, id, d.UserCode, "allow"),
		"another typ":     approval(t, s, mine.Key, "keytether-handshake+jwt", nil, id, d.UserCode, "allow"),
		"another client":  sign(func(c map[string]any) { c["iss"] = edgetest.Bound }),
		"another issuer":  sign(func(c map[string]any) { c["aud"] = "https://evil.test" }),
		"another login":   sign(func(c map[string]any) { c["device"] = "dev_" + strings.Repeat("0", 26) }),
		"another code":    sign(func(c map[string]any) { c["user_code_hash"] = edgetest.Hash("BCDF-GHJK") }),
		"the other word":  sign(func(c map[string]any) { c["decision"] = "deny" }),
		"no word":         sign(func(c map[string]any) { delete(c, "decision") }),
		"no scope":        sign(func(c map[string]any) { delete(c, "scope") }),
		"no time":         sign(func(c map[string]any) { delete(c, "iat") }),
		"no id":           sign(func(c map[string]any) { delete(c, "jti") }),
		"not an object":   mustSign(t, mine.Key, approvalType, []byte(`[]`)),
		"the DPoP proof":  mine.Proof(http.MethodPost, s.Issuer+"/api/v1/device/decide", "", mine.Token.AccessToken),
		"an access token": mine.Token.AccessToken,
	} {
		res := mine.Send("/api/v1/device/decide", map[string]string{"user_code": d.UserCode, "decision": "allow", "approval": signed})
		if res.Status != http.StatusBadRequest || !strings.Contains(res.Body, `"approval_invalid"`) {
			t.Errorf("%s: %d %s", name, res.Status, res.Body)
		}
	}
	for name, body := range map[string]any{
		"no decision":       map[string]string{"user_code": d.UserCode, "approval": sign(nil)},
		"another decision":  map[string]string{"user_code": d.UserCode, "approval": sign(nil), "decision": "allways"},
		"an unknown member": map[string]string{"user_code": d.UserCode, "approval": sign(nil), "decision": "allow", "scope": "write"},
		"a list":            []string{d.UserCode},
	} {
		if res := mine.Send("/api/v1/device/decide", body); res.Status != http.StatusBadRequest || !strings.Contains(res.Body, "invalid_request") {
			t.Errorf("%s: %d %s", name, res.Status, res.Body)
		}
	}
	s.Expect(n)
	if got := d.poll(t); got != "authorization_pending" {
		t.Fatal(got)
	}
}

func mustSign(t *testing.T, key jws.Signer, typ string, payload []byte) string {
	t.Helper()
	out, err := jws.Sign(key, typ, payload)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestApproverUnfit: an installation that was itself logged in with a user code
// cannot approve, for it may be a phisher's; nor can any approve its own login, or
// one without the scope; and a policy that refuses is not got round.
//
// Invariant: DF-13d
func TestApproverUnfit(t *testing.T) {
	s := edgetest.NewServer(t, behindProxy)
	phisher := startDeviceAt(t, s, edgetest.Handshake, "account", s.Issuer+"/api/v1")
	phisher.decide(t, s.NewBrowser(), phisher.UserCode, "Allow")
	if got := phisher.poll(t); got != "" {
		t.Fatal(got)
	}
	d := startDevice(t, s, edgetest.Bound)
	if doc, status := view(t, phisher.tool, d.UserCode); status != http.StatusForbidden || doc["keytether_code"] != "approver_unfit" {
		t.Errorf("logged in by code: %d %v", status, doc)
	}
	plain := s.NewTool(edgetest.Bound)
	plain.Resource, plain.Scope = s.Issuer+"/api/v1", "account"
	plain.Login()
	if doc, status := view(t, plain, d.UserCode); status != http.StatusForbidden || doc["keytether_code"] != "approver_unfit" {
		t.Errorf("a client without the handshake: %d %v", status, doc)
	}
	mine := trusted(t, s)
	own := startDeviceBy(t, s, mine, "read")
	if doc, status := view(t, mine, own.UserCode); status != http.StatusForbidden || doc["keytether_code"] != "approver_unfit" {
		t.Errorf("its own login: %d %v", status, doc)
	}
	admin := s.NewTool(edgetest.Handshake)
	admin.Resource, admin.Scope = s.Issuer+"/api/v1", "admin"
	admin.Login()
	if doc, status := view(t, admin, d.UserCode); status != http.StatusForbidden || doc["error"] != "insufficient_scope" {
		t.Errorf("without the scope: %d %v", status, doc)
	}

	for action, want := range map[policy.Action]string{policy.Refuse: "device_policy", policy.SignInAgain: "insufficient_authentication"} {
		o := behindProxy
		o.Device = policy.DeviceRules{SameNetwork: action}
		s := edgetest.NewServer(t, o)
		mine := trusted(t, s)
		s.Clock.Advance(time.Second)
		d := startDevice(t, s, edgetest.Bound)
		doc, _ := view(t, mine, d.UserCode)
		if doc["wanting"] != string(action) {
			t.Errorf("%v", doc)
		}
		n := s.Size()
		res := mine.Send("/api/v1/device/decide", map[string]string{
			"user_code": d.UserCode, "decision": "allow",
			"approval": approval(t, s, mine.Key, approvalType, nil, doc["device_id"].(string), d.UserCode, "allow"),
		})
		if !strings.Contains(res.Body, want) || res.Status == http.StatusOK {
			t.Errorf("%s: %d %s", action, res.Status, res.Body)
		}
		s.Expect(n)
	}
}

// TestApproveGuesses: wrong codes count against the account, and a code that is
// over is like none.
//
// Invariant: DF-12a
func TestApproveGuesses(t *testing.T) {
	s := edgetest.NewServer(t, behindProxy)
	mine := trusted(t, s)
	over := startDevice(t, s, edgetest.Bound)
	s.Clock.Advance(grant.UserCodeLife)
	mine.Take(mine.Post("/oauth/token", mine.RefreshParams()))
	d := startDevice(t, s, edgetest.Bound)
	for i := range 7 {
		code, status, want := wrongCode(i), http.StatusBadRequest, "user_code_wrong"
		if i == 0 {
			code = over.UserCode
		}
		if i >= 5 {
			code, status, want = d.UserCode, http.StatusTooManyRequests, "user_code_limit"
		}
		if doc, got := view(t, mine, code); got != status || doc["keytether_code"] != want {
			t.Errorf("try %d: %d %v", i, got, doc)
		}
	}
}

// TestApproveOfTyped: once a person who is signed in has typed a code, no
// installation of another account can see, allow or deny that login; one of their
// own can.
//
// Invariant: DF-13f
func TestApproveOfTyped(t *testing.T) {
	s := edgetest.NewServer(t, behindProxy)
	mine := trusted(t, s)
	other := s.NewTool(edgetest.Handshake)
	other.Resource, other.Scope = s.Issuer+"/api/v1", "account"
	other.Push()
	other.Browser.Open(other.AuthorizeURL())
	other.Browser.SignIn(edgetest.Other, edgetest.Password)
	other.Allow()
	other.Take(other.Post(oauth.PathToken, other.RedeemParams()))
	for _, decision := range []string{"allow", "deny"} {
		d := startDevice(t, s, edgetest.Bound)
		doc, _ := view(t, other, d.UserCode) // before it is typed it is anybody's who has it
		id := doc["device_id"].(string)
		d.typedFrom(t, "127.0.0.1")
		n := s.Size()
		if doc, status := view(t, other, d.UserCode); status != http.StatusBadRequest || doc["keytether_code"] != "user_code_wrong" {
			t.Errorf("another account sees it: %d %v", status, doc)
		}
		decide := func(tool *edgetest.Tool) string {
			return tool.Send("/api/v1/device/decide", map[string]string{
				"user_code": d.UserCode, "decision": decision,
				"approval": approval(t, s, tool.Key, approvalType, nil, id, d.UserCode, decision),
			}).Body
		}
		if got := decide(other); !strings.Contains(got, "user_code_wrong") {
			t.Errorf("%s by another account: %s", decision, got)
		}
		s.Expect(n)
		if got := decide(mine); !strings.Contains(got, `"decision":"`+decision) {
			t.Errorf("%s by the person's own: %s", decision, got)
		}
	}
}
