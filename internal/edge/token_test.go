package edge_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// wrong is a request that is wrong in one way, and what it must be answered.
type wrong struct {
	name string
	form func(tool *edgetest.Tool, f url.Values)    // changes the right form
	send func(tool *edgetest.Tool, r *http.Request) // changes the right request
	code oauth.Code
}

// refused fails the test unless a response is the catalogue's for a code.
func refused(t *testing.T, res *edgetest.Response, code oauth.Code) {
	t.Helper()
	status, want := oauth.ResponseOf(oauth.Fail(code))
	var got oauth.Response
	if err := json.Unmarshal([]byte(res.Body), &got); err != nil {
		t.Fatalf("not JSON: %d %s", res.Status, res.Body)
	}
	if res.Status != status || got.Error != want.Error || got.Code != code {
		t.Errorf("answered %d %s (%s), want %d %s (%s)", res.Status, got.Error, got.Code, status, want.Error, code)
	}
	if ct := res.Header.Get("Content-Type"); ct != "application/json" {
		t.Errorf("content type %q", ct)
	}
}

// post sends the right request, changed as w says.
func (w wrong) post(s *edgetest.Server, tool *edgetest.Tool, path string, form url.Values) *edgetest.Response {
	if w.form != nil {
		w.form(tool, form)
	}
	r := s.FormRequest(path, form)
	if tool.Key != nil {
		r.Header.Set("DPoP", tool.Proof(http.MethodPost, s.Issuer+path, tool.Nonce, ""))
	}
	if w.send != nil {
		w.send(tool, r)
	}
	return s.Do(r)
}

func proof(tool *edgetest.Tool, change func(*dpop.Request)) func(*edgetest.Server, *http.Request, string) {
	return func(s *edgetest.Server, r *http.Request, path string) {
		p := dpop.Request{Method: http.MethodPost, URL: s.Issuer + path, Nonce: tool.Nonce, IssuedAt: s.Clock.Now(), ID: edgetest.Random()}
		change(&p)
		text, err := dpop.New(tool.Key, p)
		if err != nil {
			panic(err)
		}
		r.Header.Set("DPoP", text)
	}
}

// wrongProofs are what may be wrong with a proof at an endpoint for which one is
// required.
func wrongProofs(s *edgetest.Server, path string) []wrong {
	with := func(change func(*dpop.Request)) func(*edgetest.Tool, *http.Request) {
		return func(tool *edgetest.Tool, r *http.Request) { proof(tool, change)(s, r, path) }
	}
	return []wrong{
		{name: "no proof", code: oauth.ProofRequired, send: func(_ *edgetest.Tool, r *http.Request) { r.Header.Del("DPoP") }},
		{name: "two proofs", code: oauth.ProofInvalid, send: func(tool *edgetest.Tool, r *http.Request) {
			r.Header.Add("DPoP", tool.Proof(http.MethodPost, s.Issuer+path, tool.Nonce, ""))
		}},
		{name: "no JWS", code: oauth.ProofInvalid, send: func(_ *edgetest.Tool, r *http.Request) { r.Header.Set("DPoP", "x") }},
		{name: "wrong htm", code: oauth.ProofInvalid, send: with(func(p *dpop.Request) { p.Method = http.MethodGet })},
		{name: "wrong htu", code: oauth.ProofInvalid, send: with(func(p *dpop.Request) { p.URL = s.Issuer + oauth.PathJWKS })},
		{name: "htu of another host", code: oauth.ProofInvalid, send: with(func(p *dpop.Request) { p.URL = "https://other.test" + path })},
		{name: "no nonce", code: oauth.NonceRequired, send: with(func(p *dpop.Request) { p.Nonce = "" })},
		{name: "forged nonce", code: oauth.NonceRequired, send: with(func(p *dpop.Request) { p.Nonce = edgetest.Random() })},
		{name: "nonce of the API", code: oauth.NonceRequired, send: with(func(p *dpop.Request) { p.Nonce = s.Auth.APINonce() })},
		{name: "stale", code: oauth.NonceRequired, send: func(_ *edgetest.Tool, _ *http.Request) { s.Clock.Advance(grant.NonceLife + time.Second) }},
		{name: "signature cut", code: oauth.ProofInvalid, send: func(_ *edgetest.Tool, r *http.Request) {
			p := r.Header.Get("DPoP")
			r.Header.Set("DPoP", p[:len(p)-6]+"AAAAAA")
		}},
	}
}

