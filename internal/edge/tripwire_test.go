package edge_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
)

// tripping is a server with a tool that is logged in.
func tripping(t *testing.T, rule grant.TripRule) (*edgetest.Server, *edgetest.Tool) {
	t.Helper()
	s := edgetest.NewServer(t, edgetest.Options{})
	s.Auth.UseRegistry(s.Auth.Registry().WithTripRule(rule))
	tool := s.NewTool(edgetest.Handshake)
	tool.Login()
	return s, tool
}

// report tells of a token as the resource server API does.
func report(s *edgetest.Server, token, kind string, more ...string) *edgetest.Response {
	more = append([]string{"token", token, "kind", kind}, more...)
	if kind == "wrong_key" && !slices.Contains(more, "proof_jkt") {
		more = append(more, "proof_jkt", strings.Repeat("A", 43))
	}
	return s.Do(s.FormRequest(oauth.PathTripwire, s.ResourceForm(oauth.PathTripwire, more...)))
}

func renew(tool *edgetest.Tool) { tool.Take(tool.Post(oauth.PathToken, tool.RefreshParams())) }

func accepted(t *testing.T, res *edgetest.Response) {
	t.Helper()
	if res.Status != http.StatusNoContent || res.Body != "" {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
}

// live asks whether a token is good, as the resource server would.
func live(s *edgetest.Server, token string) bool {
	res := s.Do(s.FormRequest(oauth.PathIntrospect, s.ResourceForm(oauth.PathIntrospect, "token", token)))
	return strings.Contains(res.Body, `"active":true`)
}

// TestCopiedTokenEnds: a copy of an access token was used with another key. That
// token ends, at the feed and in the log; the person reads of it at /me, still
// after a restart; the login goes on.
//
// Invariant: TW-1, TW-6
func TestCopiedTokenEnds(t *testing.T) {
	s, tool := tripping(t, "")
	n := s.Size()
	token := tool.Token.AccessToken
	accepted(t, report(s, token, "wrong_key", "address", "203.0.113.9"))
	got := s.Since(n)
	if len(got) != 2 || got[0].Name != event.TokenTripped || got[1].Name != event.TokenRevoked || got[1].Reason != event.ReasonCopied ||
		got[0].JTI == "" || got[0].JTI != got[1].JTI || got[0].Detail != "wrong_key" || got[0].Grant != tool.Token.GrantID || got[0].Resource != edgetest.API {
		t.Fatalf("recorded %+v", got)
	}
	if live(s, token) {
		t.Error("the copied token is still good")
	}
	_, snap := s.Auth.Listen(edgetest.API)
	if len(snap.Tokens) != 1 || snap.Tokens[0].ID != got[0].JTI || len(snap.Grants) != 0 {
		t.Errorf("the feed has %+v", snap)
	}
	banner := func() {
		t.Helper()
		tool.Browser.Open(s.Issuer + "/me")
		for _, want := range []string{"A copy of a token was used at Example API, from 203.0.113.9", "the login of Keytether goes on", `role="alert"`} {
			tool.Browser.Has(t, http.StatusOK, want)
		}
	}
	banner()
	s.Restart()
	banner()
	n = s.Size()
	accepted(t, report(s, token, "wrong_key")) // told twice
	s.Expect(n)
	renew(tool)
	if !live(s, tool.Token.AccessToken) {
		t.Error("the login did not go on")
	}
	s.Clock.Advance(8 * 24 * time.Hour)
	if a := s.Auth.Alarms(got[0].Subject); len(a) != 0 {
		t.Errorf("warned for ever: %+v", a)
	}
}

// TestReportsThatFireNothing: what is no live, bound token of ours for the
// resource server that asks.
//
// Invariant: TW-2
func TestReportsThatFireNothing(t *testing.T) {
	s, tool := tripping(t, grant.TripAlways)
	foreign := codeFor(s, edgetest.Plain, tool.Browser)
	foreign.Take(foreign.Post(oauth.PathToken, foreign.RedeemParams()))
	mine := apiTool(s, "account") // for the server's own API
	n := s.Size()
	for name, form := range wrongAssertions(t, s, oauth.PathIntrospect) {
		form.Set("token", tool.Token.AccessToken)
		form.Set("kind", "bearer")
		if name == "replayed" {
			continue
		}
		if res := s.Do(s.FormRequest(oauth.PathTripwire, form)); res.Status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, res.Status, res.Body)
		}
	}
	refused(t, report(s, foreign.Token.AccessToken, "bearer"), oauth.ResourceOther)
	refused(t, report(s, mine.Token.AccessToken, "wrong_key"), oauth.ResourceOther)
	refused(t, report(s, tool.Token.AccessToken, "leaked"), oauth.BadRequest)
	refused(t, report(s, tool.Token.AccessToken, ""), oauth.BadRequest)
	refused(t, report(s, tool.Token.AccessToken, "wrong_key", "proof_jkt", "short"), oauth.BadRequest)
	refused(t, report(s, tool.Token.AccessToken, "wrong_key", "proof_jkt", ""), oauth.BadRequest)
	refused(t, report(s, tool.Token.AccessToken, "bearer", "address", "somewhere"), oauth.BadRequest)
	refused(t, report(s, "", "bearer"), oauth.MissingParameter)
	token := tool.Token.AccessToken
	for name, text := range map[string]string{
		"grant id": tool.Token.GrantID, "refresh token": tool.Token.RefreshToken, "nonsense": "x", "forged": token[:len(token)-4] + "AAAA",
		"no signature": token[:strings.LastIndexByte(token, '.')+1],
	} {
		t.Run(name, func(t *testing.T) { accepted(t, report(s, text, "wrong_key")) })
	}
	accepted(t, report(s, token, "wrong_key", "proof_jkt", tool.Key.Public().Thumbprint())) // it was the right key
	s.Expect(n)
	if !live(s, token) {
		t.Error("the token has ended")
	}
	s.Clock.Advance(grant.AccessTokenLife)
	accepted(t, report(s, token, "wrong_key"))
	s.Expect(n)
	renew(tool)
}

