package authserver

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

// View is what the authorization page shows of a request.
type View struct {
	RequestURI string
	RequestID  string
	// RedirectURI is where the answer will go, for the page's own policy.
	RedirectURI string
	Client      Client
	Resource    Resource
	Scopes      []Scope // what this person may be asked for, in words
	Facts       event.Facts
	StartedAt   time.Time
	LoginHint   string
	Ends        time.Duration // how long the grant lasts at most
	Person      *Person       // nil: sign in first
	Lacking     bool          // the person has the role for none of the scopes
}

// Response is what the client must be told, through the browser.
type Response struct {
	RedirectURI string
	Mode        string // "form_post" or "query"
	Params      []Param
	// Handshake: the client's answer is awaited at the handshake endpoint.
	Handshake bool
	// Binding is the per-request cookie to set before; zero: none.
	Binding     secret.Value
	BindingName string
}

// Param is one parameter of a response.
type Param struct {
	Name  string
	Value secret.Value
}

// AuthorizeError is a failure that the client is told of through the browser
// (RFC 6749 §4.1.2.1). Any other failure is shown to the person, for then it is
// not known whether the redirect URI is the client's.
type AuthorizeError struct {
	Response Response
	Err      error
}

// Error says the cause.
func (e *AuthorizeError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *AuthorizeError) Unwrap() error { return e.Err }

// BeginPlain takes an authorization request that was not pushed (RFC 6749
// §4.1.1): it is kept as if it had been, and its request_uri returned, so that
// one page serves both and the address bar holds neither state nor scope.
func (s *Server) BeginPlain(_ context.Context, p oauth.Params, address string) (requestURI string, err error) {
	name, err := p.Need("client_id")
	if err != nil {
		return "", err
	}
	client, err := s.Registry().Client(name)
	if err != nil {
		return "", err
	}
	if client.PARRequired || client.Handshake {
		return "", oauth.Fail(oauth.PARRequired)
	}
	if _, err := client.redirect(p.Get("redirect_uri")); err != nil {
		return "", err
	}
	r, err := s.newRequest(client, p)
	if err != nil {
		redirect, _ := client.redirect(p.Get("redirect_uri"))
		mode, modeErr := client.responseMode(p)
		if modeErr != nil {
			mode = client.ResponseModes[0]
		}
		state := p.Get("state")
		if len(state) > oauth.MaxState {
			state = ""
		}
		return "", &AuthorizeError{s.failure(grant.Request{RedirectURI: redirect, ResponseMode: mode, State: state}, err), err}
	}
	r.Facts = event.Facts{Address: address}
	return s.remember(&r)
}

// Begin shows a request. A GET changes nothing: it may be a reload, a prefetch
// or a link scanner.
func (s *Server) Begin(ctx context.Context, clientID, requestURI string, b Browser) (View, error) {
	r, err := s.request(ctx, clientID, requestURI)
	if err != nil {
		return View{}, err
	}
	v, err := s.view(ctx, r.Value, requestURI, b)
	if err != nil {
		return View{}, err
	}
	return v, s.answerable(r.Value, v)
}

// answerable says whether there is anything left to ask the person.
func (s *Server) answerable(r grant.Request, v View) error {
	if r.Status != grant.Pending {
		return oauth.Fail(oauth.RequestDecided)
	}
	if r.Prompt == "none" {
		err := oauth.Fail(oauth.ConsentRequired) // a native client is not approved without a person (RFC 8252 §8.6)
		if v.Person == nil {
			err = oauth.Fail(oauth.LoginRequired)
		}
		return &AuthorizeError{s.failure(r, err), err}
	}
	return nil
}

