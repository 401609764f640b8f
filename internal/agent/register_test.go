package agent

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

func registering() oauthclienttest.Config {
	return oauthclienttest.Config{
		PAR: true, DPoP: true, OpenID: true, Subject: "42", Device: &oauthclienttest.Device{Interval: 1}, Register: new(oauthclienttest.Register),
	}
}

// TestRegistersItself: where nobody names a client and the server takes
// registrations, the agent makes one for the profile, once, and says so.
func TestRegistersItself(t *testing.T) {
	r := newRig(t, registering())
	log := func(profile string) agentwire.Whoami {
		t.Helper()
		e, err := r.logIn(agentwire.LoginRequest{Profile: profile, Scope: "read"})
		if err != nil {
			t.Fatal(err)
		}
		return *e.Done
	}
	if who := log(""); who.ClientID != "client-1" || !who.ClientRegistered {
		t.Errorf("%+v", who)
	}
	want := map[string]any{
		"client_name": "Keytether agent", "application_type": "native", "token_endpoint_auth_method": "none",
		"redirect_uris":  []any{"http://127.0.0.1/callback", "http://[::1]/callback"},
		"grant_types":    []any{oauth.GrantAuthorizationCode, oauth.GrantDeviceCode, oauth.GrantRefreshToken},
		"response_types": []any{"code"}, "scope": "read openid email offline_access",
		"dpop_bound_access_tokens": true, "require_pushed_authorization_requests": true,
	}
	if got := r.server.Registrations()[0]; !reflect.DeepEqual(got, want) {
		t.Errorf("said of itself\n%v, want\n%v", got, want)
	}
	log("")
	if _, err := r.Logout(t.Context(), agentwire.LogoutRequest{}); err != nil {
		t.Fatal(err)
	}
	if who := log(""); who.ClientID != "client-1" || len(r.server.Registrations()) != 1 {
		t.Errorf("registered again: %+v", who)
	}
	if who := log("work"); who.ClientID != "client-2" {
		t.Errorf("two profiles are one client: %+v", who)
	}
	other := newRig(t, registering())
	e, err := other.logIn(agentwire.LoginRequest{RegisteredClient: "client-9"})
	if err == nil || !strings.Contains(agentwire.AsError(err, "").Why, "registered there for this profile") {
		t.Fatalf("the caller's memory was not used: %v %+v", err, e)
	}
	if e, err = other.logIn(agentwire.LoginRequest{RegisteredClient: "client-9"}); err != nil || e.Done.ClientID != "client-1" {
		t.Errorf("not registered anew: %v %+v", err, e)
	}
}

// TestRegistersAnewWhereForgotten: a device login finds it out at once, and so it
// does that the client was registered for less.
func TestRegistersAnewWhereForgotten(t *testing.T) {
	for name, spoil := range map[string]func(*oauthclienttest.Server){
		"forgotten": (*oauthclienttest.Server).ForgetClients,
		"registered for less": func(s *oauthclienttest.Server) {
			s.On(oauth.PathDevice, func(w http.ResponseWriter, _ *http.Request, _ func() *httptest.ResponseRecorder) bool {
				if len(s.Registrations()) > 1 {
					return false
				}
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(`{"error":"invalid_scope"}`))
				return true
			})
		},
	} {
		t.Run(name, func(t *testing.T) { registersAnew(t, spoil) })
	}
}

func registersAnew(t *testing.T, spoil func(*oauthclienttest.Server)) {
	r := newRig(t, registering())
	r.mustLogIn()
	spoil(r.server)
	code := false
	ctx := t.Context()
	err := r.Login(ctx, agentwire.LoginRequest{Issuer: r.server.Issuer, Flow: agentwire.FlowDevice}, func(agentwire.Event) error {
		code = true
		return errors.New("enough")
	})
	if !code || len(r.server.Registrations()) != 2 {
		t.Errorf("%v, %d registrations", err, len(r.server.Registrations()))
	}
}

func TestRegistersNotWhereItNeedNot(t *testing.T) {
	ours := oauthclienttest.Keytether()
	ours.Register = new(oauthclienttest.Register)
	for name, tt := range map[string]struct {
		config oauthclienttest.Config
		client string
	}{"our server knows our client": {ours, ""}, "a client is named": {ours, "mine"}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, tt.config)
			e, err := r.logIn(agentwire.LoginRequest{ClientID: tt.client})
			if err != nil || e.Done.ClientRegistered || len(r.server.Registrations()) != 0 {
				t.Errorf("%v %+v", err, e)
			}
		})
	}
}

// TestInitialAccessToken: it goes to the registration endpoint and nowhere else.
func TestInitialAccessToken(t *testing.T) {
	const token = "made-up-initial-access-token"
	c := registering()
	c.Register.Token = token
	r := newRig(t, c)
	for _, given := range []string{"", "another"} {
		_, err := r.logIn(agentwire.LoginRequest{RegistrationToken: agentwire.NewSecret(given)})
		if !errors.Is(err, agentwire.Denied) || !strings.Contains(agentwire.AsError(err, "").Do, "--registration-token-file") {
			t.Errorf("with %q: %v", given, err)
		}
	}
	if e, err := r.logIn(agentwire.LoginRequest{RegistrationToken: agentwire.NewSecret(token)}); err != nil || e.Done.ClientID != "client-1" {
		t.Fatalf("%v %+v", err, e)
	}
	if _, err := r.logIn(agentwire.LoginRequest{}); err != nil {
		t.Errorf("the second login wants the token again: %v", err)
	}
	if strings.Contains(r.log.String(), token) || strings.Contains(fmt.Sprintf("%+v", agentwire.LoginRequest{RegistrationToken: agentwire.NewSecret(token)}), token) {
		t.Error("the token is in the log")
	}
	if _, err := r.logIn(agentwire.LoginRequest{ClientID: "mine", RegistrationToken: agentwire.NewSecret(token)}); !errors.Is(err, agentwire.Usage) {
		t.Errorf("with a named client: %v", err)
	}
	closed := registering()
	closed.Register = nil
	if _, err := newRig(t, closed).logIn(agentwire.LoginRequest{RegistrationToken: agentwire.NewSecret(token)}); !errors.Is(err, agentwire.Usage) {
		t.Errorf("where there is no registration: %v", err)
	}
}

func TestClientWithASecretIsNotTaken(t *testing.T) {
	c := registering()
	c.Register.WithSecret = true
	r := newRig(t, c)
	if _, err := r.logIn(agentwire.LoginRequest{}); !errors.Is(err, agentwire.Failed) || !strings.Contains(agentwire.AsError(err, "").Why, "secret") {
		t.Errorf("got %v", err)
	}
	r.nothingLeft()
}
