package verify_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/feed"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/token"
)

// exampleIssuer stands in for Keytether's server and a logged-in tool.
type exampleIssuer struct {
	*httptest.Server
	apiKey       *ecdsa.PrivateKey
	resource     string
	server, tool jws.Signer
}

func startIssuer(resource string) *exampleIssuer {
	key := func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }
	s := &exampleIssuer{
		apiKey: key(), resource: resource,
		server: must(jws.NewES256Signer("k1", key(), rand.Reader)), tool: must(jws.NewES256Signer("", key(), rand.Reader)),
	}
	mux := http.NewServeMux()
	s.Server = httptest.NewServer(mux)
	document := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(v)
		}
	}
	mux.Handle(oauth.WellKnownOAuth, document(oauth.MetadataFor(s.URL, nil)))
	mux.Handle(oauth.PathJWKS, document(must(jws.NewSet(jws.Entry{KeyID: "k1", Key: s.server.Public()}))))
	mux.HandleFunc(oauth.PathRevocations, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", feed.ContentType)
		_, _ = w.Write(must(feed.AppendSnapshot(nil, &feed.Snapshot{IssuedAt: time.Now()})))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	return s
}

// request is what the tool sends.
func (s *exampleIssuer) request(method, url string) *http.Request {
	now := time.Now()
	compact := must(token.Issue(s.server, token.AccessClaims{
		Issuer: s.URL, Subject: "acc_1", Audience: s.resource, ClientID: "example-cli", Scope: "read", ID: "jti_1",
		GrantID: "grt_1", Thumbprint: s.tool.Public().Thumbprint(), IssuedAt: now, ExpiresAt: now.Add(5 * time.Minute),
	}))
	proof := must(dpop.New(s.tool, dpop.Request{Method: method, URL: url, AccessToken: compact, IssuedAt: now, ID: rand.Text()}))
	r := httptest.NewRequest(method, url, nil)
	r.Header.Set("Authorization", "DPoP "+compact)
	r.Header.Set("DPoP", proof)
	return r
}

// show prints an answer: its status, and its text or error code.
func show(api http.Handler, r *http.Request) {
	rec := httptest.NewRecorder()
	api.ServeHTTP(rec, r)
	text, _ := io.ReadAll(rec.Body)
	var failure struct{ Error string }
	if json.Unmarshal(text, &failure) == nil {
		text = []byte(failure.Error)
	}
	fmt.Println(rec.Code, string(text))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
