package edgetest

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
)

// Tool is a command-line tool that logs in. Its fields may be changed between
// the steps, to do something wrong.
type Tool struct {
	Client, Redirect, Resource, Scope, Mode string
	Key                                     jws.Signer // nil: no proofs
	State, Verifier                         string
	Extra                                   url.Values // more parameters of the authorization request

	RequestURI string
	Code       string
	Token      oauth.TokenResponse
	Nonce      string // the newest of the authorization server
	From       string // its address behind a trusted proxy; empty: where the test runs
	APINonce   string
	Browser    *Browser
	s          *Server
}

// NewTool makes a tool with a key, a browser and a login to begin.
func (s *Server) NewTool(client string) *Tool {
	t := &Tool{
		Client: client, Redirect: Redirect, Scope: "read", Key: NewKey(s.t, ""), State: Random(), Verifier: Random(),
		Browser: s.NewBrowser(), s: s, Extra: url.Values{},
	}
	if client == Handshake {
		t.Mode = "form_post"
	}
	if client == Plain {
		t.Key = nil
	}
	return t
}

// Random is a string of 256 random bits.
func Random() string {
	var b [32]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Hash is base64url(SHA-256(s)).
func Hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// Params are those of the authorization request.
func (t *Tool) Params() url.Values {
	p := url.Values{
		"client_id": {t.Client}, "response_type": {"code"}, "redirect_uri": {t.Redirect}, "state": {t.State},
		"code_challenge": {Hash(t.Verifier)}, "code_challenge_method": {"S256"}, "scope": {t.Scope},
	}
	for k, v := range map[string]string{"resource": t.Resource, "response_mode": t.Mode} {
		if v != "" {
			p.Set(k, v)
		}
	}
	for k, v := range t.Extra {
		p[k] = v
	}
	return p
}

// Proof makes a DPoP proof.
func (t *Tool) Proof(method, target, nonce, accessToken string) string {
	t.s.t.Helper()
	p, err := dpop.New(t.Key, dpop.Request{
		Method: method, URL: target, Nonce: nonce, AccessToken: accessToken, IssuedAt: t.s.Clock.Now(), ID: Random(),
	})
	must(t.s.t, err)
	return p
}

// Post sends a form to an endpoint of the issuer with a proof, if the tool has a
// key, and repeats it once with the nonce that is asked for.
func (t *Tool) Post(path string, form url.Values) *Response {
	t.s.t.Helper()
	res := t.PostOnce(path, form)
	if res.Status == http.StatusBadRequest && strings.Contains(res.Body, `"use_dpop_nonce"`) {
		res = t.PostOnce(path, form)
	}
	return res
}

// PostOnce does not repeat.
func (t *Tool) PostOnce(path string, form url.Values) *Response {
	t.s.t.Helper()
	r := t.s.FormRequest(path, form)
	if t.Key != nil {
		r.Header.Set("DPoP", t.Proof(http.MethodPost, t.s.Issuer+path, t.Nonce, ""))
	}
	if t.From != "" {
		r.Header.Set("X-Forwarded-For", t.From)
	}
	res := t.s.Do(r)
	if n := res.Header.Get("DPoP-Nonce"); n != "" {
		t.Nonce = n
	}
	return res
}

// FormRequest is a request that posts a form to the issuer.
func (s *Server) FormRequest(path string, form url.Values) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.Issuer+path, strings.NewReader(form.Encode()))
	must(s.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

// Push pushes the authorization request.
func (t *Tool) Push() *Response {
	t.s.t.Helper()
	res := t.Post(oauth.PathPAR, t.Params())
	var out oauth.PARResponse
	if res.Status == http.StatusCreated {
		must(t.s.t, json.Unmarshal([]byte(res.Body), &out))
		t.RequestURI = out.RequestURI
	}
	return res
}

// AuthorizeURL is what the browser is sent to: of a pushed request, if there is
// one, else of a plain one.
func (t *Tool) AuthorizeURL() string {
	q := t.Params()
	if t.RequestURI != "" {
		q = url.Values{"client_id": {t.Client}, "request_uri": {t.RequestURI}}
	}
	return t.s.Issuer + oauth.PathAuthorize + "?" + q.Encode()
}

// Consented pushes (where the client must), opens the page, signs in and comes
// to the consent page.
func (t *Tool) Consented() {
	t.s.t.Helper()
	if t.Client == Handshake {
		if res := t.Push(); res.Status != http.StatusCreated {
			t.s.t.Fatalf("PAR: %d %s", res.Status, res.Body)
		}
	}
	t.Browser.Open(t.AuthorizeURL())
	if strings.Contains(t.Browser.Page.Body, "Sign in</button>") {
		t.Browser.SignIn(Email, Password)
	}
	t.Browser.Has(t.s.t, http.StatusOK, "wants to act for you")
	u, err := url.Parse(t.Browser.URL)
	must(t.s.t, err)
	t.RequestURI = u.Query().Get("request_uri")
}

// Answer is what came to the listener, by query or by form.
func (t *Tool) Answer() url.Values {
	t.s.t.Helper()
	if t.Browser.Outside != "" {
		u, err := url.Parse(t.Browser.Outside)
		must(t.s.t, err)
		return u.Query()
	}
	f := t.Browser.Form("Continue")
	if f.Action != t.Redirect {
		t.s.t.Fatalf("the form goes to %s, not to %s", f.Action, t.Redirect)
	}
	return f.Fields
}

// HandshakeClaims are those of a right answer to a nonce.
func (t *Tool) HandshakeClaims(nonce string) map[string]any {
	return map[string]any{
		"iss": t.Client, "aud": t.s.Issuer, "iat": t.s.Clock.Now().Unix(), "request_uri_hash": Hash(t.RequestURI),
		"redirect_uri": t.Redirect, "nonce_hash": Hash(nonce),
	}
}

// HandshakeURL is where the listener sends the browser.
func (t *Tool) HandshakeURL(key jws.Signer, claims map[string]any) string {
	t.s.t.Helper()
	payload, err := json.Marshal(claims)
	must(t.s.t, err)
	signed, err := jws.Sign(key, "keytether-handshake+jwt", payload)
	must(t.s.t, err)
	return t.s.Issuer + oauth.PathHandshake + "?" + url.Values{"handshake": {signed}}.Encode()
}

// Allow presses Allow and goes on until the code is there.
func (t *Tool) Allow() {
	t.s.t.Helper()
	t.Browser.Press("Allow")
	got := t.Answer()
	if n := got.Get("handshake_nonce"); n != "" {
		t.Browser.Open(t.HandshakeURL(t.Key, t.HandshakeClaims(n)))
		got = t.Answer()
	}
	if got.Get("state") != t.State || got.Get("iss") != t.s.Issuer || got.Get("code") == "" {
		t.s.t.Fatalf("the listener got %v", got)
	}
	t.Code = got.Get("code")
}

// RedeemParams are those of the token request for the code.
func (t *Tool) RedeemParams() url.Values {
	return url.Values{
		"grant_type": {oauth.GrantAuthorizationCode}, "client_id": {t.Client}, "code": {t.Code},
		"redirect_uri": {t.Redirect}, "code_verifier": {t.Verifier},
	}
}

// RefreshParams are those of the token request for the refresh token.
func (t *Tool) RefreshParams() url.Values {
	return url.Values{
		"grant_type": {oauth.GrantRefreshToken}, "client_id": {t.Client}, "refresh_token": {t.Token.RefreshToken},
	}
}

// Take reads a token response; the test fails if it is an error.
func (t *Tool) Take(res *Response) {
	t.s.t.Helper()
	if res.Status != http.StatusOK {
		t.s.t.Fatalf("token endpoint: %d %s", res.Status, res.Body)
	}
	t.Token = oauth.TokenResponse{}
	must(t.s.t, json.Unmarshal([]byte(res.Body), &t.Token))
}

// Login does it all.
func (t *Tool) Login() {
	t.s.t.Helper()
	t.Consented()
	t.Allow()
	t.Take(t.Post(oauth.PathToken, t.RedeemParams()))
}

// Call calls the server's own API with token and proof, and repeats it once with
// the nonce that is asked for.
func (t *Tool) Call(method, path string) *Response {
	t.s.t.Helper()
	res := t.s.Do(t.CallRequest(method, path))
	if n := res.Header.Get("DPoP-Nonce"); n != "" {
		t.APINonce = n
	}
	if res.Status == http.StatusUnauthorized && strings.Contains(res.Body, `"use_dpop_nonce"`) {
		res = t.s.Do(t.CallRequest(method, path))
	}
	return res
}

// Send calls the server's own API with a JSON body, and repeats it once with the
// nonce that is asked for.
func (t *Tool) Send(path string, doc any) *Response {
	t.s.t.Helper()
	body, err := json.Marshal(doc)
	must(t.s.t, err)
	var res *Response
	for range 2 {
		r := t.CallRequest(http.MethodPost, path)
		r.Header.Set("Content-Type", "application/json")
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		res = t.s.Do(r)
		if n := res.Header.Get("DPoP-Nonce"); n != "" {
			t.APINonce = n
		}
		if res.Status != http.StatusUnauthorized || !strings.Contains(res.Body, `"use_dpop_nonce"`) {
			break
		}
	}
	return res
}

// CallRequest is the request of Call.
func (t *Tool) CallRequest(method, path string) *http.Request {
	t.s.t.Helper()
	target := t.s.Issuer + path
	r, err := http.NewRequestWithContext(t.s.t.Context(), method, target, nil)
	must(t.s.t, err)
	if t.From != "" {
		r.Header.Set("X-Forwarded-For", t.From)
	}
	r.Header.Set("Authorization", "DPoP "+t.Token.AccessToken)
	r.Header.Set("DPoP", t.Proof(method, target, t.APINonce, t.Token.AccessToken))
	return r
}

// Assertion is a private_key_jwt of the resource server API (RFC 7523).
func (s *Server) Assertion(endpoint string) string {
	return s.AssertionBy(s.API, map[string]any{
		"iss": API, "sub": API, "aud": s.Issuer + endpoint, "jti": Random(), "exp": s.Clock.Now().Unix() + 60,
	})
}

// AssertionBy signs any claims.
func (s *Server) AssertionBy(key jws.Signer, claims map[string]any) string {
	s.t.Helper()
	payload, err := json.Marshal(claims)
	must(s.t, err)
	out, err := jws.Sign(key, "JWT", payload)
	must(s.t, err)
	return out
}

// ResourceForm is a form with a fresh assertion for an endpoint, and more
// parameters (name, value, …).
func (s *Server) ResourceForm(endpoint string, more ...string) url.Values {
	f := url.Values{
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		"client_assertion":      {s.Assertion(endpoint)},
	}
	for i := 0; i+1 < len(more); i += 2 {
		f.Set(more[i], more[i+1])
	}
	return f
}
