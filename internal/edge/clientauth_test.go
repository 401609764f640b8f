package edge_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
)

// confidential are the clients that authenticate.
var confidential = []string{edgetest.WebBasic, edgetest.WebPost, edgetest.WebJWT}

// wrongCredential is a credential that does not do, and what it is answered.
type wrongCredential struct {
	name string
	cred edgetest.Credential
	code oauth.Code
}

// header is a credential that is one Authorization header.
func header(value string) edgetest.Credential {
	return func(_ *edgetest.Server, _ string, _ url.Values, head http.Header) { head.Add("Authorization", value) }
}

// both puts two together.
func both(a, b edgetest.Credential) edgetest.Credential {
	return func(s *edgetest.Server, path string, form url.Values, head http.Header) {
		a(s, path, form, head)
		b(s, path, form, head)
	}
}

// with sets a parameter afterwards.
func with(a edgetest.Credential, name, value string) edgetest.Credential {
	return func(s *edgetest.Server, path string, form url.Values, head http.Header) {
		a(s, path, form, head)
		form.Set(name, value)
	}
}

func encoded(pair string) string { return base64.StdEncoding.EncodeToString([]byte(pair)) }

// wrongCredentials are what may be wrong with how a client authenticates.
func wrongCredentials(client string) []wrongCredential {
	out := []wrongCredential{
		{"none, but named", edgetest.RightCredential("x"), oauth.UnknownClient},
		{"named alone", with(edgetest.RightCredential("x"), "client_id", client), oauth.ClientAuthentication},
		{"Basic with a wrong secret", edgetest.ByBasic(client, edgetest.Secret+"x"), oauth.ClientAuthentication},
		{"Basic with half the secret", edgetest.ByBasic(client, edgetest.Secret[:16]), oauth.ClientAuthentication},
		{"Basic without a secret", edgetest.ByBasic(client, ""), oauth.ClientAuthentication},
		{"Basic of nobody", edgetest.ByBasic("nobody", edgetest.Secret), oauth.UnknownClient},
		{"Basic without an id", edgetest.ByBasic("", edgetest.Secret), oauth.ClientAuthentication},
		{"Basic that is not encoded", header("Basic " + encoded(client+":"+edgetest.Secret)), oauth.ClientAuthentication},
		{"Basic without a colon", header("Basic " + encoded(client)), oauth.ClientAuthentication},
		{"Basic that is no base64", header("Basic !"), oauth.ClientAuthentication},
		{"Basic of nothing", header("Basic"), oauth.ClientAuthentication},
		{"Bearer", header("Bearer x"), oauth.ClientAuthentication},
		{"DPoP", header("DPoP x"), oauth.ClientAuthentication},
		{"post with a wrong secret", edgetest.ByPost(client, edgetest.Secret+"x"), oauth.ClientAuthentication},
		{"post of nobody", edgetest.ByPost("nobody", edgetest.Secret), oauth.UnknownClient},
		{"post without an id", with(edgetest.ByPost(client, edgetest.Secret), "client_id", ""), oauth.MissingParameter},
		{"Basic and post", both(edgetest.ByBasic(client, edgetest.Secret), edgetest.ByPost(client, edgetest.Secret)), oauth.SeveralAuthentications},
		{"Basic and an assertion", both(edgetest.ByBasic(client, edgetest.Secret), edgetest.ByAssertion(nil)), oauth.SeveralAuthentications},
		{"post and an assertion", both(edgetest.ByPost(client, edgetest.Secret), edgetest.ByAssertion(nil)), oauth.SeveralAuthentications},
		{"two headers", both(header("Basic "+encoded("a:b")), header("Basic "+encoded("a:b"))), oauth.SeveralAuthentications},
		{"an assertion's type alone", with(edgetest.RightCredential(client), "client_assertion_type", "x"), oauth.SeveralAuthentications},
	}
	if client == edgetest.WebJWT {
		out = out[:len(out)-1]
	}
	if client != edgetest.WebBasic {
		out = append(out, wrongCredential{"Basic, not its method", edgetest.ByBasic(client, edgetest.Secret), oauth.ClientAuthentication})
	} else {
		out = append(out, wrongCredential{"Basic of another than client_id", with(edgetest.ByBasic(client, edgetest.Secret), "client_id", edgetest.WebPost), oauth.ClientAuthentication})
	}
	if client != edgetest.WebPost {
		out = append(out, wrongCredential{"post, not its method", edgetest.ByPost(client, edgetest.Secret), oauth.ClientAuthentication})
	}
	if client != edgetest.WebJWT {
		out = append(out, wrongCredential{"an assertion, not its method", edgetest.ByAssertion(map[string]any{"iss": client, "sub": client}), oauth.AssertionInvalid})
	}
	return out
}

