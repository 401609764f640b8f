package agent

import (
	"errors"
	"testing"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

// All profiles at an issuer prove by one key: this agent is one installation
// there. The key goes with the last of them, and not before.
//
// Invariant: AG-6
func TestOneInstallationPerIssuer(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	for _, name := range []string{"work", "home", "work"} { // the last one again, in place of the first
		if _, err := r.logIn(agentwire.LoginRequest{Profile: name, Scope: "read"}); err != nil {
			t.Fatal(err)
		}
	}
	thumbprint := func() string {
		k, err := r.opt.Store.Key(t.Context(), keyName(r.server.Issuer))
		if err != nil {
			return ""
		}
		return k.Public().Thumbprint()
	}
	want := thumbprint()
	st, err := r.Status(t.Context())
	if err != nil || len(st.Profiles) != 2 || want == "" {
		t.Fatalf("%+v, %v, key %q", st, err, want)
	}
	for _, p := range st.Profiles {
		if p.JKT != want {
			t.Errorf("profile %s proves by %s, not %s", p.Profile, p.JKT, want)
		}
	}
	if _, err := r.Logout(t.Context(), agentwire.LogoutRequest{Profile: "work"}); err != nil {
		t.Fatal(err)
	}
	if thumbprint() != want {
		t.Error("one logout took the other's key")
	}
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{Profile: "home"}); err != nil {
		t.Errorf("the other login: %v", err)
	}
	if _, err := r.Logout(t.Context(), agentwire.LogoutRequest{Profile: "home"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.opt.Store.Key(t.Context(), keyName(r.server.Issuer)); !errors.Is(err, keystore.ErrNoKey) {
		t.Errorf("the key outlived the last login: %v", err)
	}
	if names, err := r.opt.Store.Names(t.Context()); len(names) != 0 || err != nil {
		t.Errorf("left in the store: %v, %v", names, err)
	}
}
