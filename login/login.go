// Package login lets a Go program call an API as the person who is logged in on this computer.
//
//	c, err := login.New(login.Options{Resource: "https://api.example.test"})
//	…
//	api := &http.Client{Transport: c.RoundTripper(nil)}
//	res, err := api.Get("https://api.example.test/reports")
//
// The package contains no OAuth and holds no key. It asks the Keytether agent of this user, over
// a local socket whose other end it checks, for the two header values of each request: a short
// access token, and a proof by a key that never leaves the agent (DPoP, RFC 9449). Renewal is the
// agent's work; there is nothing to refresh, to store or to lose here.
//
// The person logs in with `keytether login`, or by [Client.Login] from inside the program.
//
// # Errors
//
// Every error can be asked with errors.Is for one of the sentinels ([ErrNotLoggedIn],
// [ErrDenied], [ErrExpired], [ErrUnreachable], [ErrUsage], [ErrAgent]) and reads as what
// happened, why, and what to do. None holds a token or a URL with a query.
package login

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/agentstart"
	"github.com/keytether/keytether/internal/agentwire"
)

// Options say whose login a Client uses, and for what. All may be empty.
type Options struct {
	// Profile names a login when there are several (`keytether login --profile NAME`). Empty:
	// KEYTETHER_PROFILE, else "default".
	Profile string

	// Resource is the API's resource indicator, an absolute URI without fragment (RFC 8707).
	// Every request of the RoundTripper must lie under its origin and path. Empty: the resource
	// that the person logged in for; the agent then decides alone.
	Resource string

	// Scope narrows the login's scope, names separated by spaces (RFC 6749 section 3.3). It
	// cannot widen it. Empty: all of it.
	Scope string

	// Socket is the absolute path of the agent's socket. Empty: KEYTETHER_SOCKET, else
	// $XDG_RUNTIME_DIR/keytether/agent.sock, else in the user's state folder; on Windows a
	// named pipe of this user.
	Socket string
}

// Client asks the agent. It is safe for concurrent use and needs no closing; make one per
// profile and resource and keep it.
type Client struct {
	opt    Options
	socket string
	agent  *agentwire.Client

	mu     sync.Mutex
	nonces map[string]string // origin -> the last DPoP-Nonce that it gave
}

// New makes a Client. It does not connect: whether an agent runs and anybody is logged in shows
// at the first use. The error is ErrUsage (options that cannot be right), or ErrAgent when
// nothing in the environment says where the socket is.
func New(opt Options) (*Client, error) {
	if opt.Profile == "" {
		opt.Profile = os.Getenv("KEYTETHER_PROFILE")
	}
	if opt.Resource != "" {
		if _, err := parseResource(opt.Resource); err != nil {
			return nil, err
		}
	}
	getenv := os.Getenv
	if opt.Socket != "" {
		getenv = func(name string) string {
			if name == "KEYTETHER_SOCKET" {
				return opt.Socket
			}
			return os.Getenv(name)
		}
	}
	socket, err := agentstart.Socket(getenv)
	if err != nil {
		return nil, &Error{kind: ErrAgent, What: "the agent's socket is not known", Why: err.Error(), cause: err}
	}
	c := &Client{opt: opt, socket: socket, nonces: map[string]string{}}
	c.agent = agentwire.NewClient(func(ctx context.Context) (net.Conn, error) {
		return agentstart.Dial(ctx, agentstart.Options{Socket: socket, Env: os.Environ()})
	})
	return c, nil
}

// Token is an access token for something that can only take a token. A DPoP token is refused
// by its API without a proof, which only the RoundTripper (or the agent) can make.
type Token struct {
	Access    Secret
	Type      string    // "DPoP" or "Bearer"
	ExpiresAt time.Time // UTC, whole seconds; the API may refuse it earlier, never later
	Scope     string    // names separated by spaces
	Resource  string    // empty if the server does not say
}

