package edge_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
)

func apiTool(s *edgetest.Server, scope string) *edgetest.Tool {
	tool := s.NewTool(edgetest.Handshake)
	tool.Resource, tool.Scope = s.Issuer+oauth.PathAPI, scope
	tool.Login()
	return tool
}

// TestAPIRefuses calls the server's own API with one thing wrong at a time.
//
// Invariant: DP-16c, DP-16d, DP-16e, DP-17b, DP-17c, DP-18a
func TestAPIRefuses(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := apiTool(s, "account")
	api := s.NewTool(edgetest.Handshake) // a token for another resource
	api.Browser = tool.Browser
	api.Login()
	const path = oauth.PathAPI + "/whoami"
	with := func(change func(*dpop.Request)) func(*http.Request) {
		return func(r *http.Request) {
			p := dpop.Request{
				Method: http.MethodGet, URL: s.Issuer + path, Nonce: tool.APINonce, AccessToken: tool.Token.AccessToken,
				IssuedAt: s.Clock.Now(), ID: edgetest.Random(),
			}
			change(&p)
			text, err := dpop.New(tool.Key, p)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("DPoP", text)
		}
	}
	if res := tool.Call(http.MethodGet, path); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	n := s.Size()
	for _, c := range []struct {
		name string
		send func(*http.Request)
		code oauth.Code
	}{
		{"no token", func(r *http.Request) { r.Header.Del("Authorization") }, oauth.TokenMissing},
		{"Basic", func(r *http.Request) { r.SetBasicAuth("a", "b") }, oauth.TokenMissing},
		{"token in the query", func(r *http.Request) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = "access_token=" + tool.Token.AccessToken
		}, oauth.TokenMissing},
		{"as Bearer", func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+tool.Token.AccessToken) }, oauth.TokenBound},
		{"two headers", func(r *http.Request) { r.Header.Add("Authorization", "DPoP x") }, oauth.TokenInvalid},
		{"nonsense", func(r *http.Request) { r.Header.Set("Authorization", "DPoP x") }, oauth.TokenInvalid},
		{"another resource's", func(r *http.Request) { r.Header.Set("Authorization", "DPoP "+api.Token.AccessToken) }, oauth.TokenInvalid},
		{"no proof", func(r *http.Request) { r.Header.Del("DPoP") }, oauth.ProofInvalid},
		{"wrong htm", with(func(p *dpop.Request) { p.Method = http.MethodPost }), oauth.ProofInvalid},
		{"wrong htu", with(func(p *dpop.Request) { p.URL = s.Issuer + oauth.PathAPI + "/grants" }), oauth.ProofInvalid},
		{"no ath", with(func(p *dpop.Request) { p.AccessToken = "" }), oauth.ProofInvalid},
		{"ath of another", with(func(p *dpop.Request) { p.AccessToken = api.Token.AccessToken }), oauth.ProofInvalid},
		{"no nonce", with(func(p *dpop.Request) { p.Nonce = "" }), oauth.NonceRequired},
		{"nonce of the token endpoint", with(func(p *dpop.Request) { p.Nonce = tool.Nonce }), oauth.NonceRequired},
		{"another key", func(r *http.Request) {
			r.Header.Set("DPoP", api.Proof(http.MethodGet, s.Issuer+path, tool.APINonce, tool.Token.AccessToken))
		}, oauth.ProofInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := tool.CallRequest(http.MethodGet, path)
			c.send(r)
			res := s.Do(r)
			_, want := oauth.ResponseOf(oauth.Fail(c.code))
			var got oauth.Response
			_ = json.Unmarshal([]byte(res.Body), &got)
			challenge := res.Header.Get("WWW-Authenticate")
			if res.Status != http.StatusUnauthorized || got.Code != c.code || !strings.HasPrefix(challenge, "DPoP ") ||
				!strings.Contains(challenge, `algs="ES256 EdDSA"`) || res.Header.Get("DPoP-Nonce") == "" {
				t.Errorf("%d %s, challenge %q", res.Status, res.Body, challenge)
			}
			if named := strings.Contains(challenge, `error="`+want.Error+`"`); named == (c.code == oauth.TokenMissing) {
				t.Errorf("challenge %q", challenge)
			}
			// What looks like a copy ends that token (TestOwnAPITripwire).
			if c.name == "as Bearer" || c.name == "another key" {
				s.Expect(n, event.TokenTripped, event.TokenRevoked)
				renew(tool)
				n = s.Size()
			}
		})
	}
	r := tool.CallRequest(http.MethodGet, path)
	if res := s.Do(r); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	if res := s.Do(r); res.Status != http.StatusUnauthorized || !strings.Contains(res.Body, string(oauth.ProofReplayed)) {
		t.Errorf("replayed: %d %s", res.Status, res.Body)
	}
	if res := tool.Call(http.MethodPost, path); res.Status != http.StatusMethodNotAllowed || res.Header.Get("Allow") != http.MethodGet {
		t.Errorf("POST: %d", res.Status)
	}
	res := tool.Call(http.MethodGet, oauth.PathAPI+"/audit/export")
	if res.Status != http.StatusForbidden || !strings.Contains(res.Header.Get("WWW-Authenticate"), `error="insufficient_scope"`) || !strings.Contains(res.Header.Get("WWW-Authenticate"), `scope="admin"`) {
		t.Errorf("export with scope account: %d %q", res.Status, res.Header.Get("WWW-Authenticate"))
	}
	s.Expect(n)
	s.Clock.Advance(5 * time.Minute)
	if res := tool.Call(http.MethodGet, path); res.Status != http.StatusUnauthorized || !strings.Contains(res.Body, string(oauth.TokenExpired)) {
		t.Errorf("expired: %d %s", res.Status, res.Body)
	}
}

