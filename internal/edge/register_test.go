package edge_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// initial is the initial access token named "ci" of opened.
var initial = secret.Mint(secret.Initial, [32]byte{1})

// opened lets clients register.
func opened() *authserver.Registration {
	return &authserver.Registration{
		Tokens: []authserver.InitialToken{
			{Name: "lab", Hash: secret.Mint(secret.Initial, [32]byte{2}).Hash()}, {Name: "ci", Hash: initial.Hash()},
		},
		Like: authserver.Client{
			Resources: []string{edgetest.OpenAPI, edgetest.API}, DefaultResource: edgetest.OpenAPI, Lifetimes: grant.DefaultLifetimes(),
		},
	}
}

const aClient = `{"client_name":"Registered tool","redirect_uris":["http://127.0.0.1/callback","http://[::1]/callback"],
	"grant_types":["authorization_code","refresh_token","urn:ietf:params:oauth:grant-type:device_code"]}`

// register posts a registration; change changes the right request.
func register(s *edgetest.Server, body string, change func(*http.Request)) *edgetest.Response {
	r, err := http.NewRequest(http.MethodPost, s.Issuer+oauth.PathRegister, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+initial.Reveal())
	if change != nil {
		change(r)
	}
	return s.Do(r)
}

// registered reads a registration's answer.
func registered(t *testing.T, res *edgetest.Response) oauth.Registered {
	t.Helper()
	var out oauth.Registered
	if err := json.Unmarshal([]byte(res.Body), &out); err != nil || res.Status != http.StatusCreated || !strings.HasPrefix(out.ClientID, "cli_") {
		t.Fatalf("%d %s, %v", res.Status, res.Body, err)
	}
	return out
}

// TestRegister registers a client, which logs in like any other, before and
// after a restart.
//
// Invariant: CL-6, CL-10, CL-12
func TestRegister(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{Registration: opened()})
	n := s.Size()
	res := register(s, aClient, nil)
	out := registered(t, res)
	if out.IssuedAt != s.Clock.Now().Unix() || out.AuthMethod != "none" || res.Header.Get("Cache-Control") != "no-store" || strings.Contains(res.Body, "secret\"") {
		t.Errorf("%v %s", res.Header, res.Body)
	}
	records := s.Since(n)
	if len(records) != 1 || records[0].Name != event.ClientAdded || records[0].Client != out.ClientID || records[0].Reason != event.ReasonRegistered || records[0].Detail != "ci" {
		t.Errorf("recorded %+v", records)
	}
	if strings.Contains(s.Log.String(), initial.Reveal()) {
		t.Error("the initial access token stands in the log")
	}
	for _, when := range []string{"at once", "after a restart"} {
		t.Run(when, func(t *testing.T) {
			tool := s.NewTool(out.ClientID)
			tool.Key = nil
			tool.Login()
			if tool.Token.TokenType != "Bearer" || tool.Token.Resource != edgetest.OpenAPI {
				t.Errorf("%+v", tool.Token.Resource)
			}
			bound := s.NewTool(out.ClientID)
			bound.Browser, bound.Resource = tool.Browser, edgetest.API
			bound.Login()
			if bound.Token.TokenType != "DPoP" {
				t.Errorf("token type %s", bound.Token.TokenType)
			}
			s.Restart()
			tool.Take(tool.Post(oauth.PathToken, tool.RefreshParams()))
		})
	}
	// Neither the server's own API nor a bearer token for a resource that takes none.
	own := s.NewTool(out.ClientID)
	own.Resource, own.Scope = s.Issuer+oauth.PathAPI, "account"
	refused(t, own.Push(), oauth.ResourceUnknown)
}

// TestRegisterKinds: what the client asked to be is what it is held to.
//
// Invariant: CL-7
func TestRegisterKinds(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{Registration: opened()})
	kind := func(more string) *edgetest.Tool {
		t.Helper()
		out := registered(t, register(s, strings.TrimSuffix(aClient, "}")+","+more+"}", nil))
		return s.NewTool(out.ClientID)
	}
	bound := kind(`"dpop_bound_access_tokens":true`)
	bound.Key = nil
	refused(t, bound.Push(), oauth.ProofRequired)

	pushed := kind(`"require_pushed_authorization_requests":true`)
	pushed.Browser.Open(pushed.AuthorizeURL())
	if !strings.Contains(pushed.Browser.Page.Body, string(oauth.PARRequired)) {
		t.Errorf("a plain request of a client that must push: %s", pushed.Browser.Page.Body)
	}
	shaken := kind(`"keytether_handshake_required":true`)
	shaken.Mode = "query"
	refused(t, shaken.Push(), oauth.UnsupportedMode)
	shaken.Mode = "form_post"
	if res := shaken.Push(); res.Status != http.StatusCreated {
		t.Errorf("%d %s", res.Status, res.Body)
	}
	scoped := kind(`"scope":"read openid"`)
	scoped.Scope = "write"
	refused(t, scoped.Push(), oauth.ScopeUnknown)
	public := kind(`"scope":"read"`)
	refused(t, public.PostAs(edgetest.ByPost(public.Client, "x"), oauth.PathPAR, public.Params()), oauth.ClientAuthentication)
	public.Redirect = "https://app.example.test/callback"
	refused(t, public.Push(), oauth.RedirectMismatch)
}

