// Command api is a small API guarded by Keytether: copy it and put your own
// handlers in. It answers only tools that a person has logged in, that prove to
// hold the key of their token, and whose grant was not revoked.
//
//	openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out api.pem
//	api -key api.pem -jwks > api.jwks    # the issuer's config names it as the resource's jwks_file
//	api -key api.pem -issuer https://login.example.test -resource https://api.example.test
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/keytether/keytether/verify"
)

func main() {
	if err := run(); err != nil {
		slog.Error("stopped", "error", err)
		os.Exit(1)
	}
}

func run() error {
	issuer := flag.String("issuer", "http://127.0.0.1:8430", "the authorization server")
	resource := flag.String("resource", "http://127.0.0.1:8431", "this API's URL, as its clients know it")
	listen := flag.String("listen", "127.0.0.1:8431", "where to listen")
	keyFile := flag.String("key", "api.pem", "this API's private key")
	showKeys := flag.Bool("jwks", false, "print the public key as the issuer wants it, and end")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	key, err := verify.LoadKey(*keyFile)
	if err != nil {
		return err
	}
	if *showKeys {
		set, err := verify.PublicKeySet(key, "")
		_, _ = os.Stdout.Write(append(set, '\n'))
		return err
	}
	v, err := verify.New(ctx, verify.Options{Issuer: *issuer, Resource: *resource, Key: key, Log: slog.Default()})
	if err != nil {
		return err
	}
	defer v.Close()

	mux := http.NewServeMux()
	mux.Handle(v.MetadataPath(), v.Metadata())
	mux.Handle("GET /reports", v.Require("read")(http.HandlerFunc(reports)))
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := v.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Addr: *listen, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Shutdown(context.Background()) })
	slog.Info("listening", "address", *listen)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func reports(w http.ResponseWriter, r *http.Request) {
	caller, _ := verify.From(r.Context())
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"reports": []string{"2026-10", "2026-11"}, "for": caller.Subject, "client": caller.ClientID,
	})
}