// wrongForms are what may be wrong with any form for programs.
func wrongForms() []wrong {
	with := func(change func(string) string) func(*edgetest.Tool, *http.Request) {
		return func(_ *edgetest.Tool, r *http.Request) {
			f := change(read(r))
			r.Body = body(f)
			r.ContentLength = int64(len(f))
		}
	}
	return []wrong{
		{name: "GET", code: oauth.BadMethod, send: func(_ *edgetest.Tool, r *http.Request) { r.Method = http.MethodGet }},
		{name: "PUT", code: oauth.BadMethod, send: func(_ *edgetest.Tool, r *http.Request) { r.Method = http.MethodPut }},
		{name: "JSON", code: oauth.BadContentType, send: func(_ *edgetest.Tool, r *http.Request) { r.Header.Set("Content-Type", "application/json") }},
		{name: "no content type", code: oauth.BadContentType, send: func(_ *edgetest.Tool, r *http.Request) { r.Header.Del("Content-Type") }},
		{name: "doubled", code: oauth.DuplicateParameter, send: with(func(s string) string { return s + "&client_id=x&client_id=x" })},
		{name: "oversized parameter", code: oauth.TooLarge, send: with(func(s string) string { return s + "&x=" + strings.Repeat("x", oauth.MaxParam+1) })},
		{name: "oversized body", code: oauth.TooLarge, send: with(func(s string) string { return s + strings.Repeat("&", oauth.MaxBody) })},
		{name: "oversized body in chunks", code: oauth.TooLarge, send: func(_ *edgetest.Tool, r *http.Request) {
			r.Body, r.ContentLength = chunks(read(r)+strings.Repeat("&", oauth.MaxBody)), -1
		}},
		{name: "too many", code: oauth.TooLarge, send: with(func(s string) string { return s + manyParams() })},
		{name: "malformed", code: oauth.BadRequest, send: with(func(s string) string { return s + "&x=%zz" })},
		{name: "NUL", code: oauth.BadRequest, send: with(func(s string) string { return s + "&x=%00" })},
		{name: "empty", code: oauth.MissingParameter, send: with(func(string) string { return "" })},
	}
}