// wrongClientAssertions are what may be wrong with a private_key_jwt (RFC 7523 §3).
func wrongClientAssertions(t *testing.T, s *edgetest.Server) []wrongCredential {
	now := s.Clock.Now().Unix()
	assertion := func(text func(path string) string) edgetest.Credential {
		return func(s *edgetest.Server, path string, form url.Values, head http.Header) {
			edgetest.ByAssertion(nil)(s, path, form, head)
			form.Set("client_assertion", text(path))
		}
	}
	claims := func(path string) map[string]any {
		return map[string]any{"iss": edgetest.WebJWT, "sub": edgetest.WebJWT, "aud": s.Issuer + path, "jti": edgetest.Random(), "exp": now + 60}
	}
	out := []wrongCredential{
		{"another type", with(edgetest.ByAssertion(nil), "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"), oauth.ClientAuthentication},
		{"no type", with(edgetest.ByAssertion(nil), "client_assertion_type", ""), oauth.ClientAuthentication},
		{"no assertion", with(edgetest.ByAssertion(nil), "client_assertion", ""), oauth.AssertionInvalid},
		{"no JWS", with(edgetest.ByAssertion(nil), "client_assertion", "a.b.c"), oauth.AssertionInvalid},
		{"another client_id", with(edgetest.ByAssertion(nil), "client_id", edgetest.Plain), oauth.AssertionInvalid},
		{"by another key", assertion(func(path string) string { return s.AssertionBy(edgetest.NewKey(t, "web"), claims(path)) }), oauth.AssertionInvalid},
		{"by the resource server", assertion(func(path string) string { return s.AssertionBy(s.API, claims(path)) }), oauth.AssertionInvalid},
		{"of the resource server", assertion(func(path string) string { return s.Assertion(path) }), oauth.AssertionInvalid},
		{"signed for another use", assertion(func(path string) string {
			payload, err := json.Marshal(claims(path))
			if err != nil {
				t.Fatal(err)
			}
			text, err := jws.Sign(s.Web, "at+jwt", payload)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}), oauth.AssertionInvalid},
		{"without a signature", assertion(func(path string) string {
			text := s.AssertionBy(s.Web, claims(path))
			head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
			return head + text[strings.Index(text, "."):strings.LastIndex(text, ".")+1]
		}), oauth.AssertionInvalid},
	}
	for name, change := range map[string]map[string]any{
		"no audience":            {"aud": nil},
		"audience elsewhere":     {"aud": "https://other.test"},
		"audience an API":        {"aud": edgetest.API},
		"audience of another":    {"aud": s.Issuer + oauth.PathIntrospect},
		"two audiences":          {"aud": []string{s.Issuer, "https://other.test"}},
		"expired":                {"exp": now - 120},
		"no exp":                 {"exp": nil},
		"exp in a day":           {"exp": now + 86400},
		"not yet":                {"nbf": now + 600},
		"no jti":                 {"jti": nil},
		"no issuer":              {"iss": nil},
		"no subject":             {"sub": nil},
		"subject is another":     {"sub": edgetest.WebBasic},
		"issuer is another":      {"iss": edgetest.WebBasic, "sub": edgetest.WebBasic},
		"issuer is public":       {"iss": edgetest.Plain, "sub": edgetest.Plain},
		"issuer is a resource":   {"iss": edgetest.API, "sub": edgetest.API},
		"an identifier too long": {"jti": strings.Repeat("j", oauth.MaxFact+1)},
	} {
		out = append(out, wrongCredential{name, edgetest.ByAssertion(change), oauth.AssertionInvalid})
	}
	return out
}

