package verify_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/keytether/keytether/verify"
)

// An API that answers only tools which a person has logged in, and knows whose
// request it is.
func Example() {
	issuer := startIssuer("https://api.example.test") // in your program: Keytether's server
	defer issuer.Close()

	v, err := verify.New(context.Background(), verify.Options{
		Issuer:   issuer.URL,
		Resource: "https://api.example.test",
		Key:      issuer.apiKey, // in your program: verify.LoadKey("api.pem")
	})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()
	if err := v.WaitReady(context.Background()); err != nil {
		log.Fatal(err)
	}

	mux := http.NewServeMux()
	mux.Handle(v.MetadataPath(), v.Metadata())
	mux.Handle("GET /reports", v.Require("read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := verify.From(r.Context())
		fmt.Fprintf(w, "reports for %s, who uses %s", caller.Subject, caller.ClientID)
	})))
	mux.Handle("DELETE /reports", v.Require("write")(http.NotFoundHandler()))

	// A tool that was logged in with scope "read" sends token and proof.
	show(mux, issuer.request("GET", "https://api.example.test/reports"))
	// It may not do what it was not allowed to.
	show(mux, issuer.request("DELETE", "https://api.example.test/reports"))
	// A copy of the token is worth nothing without the key.
	copied := issuer.request("GET", "https://api.example.test/reports")
	copied.Header.Del("DPoP")
	show(mux, copied)
	// Output:
	// 200 reports for acc_1, who uses example-cli
	// 403 insufficient_scope
	// 401 invalid_dpop_proof
}

// A readiness probe, so that a load balancer sends nothing to an instance that
// would refuse it.
func ExampleVerifier_Ready() {
	issuer := startIssuer("https://api.example.test")
	defer issuer.Close()
	v, err := verify.New(context.Background(), verify.Options{
		Issuer: issuer.URL, Resource: "https://api.example.test", Key: issuer.apiKey,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer v.Close()

	readyz := func(w http.ResponseWriter, _ *http.Request) {
		if err := v.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	}
	if err := v.WaitReady(context.Background()); err != nil {
		log.Fatal(err)
	}
	rec := httptest.NewRecorder()
	readyz(rec, httptest.NewRequest("GET", "/readyz", nil))
	fmt.Println(rec.Code)
	// Output: 200
}