// TestTokenRefusesCode sends one wrong thing at a time with a good code. Nothing
// is recorded, and the code is still good.
//
// Invariant: CL-2, CF-3c, CF-5a, CF-5b, DP-17c, DP-18e, DP-18f, TK-21a
func TestTokenRefusesCode(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	first := s.NewTool(edgetest.Bound)
	first.Login()
	set := func(name, value string) func(*edgetest.Tool, url.Values) {
		return func(_ *edgetest.Tool, f url.Values) { f.Set(name, value) }
	}
	drop := func(name string) func(*edgetest.Tool, url.Values) {
		return func(_ *edgetest.Tool, f url.Values) { f.Del(name) }
	}
	cases := append(wrongForms(), wrongProofs(s, oauth.PathToken)...)
	cases = append(cases, []wrong{
		{name: "no grant_type", form: drop("grant_type"), code: oauth.MissingParameter},
		{name: "grant_type password", form: set("grant_type", "password"), code: oauth.UnsupportedGrantType},
		{name: "grant_type implicit", form: set("grant_type", "implicit"), code: oauth.UnsupportedGrantType},
		{name: "no client", form: drop("client_id"), code: oauth.MissingParameter},
		{name: "unknown client", form: set("client_id", "nobody"), code: oauth.UnknownClient},
		{name: "other client", form: set("client_id", edgetest.Handshake), code: oauth.CodeForeign},
		{name: "client_secret", form: set("client_secret", "x"), code: oauth.ClientAuthentication},
		{name: "Basic", send: func(_ *edgetest.Tool, r *http.Request) { r.SetBasicAuth(edgetest.Bound, "") }, code: oauth.ClientAuthentication},
		{name: "no code", form: drop("code"), code: oauth.MissingParameter},
		{name: "code in the query", form: func(_ *edgetest.Tool, f url.Values) { f.Del("code") }, code: oauth.MissingParameter, send: func(tool *edgetest.Tool, r *http.Request) {
			r.URL.RawQuery = url.Values{"code": {tool.Code}}.Encode()
		}},
		{name: "no code at all", form: set("code", "x"), code: oauth.CodeUnknown},
		{name: "well-formed code of nobody", form: set("code", "ktc_"+strings.Repeat("0", 49)), code: oauth.CodeUnknown},
		{name: "refresh token as code", form: func(_ *edgetest.Tool, f url.Values) { f.Set("code", first.Token.RefreshToken) }, code: oauth.CodeUnknown},
		{name: "no redirect_uri", form: drop("redirect_uri"), code: oauth.CodeRedirect},
		{name: "other port", form: set("redirect_uri", "http://127.0.0.1:43211/callback"), code: oauth.CodeRedirect},
		{name: "no verifier", form: drop("code_verifier"), code: oauth.CodeVerifier},
		{name: "wrong verifier", form: set("code_verifier", edgetest.Random()), code: oauth.CodeVerifier},
		{name: "short verifier", form: set("code_verifier", strings.Repeat("a", 42)), code: oauth.CodeVerifier},
		{name: "other resource", form: set("resource", edgetest.OpenAPI), code: oauth.ResourceOther},
		{name: "two resources", form: func(_ *edgetest.Tool, f url.Values) { f["resource"] = []string{edgetest.API, edgetest.API} }, code: oauth.ResourceSeveral},
		{name: "resource with fragment", form: set("resource", edgetest.API+"#x"), code: oauth.ResourceUnknown},
		{name: "relative resource", form: set("resource", "/x"), code: oauth.ResourceUnknown},
	}...)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tool := codeFor(s, edgetest.Bound, first.Browser)
			n := s.Size()
			res := c.post(s, tool, oauth.PathToken, tool.RedeemParams())
			refused(t, res, c.code)
			s.Expect(n)
			if res.Header.Get("DPoP-Nonce") == "" && c.code != oauth.BadMethod {
				t.Error("no DPoP-Nonce")
			}
			if c.name == "stale" {
				return // the code is too old as well by now
			}
			tool.Take(tool.Post(oauth.PathToken, tool.RedeemParams()))
		})
	}
}

// codeFor logs in with a browser that is signed in, up to a code. The tool has a
// nonce.
func codeFor(s *edgetest.Server, client string, b *edgetest.Browser) *edgetest.Tool {
	tool := s.NewTool(client)
	tool.Browser = b
	tool.Extra.Set("dpop_jkt", "")
	if tool.Key != nil {
		tool.Extra.Set("dpop_jkt", tool.Key.Public().Thumbprint())
	}
	tool.Nonce = s.Auth.Nonce()
	tool.Consented()
	tool.Allow()
	return tool
}

// TestTokenRefusesWrongKey redeems with a proof by another key than the one the
// request was bound to.
//
// Invariant: DP-18d
func TestTokenRefusesWrongKey(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Handshake)
	tool.Consented()
	tool.Allow()
	own := tool.Key
	tool.Key = edgetest.NewKey(t, "")
	n := s.Size()
	refused(t, tool.Post(oauth.PathToken, tool.RedeemParams()), oauth.CodeKey)
	s.Expect(n)
	tool.Key = own
	tool.Take(tool.Post(oauth.PathToken, tool.RedeemParams()))
}

// TestTokenReplayedProof sends one proof twice.
//
// Invariant: DP-17b
func TestTokenReplayedProof(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Bound)
	tool.Login()
	proof := tool.Proof(http.MethodPost, s.Issuer+oauth.PathToken, tool.Nonce, "")
	send := func() *edgetest.Response {
		r := s.FormRequest(oauth.PathToken, tool.RefreshParams())
		r.Header.Set("DPoP", proof)
		return s.Do(r)
	}
	tool.Take(send())
	n := s.Size()
	refused(t, send(), oauth.ProofReplayed)
	s.Expect(n)
}

// TestCodeTwice uses a code again: refused, and what it gave is revoked, but not
// by somebody who has the code alone.
//
// Invariant: CF-4a, CF-4b
func TestCodeTwice(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Handshake)
	tool.Login()
	n := s.Size()
	wrong := tool.RedeemParams()
	wrong.Set("code_verifier", edgetest.Random())
	refused(t, tool.Post(oauth.PathToken, wrong), oauth.CodeVerifier)
	s.Expect(n)
	refused(t, tool.Post(oauth.PathToken, tool.RedeemParams()), oauth.CodeReused)
	s.Expect(n, event.CodeReused, event.GrantRevoked)
	n = s.Size()
	refused(t, tool.Post(oauth.PathToken, tool.RefreshParams()), oauth.GrantEnded)
	s.Expect(n)
}