// webTool is a confidential client's tool, up to a code. Its browser is signed in
// after the first.
func webTool(s *edgetest.Server, client string, b *edgetest.Browser) *edgetest.Tool {
	tool := s.NewTool(client)
	tool.Key, tool.Redirect = nil, edgetest.WebRedirect
	tool.Extra.Set("client_id", client)
	if b != nil {
		tool.Browser = b
	}
	tool.Consented()
	tool.Allow()
	return tool
}

// TestClientAuthentication brings every wrong credential to every endpoint where
// clients authenticate. Nothing is changed, and the right one is served after.
//
// Invariant: CL-1, CL-2, CL-3, CL-4
func TestClientAuthentication(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	var browser *edgetest.Browser
	for _, client := range confidential {
		right := edgetest.RightCredential(client)
		used := webTool(s, client, browser)
		browser = used.Browser
		used.Take(used.PostAs(right, oauth.PathToken, used.RedeemParams()))
		fresh := webTool(s, client, browser)
		wrong := wrongCredentials(client)
		if client == edgetest.WebJWT {
			wrong = append(wrong, wrongClientAssertions(t, s)...)
		}
		for _, e := range []struct {
			path   string
			form   func() url.Values
			status int
		}{
			{oauth.PathPAR, used.Params, http.StatusCreated},
			{oauth.PathDevice, func() url.Values { return url.Values{"client_id": {client}, "scope": {"read"}} }, http.StatusOK},
			{oauth.PathToken, fresh.RedeemParams, http.StatusOK},
			{oauth.PathToken, used.RefreshParams, http.StatusOK},
			{oauth.PathRevoke, func() url.Values { return url.Values{"client_id": {client}, "token": {used.Token.RefreshToken}} }, http.StatusOK},
		} {
			t.Run(client+" at "+e.path+" "+e.form().Get("grant_type"), func(t *testing.T) {
				for _, w := range wrong {
					n := s.Size()
					res := used.PostAs(w.cred, e.path, e.form())
					t.Run(w.name, func(t *testing.T) {
						refused(t, res, w.code)
						s.Expect(n)
						challenge := res.Header.Get("WWW-Authenticate")
						if (res.Status == http.StatusUnauthorized) != (challenge != "") {
							t.Errorf("%d with the challenge %q", res.Status, challenge)
						}
						if strings.HasPrefix(w.name, "Basic") && res.Status == http.StatusUnauthorized && !strings.HasPrefix(challenge, "Basic realm=") {
							t.Errorf("the challenge for Basic is %q", challenge)
						}
						for name, v := range map[string]string{"body": res.Body, "log": s.Log.String()} {
							if strings.Contains(v, edgetest.Secret) {
								t.Errorf("the secret stands in the %s", name)
							}
						}
					})
				}
				n := s.Size()
				res := used.PostAs(right, e.path, e.form())
				if res.Status != e.status {
					t.Fatalf("the right credential: %d %s", res.Status, res.Body)
				}
				if e.path == oauth.PathToken {
					used.Take(res)
				}
				if e.path != oauth.PathPAR && s.Size() == n {
					t.Error("nothing was recorded")
				}
			})
		}
	}
}

// An assertion is good for one call, wherever: at a second endpoint it is
// refused as at the first. Issuer, endpoint and token endpoint are what it may be
// meant for.
//
// Invariant: CL-3
func TestAssertionOnce(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	tool := s.NewTool(edgetest.WebJWT)
	tool.Key = nil
	form := func(string) url.Values { return url.Values{"scope": {"read"}} }
	for _, aud := range []any{s.Issuer, s.Issuer + oauth.PathDevice, s.Issuer + oauth.PathToken, []string{s.Issuer}} {
		jti := edgetest.Random()
		cred := edgetest.ByAssertion(map[string]any{"aud": aud, "jti": jti})
		if res := tool.PostAs(cred, oauth.PathDevice, form("")); res.Status != http.StatusOK {
			t.Errorf("audience %v: %d %s", aud, res.Status, res.Body)
		}
		n := s.Size()
		refused(t, tool.PostAs(cred, oauth.PathDevice, form("")), oauth.AssertionInvalid)
		refused(t, tool.PostAs(cred, oauth.PathPAR, tool.Params()), oauth.AssertionInvalid)
		refused(t, tool.PostAs(cred, oauth.PathRevoke, url.Values{"token": {"x"}}), oauth.AssertionInvalid)
		s.Expect(n)
	}
	if res := tool.PostAs(edgetest.ByAssertion(map[string]any{"aud": s.Issuer}), oauth.PathIntrospect, url.Values{"token": {"x"}}); res.Status != http.StatusUnauthorized {
		t.Errorf("a client introspects: %d %s", res.Status, res.Body)
	}
}

