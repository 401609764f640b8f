//go:build linux

package chaos

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/testkit/stage"
	"github.com/keytether/keytether/verify"
)

// pushed is a login in progress.
type pushed struct {
	tool     *driver.Tool
	verifier string
	url      string // for the browser
}

func (p people) push(t *testing.T) pushed {
	t.Helper()
	out := pushed{tool: p.tool(t), verifier: rand.Text() + rand.Text()}
	sum := sha256.Sum256([]byte(out.verifier))
	var par oauth.PARResponse
	err := out.tool.Post(t.Context(), p.srv.Metadata.PAREndpoint, url.Values{
		"client_id": {client}, "response_type": {"code"}, "response_mode": {"query"}, "redirect_uri": {redirect},
		"scope": {"read"}, "resource": {resource}, "state": {rand.Text()},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}, &par)
	if err != nil {
		t.Fatalf("par: %v", err)
	}
	out.url = p.srv.Metadata.AuthorizationEndpoint + "?" + url.Values{"client_id": {client}, "request_uri": {par.RequestURI}}.Encode()
	return out
}

// redeem exchanges the code that came back.
func (l pushed) redeem(t *testing.T, back *url.URL) oauth.TokenResponse {
	t.Helper()
	var out oauth.TokenResponse
	err := l.tool.Post(t.Context(), l.tool.Server.Metadata.TokenEndpoint, url.Values{
		"grant_type": {"authorization_code"}, "client_id": {client}, "code": {back.Query().Get("code")},
		"redirect_uri": {redirect}, "code_verifier": {l.verifier},
	}, &out)
	if err != nil {
		t.Fatalf("code: %v", err)
	}
	return out
}

// form finds a page's form by one of its buttons.
func form(t *testing.T, page *driver.Page, button string) driver.Form {
	t.Helper()
	for _, f := range page.Forms {
		if f.HasButton(button) {
			return f
		}
	}
	t.Fatalf("no button %q at %v (%d): %.300s", button, page.URL, page.Status, page.Text)
	return driver.Form{}
}

// api is the resource server: who may introspect and read the feed.
type api struct {
	issuer string
	http   *http.Client
	signer jws.Signer
}

func newAPI(t *testing.T, s *stage.Stage) api {
	t.Helper()
	key, err := verify.LoadKey(filepath.Join(s.Dir, "api.key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jws.NewSigner("", key, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := s.Client()
	c.Timeout = 0 // a stream has no end
	t.Cleanup(c.CloseIdleConnections)
	return api{s.Issuer, c, signer}
}

// post calls an endpoint as the resource server (RFC 7523 §2.2).
func (a api) post(t *testing.T, path string, form url.Values) *http.Response {
	t.Helper()
	claims := `{"iss":` + strconv.Quote(resource) + `,"sub":` + strconv.Quote(resource) + `,"aud":` + strconv.Quote(a.issuer) +
		`,"exp":` + strconv.FormatInt(time.Now().Add(20*time.Second).Unix(), 10) + `,"jti":"` + rand.Text() + `"}`
	assertion, err := jws.Sign(a.signer, "JWT", []byte(claims))
	if err != nil {
		t.Fatal(err)
	}
	form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	form.Set("client_assertion", assertion)
	resp, err := a.http.PostForm(a.issuer+path, form)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", path, resp.Status)
	}
	return resp
}

// active asks whether an access token is good (RFC 7662).
func (a api) active(t *testing.T, token string) bool {
	t.Helper()
	var out oauth.Introspection
	if err := json.NewDecoder(a.post(t, oauth.PathIntrospect, url.Values{"token": {token}}).Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out.Active
}
