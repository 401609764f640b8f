package oauthclient

import (
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/oauth"
	"pgregory.net/rapid"
)

const (
	testIssuer = "https://auth.example.test"
	testState  = "the-state-of-this-login"
)

var testNonce = strings.Repeat("n", 43)

// ours is a login at a server like ours whose browser is on its way.
func ours() flow {
	return flow{
		issuer: testIssuer, origins: []string{testIssuer}, needOrigin: true, needISS: true, canSign: true, formPost: true,
		state: testState, redirectURI: "http://127.0.0.1:1/callback", opened: true, asked: true, requestURI: "urn:x",
	}
}

// plainest is one at a server that knows nothing of it.
func plainest() flow {
	return flow{issuer: testIssuer, origins: []string{testIssuer}, state: testState, opened: true, asked: true}
}

// post is an honest callback with changes: "name=value" sets, "name=" takes away.
func post(t testing.TB, origin string, changes ...string) callback {
	t.Helper()
	v := url.Values{"state": {testState}, "iss": {testIssuer}, "code": {"c"}}
	for _, c := range changes {
		name, value, _ := strings.Cut(c, "=")
		v.Set(name, value)
		if value == "" {
			v.Del(name)
		}
	}
	p, err := oauth.ParseParams(v.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return callback{post: true, origin: origin, hasOrigin: origin != "", params: p}
}

// TestFlowReceives gives the listener one right callback and wrong ones.
//
// Invariant: CF-7b, HS-4
func TestFlowReceives(t *testing.T) {
	get := func(c callback) callback { c.post = false; return c }
	tests := []struct {
		name string
		flow flow
		c    callback
		want verdict
	}{
		{"a code", ours(), post(t, testIssuer), redeem},
		{"a nonce", ours(), post(t, testIssuer, "code=", "handshake_nonce="+testNonce), sign},
		{"an error", ours(), post(t, testIssuer, "code=", "error=access_denied"), fail},

		{"wrong state", ours(), post(t, testIssuer, "state=other"), refuse},
		{"state cut", ours(), post(t, testIssuer, "state="+testState[1:]), refuse},
		{"no state", ours(), post(t, testIssuer, "state="), refuse},
		{"error with wrong state", ours(), post(t, testIssuer, "code=", "error=access_denied", "state=x"), refuse},
		{"wrong iss", ours(), post(t, testIssuer, "iss=https://evil.test"), refuse},
		{"iss with a slash", ours(), post(t, testIssuer, "iss="+testIssuer+"/"), refuse},
		{"no iss though promised", ours(), post(t, testIssuer, "iss="), refuse},
		{"error without iss though promised", ours(), post(t, testIssuer, "code=", "error=server_error", "iss="), refuse},
		{"wrong origin", ours(), post(t, "https://evil.test"), refuse},
		{"origin of another port", ours(), post(t, testIssuer+":8443"), refuse},
		{"origin null", ours(), post(t, "null"), refuse},
		{"no origin", ours(), post(t, ""), refuse},
		{"by GET though form_post was asked", ours(), get(post(t, testIssuer)), refuse},
		{"code and error", ours(), post(t, testIssuer, "error=access_denied"), refuse},
		{"code and nonce", ours(), post(t, testIssuer, "handshake_nonce="+testNonce), refuse},
		{"neither", ours(), post(t, testIssuer, "code="), refuse},
		{"short nonce", ours(), post(t, testIssuer, "code=", "handshake_nonce="+testNonce[1:]), refuse},
		{"long nonce", ours(), post(t, testIssuer, "code=", "handshake_nonce="+strings.Repeat("n", 257)), refuse},
		{"nonce that is no base64url", ours(), post(t, testIssuer, "code=", "handshake_nonce="+testNonce[1:]+"/"), refuse},

		{"plain code in the query", plainest(), get(post(t, "", "iss=")), redeem},
		{"plain code with the right iss", plainest(), get(post(t, "")), redeem},
		{"plain code with a wrong iss", plainest(), get(post(t, "", "iss=https://evil.test")), refuse},
		{"plain code by POST though not asked", plainest(), post(t, testIssuer), refuse},
		{"a nonce that was not agreed on", plainest(), get(post(t, "", "code=", "handshake_nonce="+testNonce)), refuse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := tt.flow
			d := f.receive(tt.c)
			if d.verdict != tt.want {
				t.Fatalf("got %v (%s), want %v", d.verdict, d.why, tt.want)
			}
			if tt.want == refuse && !reflect.DeepEqual(f, tt.flow) {
				t.Errorf("a refused callback changed the login: %+v", f)
			}
			if tt.want == refuse && (d.why == "" || !d.code.IsZero()) {
				t.Error("a refusal without a reason, or with a code")
			}
		})
	}
}