// TestCodeExpires redeems a code after its 30 seconds.
func TestCodeExpires(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Handshake)
	tool.Consented()
	tool.Allow()
	s.Clock.Advance(grant.CodeLife)
	n := s.Size()
	refused(t, tool.Post(oauth.PathToken, tool.RedeemParams()), oauth.CodeExpired)
	s.Expect(n, event.RequestExpired)
}

// TestTokenRefusesRefresh sends one wrong thing at a time with a good refresh
// token. Nothing is recorded, and the token is still good.
//
// Invariant: DP-18c, TK-19a, TK-19b, TK-19c, GR-4
func TestTokenRefusesRefresh(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Bound)
	tool.Login()
	forged := func(_ *edgetest.Tool, f url.Values) {
		b := []byte(f.Get("refresh_token"))
		b[20]++
		f.Set("refresh_token", string(b))
	}
	// What somebody would make who knows the grant, and nothing of the server's key.
	madeUp := func(tool *edgetest.Tool, f url.Values) {
		raw, err := id.Parse(id.Grant, tool.Token.GrantID)
		if err != nil {
			t.Fatal(err)
		}
		f.Set("refresh_token", secret.SealRefresh(secret.NewKey([32]byte{1}), store.DefaultTenant, secret.RefreshHandle{Grant: raw}, [32]byte{2}).Reveal())
	}
	cases := append(wrongForms(), wrongProofs(s, oauth.PathToken)...)
	cases = append(cases, []wrong{
		{name: "none", form: func(_ *edgetest.Tool, f url.Values) { f.Del("refresh_token") }, code: oauth.MissingParameter},
		{name: "in the query", form: func(_ *edgetest.Tool, f url.Values) { f.Del("refresh_token") }, code: oauth.MissingParameter, send: func(tool *edgetest.Tool, r *http.Request) {
			r.URL.RawQuery = url.Values{"refresh_token": {tool.Token.RefreshToken}}.Encode()
		}},
		{name: "forged", form: forged, code: oauth.RefreshUnknown},
		{name: "made up", form: madeUp, code: oauth.RefreshUnknown},
		{name: "grant id", form: func(tool *edgetest.Tool, f url.Values) { f.Set("refresh_token", tool.Token.GrantID) }, code: oauth.RefreshUnknown},
		{name: "access token", form: func(tool *edgetest.Tool, f url.Values) { f.Set("refresh_token", tool.Token.AccessToken) }, code: oauth.RefreshUnknown},
		{name: "other client", form: func(_ *edgetest.Tool, f url.Values) { f.Set("client_id", edgetest.Handshake) }, code: oauth.RefreshForeign},
		{name: "wider scope", form: func(_ *edgetest.Tool, f url.Values) { f.Set("scope", "read write") }, code: oauth.ScopeWider},
		{name: "malformed scope", form: func(_ *edgetest.Tool, f url.Values) { f.Set("scope", "read  write") }, code: oauth.ScopeUnknown},
		{name: "other resource", form: func(_ *edgetest.Tool, f url.Values) { f.Set("resource", edgetest.OpenAPI) }, code: oauth.ResourceOther},
	}...)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tool.Nonce = s.Auth.Nonce()
			n := s.Size()
			refused(t, c.post(s, tool, oauth.PathToken, tool.RefreshParams()), c.code)
			s.Expect(n)
			tool.Take(tool.Post(oauth.PathToken, tool.RefreshParams()))
		})
	}
}

// TestRefreshWrongKey presents a refresh token with a good proof by another key:
// it was stolen, and the family ends.
//
// Invariant: GR-3
func TestRefreshWrongKey(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Handshake)
	tool.Login()
	own := tool.Key
	tool.Key = edgetest.NewKey(t, "")
	n := s.Size()
	refused(t, tool.Post(oauth.PathToken, tool.RefreshParams()), oauth.RefreshWrongKey)
	s.Expect(n, event.RefreshReused, event.GrantRevoked)
	tool.Key = own
	refused(t, tool.Post(oauth.PathToken, tool.RefreshParams()), oauth.GrantEnded)
}