// request finds an authorization request, opened or not.
func (s *Server) request(ctx context.Context, clientID, requestURI string) (store.Versioned[grant.Request], error) {
	var none store.Versioned[grant.Request]
	if _, err := s.Registry().Client(clientID); err != nil {
		return none, err
	}
	if _, err := secret.ParseRequestURI(requestURI); err != nil {
		return none, oauth.Fail(oauth.RequestURIUnknown)
	}
	v, err := s.requestByHandle(ctx, handleHash(requestURI))
	if err != nil {
		return none, err
	}
	if v.Value.Client != clientID { // bound to its client (RFC 9126 §2.2)
		return none, oauth.Fail(oauth.RequestURIUnknown)
	}
	return v, nil
}

func (s *Server) requestByHandle(ctx context.Context, h grant.Hash) (store.Versioned[grant.Request], error) {
	v, err := s.store.RequestByHandle(ctx, s.tenant, h)
	switch {
	case err == nil:
		return v, nil
	case !errors.Is(err, store.ErrNotFound):
		return v, problem(err)
	}
	if r, ok := s.pending.get(h, s.Now()); ok {
		return store.Versioned[grant.Request]{Value: r}, nil
	}
	return v, oauth.Fail(oauth.RequestURIUnknown)
}

func (s *Server) view(ctx context.Context, r grant.Request, requestURI string, b Browser) (View, error) {
	client, err := s.Registry().Client(r.Client)
	if err != nil {
		return View{}, err
	}
	res, err := s.Registry().Resource(r.Resource)
	if err != nil {
		return View{}, err
	}
	v := View{
		RequestURI: requestURI, RequestID: r.ID, RedirectURI: r.RedirectURI, Client: *client, Resource: *res, Facts: r.Facts,
		StartedAt: r.CreatedAt, LoginHint: r.LoginHint, Ends: r.Lifetimes.Grant,
	}
	if !r.Refresh {
		v.Ends = r.Lifetimes.Access
	}
	names := r.Scope
	p, ok, err := s.Person(ctx, b)
	if err != nil {
		return View{}, err
	}
	if ok && s.freshEnough(r, p) {
		v.Person = &p
		names = res.mayGrant(r.Scope, p.Account.Roles)
		v.Lacking = lacking(r.Scope, names)
	}
	for _, n := range names {
		v.Scopes = append(v.Scopes, res.Explain(n))
	}
	return v, nil
}

// lacking reports whether nothing is left of the scopes of the resource that were
// asked for.
func lacking(asked, may []string) bool {
	return !slices.ContainsFunc(may, func(n string) bool { _, b := builtin(n); return !b }) && len(may) < len(asked)
}

// freshEnough reports whether the sign-in is what the request asks for (OIDC
// Core §3.1.2.1: prompt=login, max_age). One that was made for this request
// always is; an older one is judged by its age when the request was made, so
// that a slow person is not sent round in circles.
func (s *Server) freshEnough(r grant.Request, p Person) bool {
	switch {
	case !p.Session.AuthTime.Before(r.CreatedAt):
		return true
	case strings.Contains(r.Prompt, "login"):
		return false
	}
	return r.MaxAge < 0 || r.CreatedAt.Sub(p.Session.AuthTime) <= time.Duration(r.MaxAge)*time.Second
}

// failure is an error response to the client (RFC 6749 §4.1.2.1), with iss (RFC
// 9207 §2).
func (s *Server) failure(r grant.Request, err error) Response {
	_, body := oauth.ResponseOf(err)
	return s.response(r, Param{"error", secret.New(body.Error)}, Param{"error_description", secret.New(body.Description)})
}

func (s *Server) response(r grant.Request, params ...Param) Response {
	all := []Param{{"iss", secret.New(s.issuer)}}
	if r.State != "" {
		all = append(all, Param{"state", secret.New(r.State)})
	}
	out := Response{RedirectURI: r.RedirectURI, Mode: r.ResponseMode, Params: append(all, params...)}
	if r.HandleHash != (grant.Hash{}) { // it was kept, and has a page of its own
		out.BindingName = bindingName(r.HandleHash)
	}
	return out
}