func TestFlowOriginOfOtherServers(t *testing.T) {
	f := plainest()
	f.formPost = true
	for origin, want := range map[string]verdict{testIssuer: redeem, "null": redeem, "": redeem, "https://evil.test": refuse} {
		g := f
		if d := g.receive(post(t, origin)); d.verdict != want {
			t.Errorf("origin %q: %v", origin, d.verdict)
		}
	}
}

func TestFlowBeforeTheLinkWasOpened(t *testing.T) {
	f := ours()
	f.opened, f.asked, f.requestURI = false, false, ""
	if d := f.receive(post(t, testIssuer)); d.verdict != refuse {
		t.Errorf("got %v", d.verdict)
	}
	if !f.open() || f.open() {
		t.Error("the start link must open once")
	}
}

// TestFlowSignsEachNonceOnceAndFew posts nonces again, and too many.
//
// Invariant: HS-4
func TestFlowSignsEachNonceOnceAndFew(t *testing.T) {
	f := ours()
	for i := range maxNonces {
		n := fmt.Sprintf("%s%d", testNonce, i)
		if d := f.receive(post(t, testIssuer, "code=", "handshake_nonce="+n)); d.verdict != sign || d.nonce != n {
			t.Fatalf("nonce %d: %v", i, d.verdict)
		}
		if d := f.receive(post(t, testIssuer, "code=", "handshake_nonce="+n)); d.verdict != refuse {
			t.Fatalf("nonce %d a second time: %v", i, d.verdict)
		}
	}
	if d := f.receive(post(t, testIssuer, "code=", "handshake_nonce="+testNonce+"x")); d.verdict != refuse {
		t.Errorf("one too many: %v", d.verdict)
	}
	if d := f.receive(post(t, testIssuer)); d.verdict != redeem {
		t.Errorf("the code after them: %v", d.verdict)
	}
	if d := f.receive(post(t, testIssuer)); d.verdict != refuse {
		t.Errorf("a second code: %v", d.verdict)
	}
	if d := f.receive(post(t, testIssuer, "code=", "handshake_nonce="+testNonce+"y")); d.verdict != refuse {
		t.Errorf("a nonce after the code: %v", d.verdict)
	}
}

// No number of stray callbacks, in any order, keeps the honest one from being
// accepted, and none of them is.
//
// Invariant: LB-1
func TestFlowStrayCallbacksChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := ours()
		n := rapid.IntRange(0, 20).Draw(t, "n")
		for range n {
			v := url.Values{}
			for _, name := range []string{"state", "iss", "code", "error", "handshake_nonce"} {
				if x := rapid.SampledFrom([]string{"", "x", testIssuer, testNonce}).Draw(t, name); x != "" {
					v.Set(name, x)
				}
			}
			c := callback{post: rapid.Bool().Draw(t, "post"), origin: rapid.SampledFrom([]string{"", "null", testIssuer, "https://evil.test"}).Draw(t, "origin")}
			c.hasOrigin = c.origin != ""
			c.params, _ = oauth.ParseParams(v.Encode())
			if d := f.receive(c); d.verdict != refuse {
				t.Fatalf("accepted without the state: %+v", c)
			}
		}
		p, _ := oauth.ParseParams(url.Values{"state": {testState}, "iss": {testIssuer}, "code": {"c"}}.Encode())
		if d := f.receive(callback{post: true, origin: testIssuer, hasOrigin: true, params: p}); d.verdict != redeem {
			t.Fatalf("the honest callback was refused: %s", d.why)
		}
	})
}

func TestRefusalSentinels(t *testing.T) {
	for code, want := range map[string]error{
		"access_denied": ErrDenied, "invalid_grant": ErrInvalidGrant, "invalid_scope": ErrInvalidScope, "invalid_target": ErrTarget,
	} {
		if err := error(refusal(code, "", "")); !errors.Is(err, want) || !errors.Is(err, ErrRefused) {
			t.Errorf("%s is not %v", code, want)
		}
	}
	r := refusal("x\x1b[2Jy", "a\nb\u202e"+strings.Repeat("c", 400), "")
	if r.Code != "x[2Jy" || len(r.Description) != 300 || strings.ContainsAny(r.Description, "\n\u202e") {
		t.Errorf("%q %q", r.Code, r.Description)
	}
}
