package verify

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/token"
)

// FuzzRequest sends headers and paths that nobody with a key has made. None is
// let through, and each is answered in the form of the RFCs.
func FuzzRequest(f *testing.F) {
	signer, client := newSigner(f, "k1"), newSigner(f, "")
	v := offline(f, signer)
	now := time.Now()
	compact, err := token.Issue(signer, token.AccessClaims{
		Issuer: testIssuer, Subject: "a", Audience: testResource, ClientID: "c", Scope: "read", ID: "j", GrantID: "g",
		Thumbprint: client.Public().Thumbprint(), IssuedAt: now, ExpiresAt: now.Add(time.Hour),
	})
	if err != nil {
		f.Fatal(err)
	}
	// The proof is for another token: it cannot be made good without the key.
	proof, err := dpop.New(client, dpop.Request{Method: "GET", URL: testURL, AccessToken: "another", IssuedAt: now, ID: "1"})
	if err != nil {
		f.Fatal(err)
	}
	for _, auth := range []string{"", "DPoP " + compact, "dpop  " + compact, "Bearer " + compact, "DPoP\t" + compact, "DPoP a.b.c", "DPoP " + compact + ","} {
		for _, path := range []string{"/v1/reports", "/", "//x", "/%2e%2e/v1/reports", "*"} {
			f.Add(auth, proof, path)
		}
	}
	f.Add("DPoP "+compact, "a.b.c", "/v1/reports")
	api := v.Require("read")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("let through") }))
	f.Fuzz(func(t *testing.T, auth, proof, path string) {
		refresh(t, v)
		r := httptest.NewRequest("GET", "/", nil)
		r.RequestURI = path
		r.Header["Authorization"] = []string{auth}
		r.Header["Dpop"] = []string{proof}
		rec := httptest.NewRecorder()
		api.ServeHTTP(rec, r)
		var body oauth.Response
		if err := json.Unmarshal(rec.Body.Bytes(), &body); err != nil {
			t.Fatal(err)
		}
		challenge := rec.Header().Get("WWW-Authenticate")
		switch rec.Code {
		case http.StatusUnauthorized:
			if !strings.HasPrefix(challenge, "DPoP ") || strings.ContainsAny(challenge, "\r\n") {
				t.Fatalf("%q", challenge)
			}
		case http.StatusServiceUnavailable: // a kid that is not known
			if body.Code != oauth.Unavailable {
				t.Fatal(rec.Body)
			}
		default:
			t.Fatal(rec.Code, rec.Body)
		}
	})
}