// TestAPI reads and ends one's own grants.
func TestAPI(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := apiTool(s, "account")
	other := s.NewTool(edgetest.Plain)
	other.Browser = tool.Browser
	other.Login()
	res := tool.Call(http.MethodGet, oauth.PathAPI+"/whoami")
	for _, want := range []string{`"email":"person@example.test"`, `"grant_id":"` + tool.Token.GrantID, `"client_id":"keytether"`, `"issuer":"` + s.Issuer, `"expires_at":"2026-`} {
		if !strings.Contains(res.Body, want) {
			t.Errorf("whoami lacks %s: %s", want, res.Body)
		}
	}
	res = tool.Call(http.MethodGet, oauth.PathAPI+"/grants")
	if res.Status != http.StatusOK || !strings.Contains(res.Body, tool.Token.GrantID) || !strings.Contains(res.Body, other.Token.GrantID) {
		t.Errorf("grants: %d %s", res.Status, res.Body)
	}
	n := s.Size()
	if res := tool.Call(http.MethodDelete, oauth.PathAPI+"/grants/grt_x"); res.Status != http.StatusNotFound {
		t.Errorf("unknown grant: %d %s", res.Status, res.Body)
	}
	s.Expect(n)
	if res := tool.Call(http.MethodDelete, oauth.PathAPI+"/grants/"+other.Token.GrantID); res.Status != http.StatusNoContent || res.Body != "" {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	s.Expect(n, event.GrantRevoked)
	if res := tool.Call(http.MethodDelete, oauth.PathAPI+"/grants/"+tool.Token.GrantID); res.Status != http.StatusNoContent {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	if res := tool.Call(http.MethodGet, oauth.PathAPI+"/whoami"); res.Status != http.StatusUnauthorized || !strings.Contains(res.Body, string(oauth.TokenRevoked)) {
		t.Errorf("after its grant was revoked: %d %s", res.Status, res.Body)
	}
}

// TestExport takes a copy of the audit log and verifies it.
func TestExport(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := apiTool(s, "admin")
	for _, query := range []string{"", "?facts=1"} {
		n := s.Size()
		tool.APINonce = s.Auth.APINonce()
		res := s.Stream(tool.CallRequest(http.MethodGet, oauth.PathAPI+"/audit/export"+query))
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Fatalf("%d %v %v", res.StatusCode, res.Header, err)
		}
		s.Expect(n, event.AuditExported)
		if facts := strings.Contains(string(body), edgetest.Email); facts != (query != "") {
			t.Errorf("%q: facts %v", query, facts)
		}
		report, err := audit.Verify(strings.NewReader(string(body)), audit.Options{})
		if err != nil {
			t.Errorf("the copy does not verify: %v (%+v)", err, report)
		}
	}
	n := s.Size()
	if res := tool.Call(http.MethodGet, oauth.PathAPI+"/audit/export?facts=all"); res.Status != http.StatusBadRequest {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	s.Expect(n)
}