// TestLogReaderCannotLogOut: who reads one token in a log ends that one, whatever
// he does with it and from wherever. Only one who has the next one too, within
// ten minutes, is taken for a thief at work; and the person logs in again.
//
// Invariant: TW-3
func TestLogReaderCannotLogOut(t *testing.T) {
	s, tool := tripping(t, "")
	for range 4 {
		n := s.Size()
		for range 10 {
			accepted(t, report(s, tool.Token.AccessToken, "wrong_key", "address", "203.0.113.9"))
			accepted(t, report(s, tool.Token.AccessToken, "bearer", "address", "203.0.113.9"))
		}
		s.Expect(n, event.TokenTripped, event.TokenRevoked)
		s.Clock.Advance(grant.TripWindow + time.Second)
		renew(tool)
	}
	accepted(t, report(s, tool.Token.AccessToken, "wrong_key"))
	renew(tool)
	n := s.Size()
	accepted(t, report(s, tool.Token.AccessToken, "wrong_key"))
	s.Expect(n, event.TokenTripped, event.GrantRevoked)
	refused(t, tool.Post(oauth.PathToken, tool.RefreshParams()), oauth.GrantEnded)
	tool.Browser.Open(s.Issuer + "/me")
	tool.Browser.Has(t, http.StatusOK, "was ended; log in again")
	again := s.NewTool(edgetest.Handshake)
	again.Key = tool.Key
	again.Login()
	if !live(s, again.Token.AccessToken) {
		t.Error("the person is out for good")
	}
}

// TestGatewayThatDropsProofs makes every request look like a copy, all day, from
// the resource server's own network. Nobody is logged out, and a record is made
// once a minute at most.
//
// Invariant: TW-4
func TestGatewayThatDropsProofs(t *testing.T) {
	for _, rule := range []grant.TripRule{"", grant.TripRepetition, grant.TripOtherNetwork, grant.TripNever} {
		s, tool := tripping(t, rule)
		accepted(t, report(s, tool.Token.AccessToken, "wrong_key")) // nor beside a real copy
		renew(tool)
		n := s.Size()
		for range 60 {
			for range 5 {
				accepted(t, report(s, tool.Token.AccessToken, "bearer", "address", "10.0.0.7"))
				renew(tool)
			}
			s.Clock.Advance(10 * time.Second)
		}
		ended := 0
		for _, e := range s.Events(n) {
			if e == event.TokenTripped {
				ended++
			}
			if e == event.GrantRevoked {
				t.Fatalf("%q: logged out", rule)
			}
		}
		if ended != 10 {
			t.Errorf("%q: %d alarms in ten minutes", rule, ended)
		}
	}
	s, tool := tripping(t, grant.TripAlways)
	n := s.Size()
	accepted(t, report(s, tool.Token.AccessToken, "bearer"))
	s.Expect(n, event.TokenTripped, event.GrantRevoked)
}