// Token asks for an access token. The agent renews it when it is about to end, so ask again
// instead of keeping it. Errors: ErrNotLoggedIn, ErrDenied (more scope or another resource than
// the login's), ErrUnreachable (the authorization server), ErrAgent.
func (c *Client) Token(ctx context.Context) (Token, error) {
	res, err := c.agent.Token(ctx, agentwire.TokenRequest{Profile: c.opt.Profile, Resource: c.opt.Resource, Scope: c.opt.Scope})
	if err != nil {
		return Token{}, wrap(err)
	}
	return Token{
		Access: Secret{s: res.AccessToken.Reveal()}, Type: res.TokenType,
		ExpiresAt: res.ExpiresAt, Scope: res.Scope, Resource: res.Resource,
	}, nil
}

// Account says whose login it is. Fields are empty where the server does not say.
type Account struct {
	Profile   string
	Issuer    string // the authorization server (RFC 8414)
	Subject   string // the account's id at the issuer
	Username  string // what a person calls the account
	ClientID  string
	GrantID   string
	Scope     string // names separated by spaces
	Resource  string
	Flow      string    // FlowBrowser or FlowDevice
	ExpiresAt time.Time // end of the whole login, UTC; zero if the server does not say
}

func account(w agentwire.Whoami) Account {
	return Account{
		Profile: w.Profile, Issuer: w.Issuer, Subject: w.Subject, Username: w.Username, ClientID: w.ClientID,
		GrantID: w.GrantID, Scope: w.Scope, Resource: w.Resource, Flow: w.Flow, ExpiresAt: w.ExpiresAt,
	}
}

// Whoami asks whose login this is. Errors: ErrNotLoggedIn, ErrAgent.
func (c *Client) Whoami(ctx context.Context) (Account, error) {
	w, err := c.agent.Whoami(ctx, c.opt.Profile)
	if err != nil {
		return Account{}, wrap(err)
	}
	return account(w), nil
}

// Logout revokes the login at its server (RFC 7009) and wipes it here. It is wiped even when
// the server cannot be reached; then the error is ErrUnreachable, and the login lives on at the
// server until it expires. Errors: ErrNotLoggedIn (nothing to do), ErrAgent.
func (c *Client) Logout(ctx context.Context) error {
	res, err := c.agent.Logout(ctx, agentwire.LogoutRequest{Profile: c.opt.Profile})
	switch {
	case err != nil:
		return wrap(err)
	case !res.Wiped:
		return &Error{kind: ErrAgent, What: "the login was not wiped", Why: res.Warning}
	case !res.Revoked:
		return &Error{kind: ErrUnreachable, What: "the login was wiped here but not revoked at its server", Why: res.Warning}
	}
	return nil
}

// ensure finds the agent or starts it.
func (c *Client) ensure(ctx context.Context) error {
	agent, _, err := agentstart.Ensure(ctx, agentstart.Options{Socket: c.socket, Env: os.Environ()})
	if err != nil {
		return wrap(err)
	}
	agent.Close()
	return nil
}

// Sentinels, for errors.Is.
var (
	// ErrNotLoggedIn: nobody is logged in, the login has expired or was revoked, or no agent
	// runs that could hold one. The remedy is to log in.
	ErrNotLoggedIn = errors.New("login: not logged in")
	// ErrDenied: the person or policy said no; or the URL, resource or scope is not this login's.
	ErrDenied = errors.New("login: denied")
	// ErrExpired: nobody finished the login in time.
	ErrExpired = errors.New("login: expired")
	// ErrUnreachable: the authorization server cannot be reached.
	ErrUnreachable = errors.New("login: the server cannot be reached")
	// ErrUsage: the call is wrong and will be wrong again.
	ErrUsage = errors.New("login: wrong usage")
	// ErrAgent: the agent is locked, too old, ended meanwhile, or is not who it should be.
	ErrAgent = errors.New("login: the agent cannot do this")
)
