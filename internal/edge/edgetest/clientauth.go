package edgetest

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// confidential are the clients that authenticate, one for each method.
func (s *Server) confidential() []*authserver.Client {
	keys, err := jws.NewSet(jws.Entry{KeyID: "web", Key: s.Web.Public()})
	must(s.t, err)
	hash := secret.New(Secret).Hash()
	var out []*authserver.Client
	for name, a := range map[string]authserver.Authentication{
		WebBasic: {Method: oauth.AuthBasic, Secret: hash},
		WebPost:  {Method: oauth.AuthPost, Secret: hash},
		WebJWT:   {Method: oauth.AuthPrivateKeyJWT, Keys: keys},
	} {
		out = append(out, &authserver.Client{
			ID: name, Name: "Web app", RedirectURIs: []string{WebRedirect, "http://127.0.0.1/callback"},
			GrantTypes:      []string{oauth.GrantAuthorizationCode, oauth.GrantRefreshToken, oauth.GrantDeviceCode},
			DefaultResource: OpenAPI, ResponseModes: []string{"query", "form_post"},
			IDTokenAlg: jws.RS256, Lifetimes: grant.DefaultLifetimes(), Authentication: a,
		})
	}
	return out
}

// Credential puts what a client authenticates with into a form, or into the
// header of the request that will send it to the endpoint at path.
type Credential func(s *Server, path string, form url.Values, head http.Header)

// ByBasic is client_secret_basic.
func ByBasic(id, secret string) Credential {
	return func(_ *Server, _ string, form url.Values, head http.Header) {
		r := http.Request{Header: head}
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
		form.Del("client_id")
	}
}

// ByPost is client_secret_post.
func ByPost(id, secret string) Credential {
	return func(_ *Server, _ string, form url.Values, _ http.Header) {
		form.Set("client_id", id)
		form.Set("client_secret", secret)
	}
}

// ByAssertion is private_key_jwt of the client WebJWT, with changed claims; a
// nil value leaves a claim out.
func ByAssertion(change map[string]any) Credential {
	return func(s *Server, path string, form url.Values, _ http.Header) {
		claims := map[string]any{
			"iss": WebJWT, "sub": WebJWT, "aud": s.Issuer + path, "jti": Random(), "exp": s.Clock.Now().Unix() + 60,
		}
		for k, v := range change {
			if claims[k] = v; v == nil {
				delete(claims, k)
			}
		}
		form.Del("client_id")
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", s.AssertionBy(s.Web, claims))
	}
}

// RightCredential is the one that each client is registered for. A public one
// names itself.
func RightCredential(client string) Credential {
	switch client {
	case WebBasic:
		return ByBasic(WebBasic, Secret)
	case WebPost:
		return ByPost(WebPost, Secret)
	case WebJWT:
		return ByAssertion(nil)
	}
	return func(_ *Server, _ string, form url.Values, _ http.Header) { form.Set("client_id", client) }
}

// PostAs posts a form as a client that authenticates, with a proof if the tool
// has a key, and repeats it once with the nonce that is asked for.
func (t *Tool) PostAs(c Credential, path string, form url.Values) *Response {
	t.s.t.Helper()
	once := func() *Response {
		sent, head := url.Values{}, http.Header{}
		for k, v := range form {
			sent[k] = v
		}
		c(t.s, path, sent, head)
		r := t.s.FormRequest(path, sent)
		for k, v := range head {
			r.Header[k] = v
		}
		if t.Key != nil {
			r.Header.Set("DPoP", t.Proof(http.MethodPost, t.s.Issuer+path, t.Nonce, ""))
		}
		res := t.s.Do(r)
		t.Nonce = res.Header.Get("DPoP-Nonce")
		return res
	}
	res := once()
	if res.Status == http.StatusBadRequest && strings.Contains(res.Body, `"use_dpop_nonce"`) {
		res = once()
	}
	return res
}
