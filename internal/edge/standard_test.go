package edge_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/keytether/keytether/internal/edge/edgetest"
)

// TestStandardConfidentialClient logs in and refreshes with two libraries that
// know nothing of Keytether, as clients that authenticate by secret. By itself
// oauth2 tries the header first, and the body after a refusal.
//
// Invariant: CL-1
func TestStandardConfidentialClient(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{HTTPS: true})
	ctx := oidc.ClientContext(t.Context(), s.Client())
	provider, err := oidc.NewProvider(ctx, s.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		client string
		style  oauth2.AuthStyle
	}{
		{edgetest.WebBasic, oauth2.AuthStyleInHeader},
		{edgetest.WebBasic, oauth2.AuthStyleAutoDetect},
		{edgetest.WebPost, oauth2.AuthStyleInParams},
		{edgetest.WebPost, oauth2.AuthStyleAutoDetect},
	} {
		conf := oauth2.Config{
			ClientID: c.client, ClientSecret: edgetest.Secret, Endpoint: provider.Endpoint(), RedirectURL: edgetest.WebRedirect,
			Scopes: []string{oidc.ScopeOpenID, "email", "read"},
		}
		conf.Endpoint.AuthStyle = c.style
		b, verifier, nonce := s.NewBrowser(), oauth2.GenerateVerifier(), edgetest.Random()
		b.Open(conf.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), oidc.Nonce(nonce)))
		b.SignIn(edgetest.Email, edgetest.Password)
		b.Press("Allow")
		back, err := url.Parse(b.Outside)
		if err != nil || back.Query().Get("code") == "" {
			t.Fatalf("the browser was sent to %q, %v", b.Outside, err)
		}
		tok, err := conf.Exchange(ctx, back.Query().Get("code"), oauth2.VerifierOption(verifier))
		if err != nil {
			t.Fatalf("%s, style %d: %v", c.client, c.style, err)
		}
		raw, _ := tok.Extra("id_token").(string)
		id, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: c.client, Now: s.Clock.Now}).Verify(ctx, raw)
		if err != nil || id.Nonce != nonce || id.Subject == "" {
			t.Errorf("%s, style %d: %+v, %v", c.client, c.style, id, err)
		}
		old := *tok
		old.Expiry = s.Clock.Now().AddDate(-10, 0, 0)
		renewed, err := conf.TokenSource(ctx, &old).Token()
		if err != nil || renewed.RefreshToken == tok.RefreshToken || renewed.AccessToken == tok.AccessToken {
			t.Errorf("%s, style %d: %v", c.client, c.style, err)
		}

		wrong := conf
		wrong.ClientSecret += "x"
		stale := *renewed
		stale.Expiry = old.Expiry
		n := s.Size()
		if _, err := wrong.TokenSource(ctx, &stale).Token(); err == nil {
			t.Error("a wrong secret was taken")
		}
		s.Expect(n)
		res, err := s.Client().PostForm(conf.Endpoint.TokenURL, url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {renewed.RefreshToken}, "client_id": {c.client},
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("without a secret: %d", res.StatusCode)
		}
	}
}