// TestOtherNetworkRule ends the grant for a copy on another network than its
// tool, and not where that cannot be told.
//
// Invariant: TW-3
func TestOtherNetworkRule(t *testing.T) {
	for from, ends := range map[string]bool{
		"": false, "127.0.0.1": false, "::1": false, "203.0.113.9": false, "2001:db8::1": false,
	} {
		s, tool := tripping(t, grant.TripOtherNetwork) // the tool is on loopback
		accepted(t, report(s, tool.Token.AccessToken, "wrong_key", "address", from))
		if out := tool.Post(oauth.PathToken, tool.RefreshParams()).Status != http.StatusOK; out != ends {
			t.Errorf("%q: logged out %v", from, out)
		}
	}
	for from, ends := range map[string]bool{
		"198.51.100.1": false, "198.51.100.2": true, "10.0.0.1": false, "2001:db8::1": false,
	} {
		s, tool := tripping(t, grant.TripOtherNetwork)
		s.Auth.SeenAt(tool.Token.GrantID, netip.MustParseAddr("198.51.100.1"))
		accepted(t, report(s, tool.Token.AccessToken, "wrong_key", "address", from))
		if out := tool.Post(oauth.PathToken, tool.RefreshParams()).Status != http.StatusOK; out != ends {
			t.Errorf("%q: logged out %v", from, out)
		}
	}
}

// TestReportFlood: a resource server gone mad is told to wait, and another one
// is not.
//
// Invariant: TW-4
func TestReportFlood(t *testing.T) {
	s, tool := tripping(t, "")
	n := s.Size()
	limited := 0
	for range 700 {
		if res := report(s, "x", "bearer"); res.Status == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited != 100 {
		t.Errorf("%d of 700 refused", limited)
	}
	s.Expect(n)
	s.Clock.Advance(time.Minute)
	accepted(t, report(s, tool.Token.AccessToken, "bearer"))
	for range 2000 { // strangers
		if res := s.Do(s.FormRequest(oauth.PathTripwire, url.Values{"token": {"x"}})); res.Status == http.StatusTooManyRequests {
			return
		}
	}
	t.Error("a stranger may ask for ever")
}

// TestOwnAPITripwire is the same at the server's own API.
//
// Invariant: TW-5
func TestOwnAPITripwire(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	const path = oauth.PathAPI + "/whoami"
	thief := s.NewTool(edgetest.Handshake)
	steal := func(tool *edgetest.Tool) *http.Request {
		r := tool.CallRequest(http.MethodGet, path)
		r.Header.Set("DPoP", thief.Proof(http.MethodGet, s.Issuer+path, tool.APINonce, tool.Token.AccessToken))
		return r
	}
	tool := apiTool(s, "account")
	if res := tool.Call(http.MethodGet, path); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	n := s.Size()
	for name, change := range map[string]func(r *http.Request){
		"no proof": func(r *http.Request) { r.Header.Del("DPoP") },
		"nonsense": func(r *http.Request) { r.Header.Set("DPoP", "x") },
		"no nonce": func(r *http.Request) {
			r.Header.Set("DPoP", thief.Proof("GET", s.Issuer+path, "", tool.Token.AccessToken))
		},
		"wrong htu": func(r *http.Request) {
			r.Header.Set("DPoP", thief.Proof("GET", s.Issuer, tool.APINonce, tool.Token.AccessToken))
		},
		"wrong ath":    func(r *http.Request) { r.Header.Set("DPoP", thief.Proof("GET", s.Issuer+path, tool.APINonce, "x")) },
		"forged":       func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+tool.Token.AccessToken[:40]) },
		"a grant's id": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+tool.Token.GrantID) },
	} {
		r := steal(tool)
		change(r)
		if res := s.Do(r); res.Status != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, res.Status)
		}
	}
	s.Expect(n)
	if res := s.Do(steal(tool)); res.Status != http.StatusUnauthorized || !strings.Contains(res.Body, string(oauth.ProofInvalid)) {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	s.Expect(n, event.TokenTripped, event.TokenRevoked)
	if got := s.Since(n)[0]; got.Detail != "wrong_key" || got.Grant != tool.Token.GrantID {
		t.Errorf("%+v", got)
	}
	if res := tool.Call(http.MethodGet, path); !strings.Contains(res.Body, string(oauth.TokenRevoked)) {
		t.Errorf("the copied token: %d %s", res.Status, res.Body)
	}
	renew(tool)
	n = s.Size()
	r := tool.CallRequest(http.MethodGet, path)
	r.Header.Set("Authorization", "Bearer "+tool.Token.AccessToken)
	if res := s.Do(r); res.Status != http.StatusUnauthorized || !strings.Contains(res.Body, string(oauth.TokenBound)) {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	s.Expect(n, event.TokenTripped, event.TokenRevoked)
	renew(tool)
	s.Clock.Advance(grant.AccessTokenLife)
	n = s.Size()
	if res := s.Do(steal(tool)); !strings.Contains(res.Body, string(oauth.TokenExpired)) {
		t.Errorf("expired: %d %s", res.Status, res.Body)
	}
	s.Expect(n)
}