// TestBearer shows that a bearer token comes about only where client and
// resource both allow it.
//
// Invariant: DP-18b, DP-18e
func TestBearer(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.Plain)
	tool.Login()
	if tool.Token.TokenType != "Bearer" {
		t.Errorf("token_type %s", tool.Token.TokenType)
	}
	bound := codeFor(s, edgetest.Plain, tool.Browser)
	bound.Key, bound.Nonce = edgetest.NewKey(t, ""), s.Auth.Nonce()
	bound.Take(bound.PostOnce(oauth.PathToken, bound.RedeemParams()))
	if bound.Token.TokenType != "DPoP" {
		t.Errorf("token_type %s with a proof", bound.Token.TokenType)
	}
	other := s.NewTool(edgetest.Plain)
	other.Browser, other.Resource = tool.Browser, edgetest.API
	other.Consented()
	other.Allow()
	n := s.Size()
	refused(t, other.Post(oauth.PathToken, other.RedeemParams()), oauth.ProofRequired)
	s.Expect(n)
}

// TestUnboundForABoundLogin: a login that is bound to a key gets an access token that is not, for a
// tool that cannot prove one, only where client and resource both allow it; its refresh token
// stays bound, and a refusal ends nothing.
//
// Invariant: DP-18g
func TestUnboundForABoundLogin(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	first := s.NewTool(edgetest.Plain)
	first.Login()
	tool := codeFor(s, edgetest.Plain, first.Browser)
	tool.Key, tool.Nonce = edgetest.NewKey(t, ""), s.Auth.Nonce()
	tool.Take(tool.PostOnce(oauth.PathToken, tool.RedeemParams()))
	unbound := func(tool *edgetest.Tool) *edgetest.Response {
		form := tool.RefreshParams()
		form.Set(oauth.ParamTokenType, "Bearer")
		return tool.Post(oauth.PathToken, form)
	}
	tool.Take(unbound(tool))
	if tool.Token.TokenType != "Bearer" {
		t.Errorf("token_type %s", tool.Token.TokenType)
	}
	key := tool.Key
	tool.Key = nil
	refused(t, tool.Post(oauth.PathToken, tool.RefreshParams()), oauth.ProofRequired)
	tool.Key = key
	tool.Take(tool.Post(oauth.PathToken, tool.RefreshParams()))
	if tool.Token.TokenType != "DPoP" {
		t.Errorf("token_type %s when nobody asks for another", tool.Token.TokenType)
	}

	strict := s.NewTool(edgetest.Handshake)
	strict.Login()
	refused(t, unbound(strict), oauth.BearerRefused)
	strict.Take(strict.Post(oauth.PathToken, strict.RefreshParams()))
}

// TestClientChallenge looks at the challenge of invalid_client (RFC 6749 §5.2).
func TestClientChallenge(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	r := s.FormRequest(oauth.PathToken, url.Values{"grant_type": {"refresh_token"}, "client_id": {"x"}})
	r.SetBasicAuth("x", "")
	if got := s.Do(r).Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, "Basic realm=") {
		t.Errorf("challenge for Basic: %q", got)
	}
	r = s.FormRequest(oauth.PathToken, url.Values{"grant_type": {"refresh_token"}, "client_id": {"x"}})
	if got := s.Do(r).Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, `DPoP error="invalid_client"`) {
		t.Errorf("challenge: %q", got)
	}
}

// TestEndlessBody sends a body without a length that does not end.
func TestEndlessBody(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	endless := &counter{}
	r := s.FormRequest(oauth.PathToken, nil)
	r.Body, r.ContentLength = io.NopCloser(endless), -1
	refused(t, s.Do(r), oauth.TooLarge)
	if n := endless.n.Load(); n > 8<<20 {
		t.Errorf("%d bytes were taken", n)
	}
}

// counter gives 64 MiB and counts what was taken.
type counter struct{ n atomic.Int64 }

func (c *counter) Read(b []byte) (int, error) {
	if c.n.Add(int64(len(b))) > 64<<20 {
		return 0, io.EOF
	}
	for i := range b {
		b[i] = '&'
	}
	return len(b), nil
}