// A confidential client's tokens are its own: another one, authenticated rightly,
// gets and ends nothing of it.
//
// Invariant: CL-5
func TestAuthenticatedClientsAreSeparate(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	owner := webTool(s, edgetest.WebBasic, nil)
	other := edgetest.RightCredential(edgetest.WebPost)
	refused(t, owner.PostAs(other, oauth.PathToken, owner.RedeemParams()), oauth.CodeForeign)
	owner.Take(owner.PostAs(edgetest.RightCredential(edgetest.WebBasic), oauth.PathToken, owner.RedeemParams()))
	for _, token := range []string{owner.Token.RefreshToken, owner.Token.AccessToken} {
		refused(t, owner.PostAs(other, oauth.PathRevoke, url.Values{"token": {token}}), oauth.UnauthorizedClient)
	}
	refused(t, owner.PostAs(other, oauth.PathToken, owner.RefreshParams()), oauth.RefreshForeign)
	owner.Take(owner.PostAs(edgetest.RightCredential(edgetest.WebBasic), oauth.PathToken, owner.RefreshParams()))
	if owner.Token.TokenType != "Bearer" {
		t.Errorf("token type %s", owner.Token.TokenType)
	}
}

// A bearer grant has no key to know its client by: an old refresh token is
// refused at once after, and is theft later, whoever authenticates with it. With
// a proof the grant is the key's, as a public client's is.
func TestConfidentialRefresh(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	right := edgetest.RightCredential(edgetest.WebBasic)
	tool := webTool(s, edgetest.WebBasic, nil)
	tool.Take(tool.PostAs(right, oauth.PathToken, tool.RedeemParams()))
	old := tool.RefreshParams()
	tool.Take(tool.PostAs(right, oauth.PathToken, old))
	refused(t, tool.PostAs(right, oauth.PathToken, old), oauth.RefreshSuperseded)
	tool.Take(tool.PostAs(right, oauth.PathToken, tool.RefreshParams()))
	s.Clock.Advance(time.Minute)
	refused(t, tool.PostAs(right, oauth.PathToken, old), oauth.RefreshReused)
	refused(t, tool.PostAs(right, oauth.PathToken, tool.RefreshParams()), oauth.GrantEnded)

	bound := webTool(s, edgetest.WebBasic, tool.Browser)
	bound.Key = edgetest.NewKey(t, "")
	bound.Take(bound.PostAs(right, oauth.PathToken, bound.RedeemParams()))
	if bound.Token.TokenType != "DPoP" {
		t.Fatalf("with a proof the token type is %s", bound.Token.TokenType)
	}
	key := bound.Key
	bound.Key = nil
	refused(t, bound.PostAs(right, oauth.PathToken, bound.RefreshParams()), oauth.ProofRequired)
	bound.Key = key
	bound.Take(bound.PostAs(right, oauth.PathToken, bound.RefreshParams()))
}

// Metadata names the methods that work, and the algorithms of assertions (RFC
// 8414 §2).
func TestAuthMethodsInMetadata(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Issuer+oauth.WellKnownOAuth, nil)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(s.Do(r).Body), &m); err != nil {
		t.Fatal(err)
	}
	for _, e := range []string{"token", "revocation"} {
		got, _ := json.Marshal(m[e+"_endpoint_auth_methods_supported"])
		if string(got) != `["private_key_jwt","client_secret_basic","client_secret_post","none"]` {
			t.Errorf("%s: %s", e, got)
		}
		got, _ = json.Marshal(m[e+"_endpoint_auth_signing_alg_values_supported"])
		if string(got) != `["ES256","EdDSA","RS256"]` {
			t.Errorf("%s: %s", e, got)
		}
	}
}
