package edge_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/oauth"
)

// The three of a kind: what a handler of the standard library costs that reads
// a form and writes a document of the same sizes, what the token endpoint costs
// when it refuses early, and that without HTTP. The second less the third is the
// edge's own share.

func BenchmarkBare(b *testing.B) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+oauth.PathToken, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			b.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"x"}`)
	})
	run(b, mux, form)
}

func BenchmarkToken(b *testing.B) {
	s := edgetest.NewServer(b, edgetest.Options{})
	run(b, s.Handler, form)
}

func BenchmarkTokenWithoutHTTP(b *testing.B) {
	s := edgetest.NewServer(b, edgetest.Options{})
	b.ReportAllocs()
	for b.Loop() {
		p, err := oauth.ParseParams(form)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Auth.Token(b.Context(), authserver.Call{Params: p, Method: http.MethodPost, URL: s.Issuer + oauth.PathToken}); err == nil {
			b.Fatal("not refused")
		}
	}
}

var form = "grant_type=refresh_token&client_id=plain-cli&refresh_token=ktr_" + strings.Repeat("0", 98)

func run(b *testing.B, h http.Handler, form string) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, oauth.PathToken, strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest {
			b.Fatal(w.Code, w.Body)
		}
	}
}