// TestRegisterRefuses sends one wrong thing at a time. Nothing is recorded.
//
// Invariant: CL-6, CL-7
func TestRegisterRefuses(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{Registration: opened()})
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", token) }
	}
	other := secret.Mint(secret.Initial, [32]byte{3}).Reveal()
	for _, c := range []struct {
		name, body string
		change     func(*http.Request)
		code       oauth.Code
	}{
		{"no token", aClient, func(r *http.Request) { r.Header.Del("Authorization") }, oauth.TokenMissing},
		{"another token", aClient, bearer("Bearer " + other), oauth.InitialTokenInvalid},
		{"half a token", aClient, bearer("Bearer " + initial.Reveal()[:20]), oauth.InitialTokenInvalid},
		{"its hash", aClient, bearer("Bearer " + initial.Hash().Base64()), oauth.InitialTokenInvalid},
		{"its name", aClient, bearer("Bearer ci"), oauth.InitialTokenInvalid},
		{"as Basic", aClient, func(r *http.Request) { r.SetBasicAuth("ci", initial.Reveal()) }, oauth.InitialTokenInvalid},
		{"as DPoP", aClient, bearer("DPoP " + initial.Reveal()), oauth.InitialTokenInvalid},
		{"twice", aClient, func(r *http.Request) { r.Header.Add("Authorization", "Bearer "+initial.Reveal()) }, oauth.InitialTokenInvalid},
		{"in the query", aClient, func(r *http.Request) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = "access_token=" + initial.Reveal()
		}, oauth.TokenMissing},
		{"GET", "", func(r *http.Request) { r.Method = http.MethodGet }, oauth.BadMethod},
		{"a form", aClient, func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }, oauth.MetadataUnfit},
		{"no JSON", "{", nil, oauth.MetadataUnfit},
		{"too large", `{"client_name":"` + strings.Repeat("x", oauth.MaxBody) + `"}`, nil, oauth.TooLarge},
		{"no name", `{"redirect_uris":["http://127.0.0.1/callback"]}`, nil, oauth.MetadataUnfit},
		{"another client's name", strings.Replace(aClient, "Registered tool", "keyTETHER", 1), nil, oauth.MetadataUnfit},
		{"a web app", strings.Replace(aClient, "http://127.0.0.1/callback", "https://app.example.test/callback", 1), nil, oauth.RedirectUnfit},
		{"localhost", strings.Replace(aClient, "127.0.0.1", "localhost", 1), nil, oauth.RedirectUnfit},
		{"a confidential client", strings.Replace(aClient, "{", `{"token_endpoint_auth_method":"client_secret_basic",`, 1), nil, oauth.MetadataUnfit},
		{"an unknown scope", strings.Replace(aClient, "{", `{"scope":"everything",`, 1), nil, oauth.MetadataUnfit},
		{"a scope of the server's API", strings.Replace(aClient, "{", `{"scope":"admin",`, 1), nil, oauth.MetadataUnfit},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := s.Size()
			res := register(s, c.body, c.change)
			refused(t, res, c.code)
			s.Expect(n)
			challenge := res.Header.Get("WWW-Authenticate")
			if (res.Status == http.StatusUnauthorized) != strings.HasPrefix(challenge, "Bearer") {
				t.Errorf("%d with the challenge %q", res.Status, challenge)
			}
			if c.code == oauth.TokenMissing && challenge != "Bearer" {
				t.Errorf("who sent nothing is told %q", challenge)
			}
		})
	}
	if list, err := s.Store.Clients(t.Context(), "default"); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// Without a word in the config there is no endpoint, and the metadata names none.
//
// Invariant: CL-6
func TestRegistrationClosed(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	endpoint := func() any {
		r, _ := http.NewRequest(http.MethodGet, s.Issuer+oauth.WellKnownOAuth, nil)
		var m map[string]any
		if err := json.Unmarshal([]byte(s.Do(r).Body), &m); err != nil {
			t.Fatal(err)
		}
		return m["registration_endpoint"]
	}
	refused(t, register(s, aClient, nil), oauth.NotFound)
	if e := endpoint(); e != nil {
		t.Errorf("the metadata names %v", e)
	}
	s.Auth.UseRegistry(s.Auth.Registry().WithRegistration(opened()))
	registered(t, register(s, aClient, nil))
	if e := endpoint(); e != s.Issuer+oauth.PathRegister {
		t.Errorf("the metadata names %v", e)
	}
}

// TestRegisteredClientGone: when the name of its initial access token goes, when
// it is disabled, or when registration ends, a client is none any more, and its
// grants are revoked. It may come back; they do not. A new hash under the old
// name leaves it alone.
//
// Invariant: CL-8
func TestRegisteredClientGone(t *testing.T) {
	var id string
	for _, c := range []struct {
		name string
		reg  func(*authserver.Registration) *authserver.Registration
		gone bool
	}{
		{"its token's name", func(r *authserver.Registration) *authserver.Registration { r.Tokens = r.Tokens[:1]; return r }, true},
		{"itself", func(r *authserver.Registration) *authserver.Registration { r.Disabled = []string{id}; return r }, true},
		{"registration", func(*authserver.Registration) *authserver.Registration { return nil }, true},
		{"its token's hash", func(r *authserver.Registration) *authserver.Registration {
			r.Tokens[1].Hash = r.Tokens[0].Hash
			r.Tokens = r.Tokens[1:]
			return r
		}, false},
		{"another", func(r *authserver.Registration) *authserver.Registration { r.Disabled = []string{"cli_x"}; return r }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := edgetest.NewServer(t, edgetest.Options{Registration: opened()})
			id = registered(t, register(s, aClient, nil)).ClientID
			tool := s.NewTool(id)
			tool.Key = nil
			tool.Login()
			use := func(r *authserver.Registration) int64 {
				n := s.Size()
				s.Auth.UseRegistry(s.Auth.Registry().WithRegistration(r))
				if err := s.Auth.Seed(t.Context(), nil, nil); err != nil {
					t.Fatal(err)
				}
				return n
			}
			n := use(c.reg(opened()))
			if !c.gone {
				s.Expect(n)
				tool.Take(tool.Post(oauth.PathToken, tool.RefreshParams()))
				return
			}
			s.Expect(n, event.GrantRevoked, event.ClientDisabled)
			refused(t, tool.Post(oauth.PathToken, tool.RefreshParams()), oauth.UnknownClient)
			refused(t, tool.Push(), oauth.UnknownClient)
			tool.Browser.Open(tool.AuthorizeURL())
			tool.Browser.Has(t, http.StatusForbidden, "not registered")
			s.Restart() // whose config is the first again
			n = s.Size()
			if !slices.Contains(s.Events(0), event.ClientChanged) {
				t.Error("that it is a client again is not recorded")
			}
			refused(t, tool.Post(oauth.PathToken, tool.RefreshParams()), oauth.GrantEnded)
			s.Expect(n)
			again := s.NewTool(id)
			again.Key = nil
			again.Login()
		})
	}
}

// An initial access token registers so many clients and no more, at once too;
// another one's room is its own.
//
// Invariant: CL-9
func TestRegistrationIsBounded(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{Registration: opened()})
	call := authserver.RegisterCall{Authorization: []string{"Bearer " + initial.Reveal()}, Body: []byte(aClient)}
	var wait sync.WaitGroup
	var mu sync.Mutex
	made, full := map[string]bool{}, 0
	for range 16 {
		wait.Go(func() {
			for range 70 {
				out, err := s.Auth.Register(t.Context(), call)
				mu.Lock()
				if err == nil {
					made[out.ClientID] = true
				} else if full++; err.Error() != string(oauth.RegistrationFull) {
					t.Error(err)
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	if len(made) != 1000 || full != 16*70-1000 {
		t.Errorf("%d clients, %d refused", len(made), full)
	}
	refused(t, register(s, aClient, nil), oauth.RegistrationFull)
	registered(t, register(s, aClient, func(r *http.Request) {
		r.Header.Set("Authorization", fmt.Sprint("bearer ", secret.Mint(secret.Initial, [32]byte{2}).Reveal()))
	}))
	if list, err := s.Store.Clients(t.Context(), "default"); err != nil || len(list) != 1001 {
		t.Errorf("%d kept, %v", len(list), err)
	}
}
