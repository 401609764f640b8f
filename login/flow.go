package login

import (
	"context"
	"os"
	"os/user"
	"runtime"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
)

// LoginOptions say how to log in. All but Issuer may be empty, Issuer only where
// KEYTETHER_ISSUER names it.
type LoginOptions struct {
	Issuer       string // URL of the authorization server (RFC 8414)
	ClientID     string // empty: KEYTETHER_CLIENT, else Keytether's own client "keytether"
	CallbackPort int    // the loopback port that the browser comes back to; 0: any free one
	LoginHint    string // the account meant; another one is refused with ErrDenied

	// Flow is FlowAuto, FlowBrowser or FlowDevice; empty means FlowBrowser. A program
	// that leaves the choice to the agent, with FlowAuto, must show the event
	// EventDeviceCode: nobody can log in with a code that nobody sees.
	Flow string

	// Opener opens a URL in the person's browser and returns soon; it is called at most once.
	// If it is nil, or fails, the login goes on: the person may open the link, which came
	// with the event, in a browser on this computer.
	Opener func(ctx context.Context, url string) error
}

// Flows of a login.
const (
	FlowAuto    = agentwire.FlowAuto    // a browser where one can be opened, a device code over SSH, in a container, without a display; never anything in CI
	FlowBrowser = agentwire.FlowBrowser // a browser on this computer (RFC 8252)
	FlowDevice  = agentwire.FlowDevice  // a code that the person enters on any device (RFC 8628)
)

// EventKind names what an Event tells.
type EventKind string

// The kinds of events.
const (
	EventBrowser EventKind = "browser" // URL is the link that the person opens
	EventOpened  EventKind = "opened"  // the Opener was called; Err is its error, if any
	EventWaiting EventKind = "waiting" // still alive, now and then

	// EventDeviceCode: the person opens URL on any device and enters UserCode there. After an
	// EventBrowser it is a second way, offered because the browser does not come back.
	EventDeviceCode EventKind = "device_code"
)

// Event is one step of a login in progress.
type Event struct {
	Kind EventKind
	URL  string // a one-time link to this computer, or the address for UserCode; it holds no token and no code
	Err  error

	UserCode  string
	ExpiresAt time.Time // until when UserCode can be entered, UTC
	Reason    string    // why this flow was chosen, in words; may be empty
}

// Login starts an agent if none runs, logs the person in with the browser or with a device code,
// and gives whose login it is. What is written to the agent's profile replaces the login that was there. on, which may
// be nil, gets each step, from one goroutine. Ending ctx cancels the login.
//
// Errors: ErrDenied (by the person or by policy), ErrExpired (nobody finished it in time),
// ErrUnreachable, ErrUsage, ErrAgent.
func (c *Client) Login(ctx context.Context, opt LoginOptions, on func(Event)) (Account, error) {
	if on == nil {
		on = func(Event) {}
	}
	if opt.Issuer == "" {
		opt.Issuer = os.Getenv("KEYTETHER_ISSUER")
	}
	if opt.Issuer == "" {
		return Account{}, usage("the login was not started", "no issuer is named: set LoginOptions.Issuer or KEYTETHER_ISSUER")
	}
	if opt.ClientID == "" {
		opt.ClientID = os.Getenv("KEYTETHER_CLIENT")
	}
	if opt.ClientID == "" {
		opt.ClientID = "keytether"
	}
	if opt.Flow == "" {
		opt.Flow = FlowBrowser
	}
	if err := c.ensure(ctx); err != nil {
		return Account{}, err
	}
	var who agentwire.Whoami
	opened := false
	folder, _ := os.Getwd() // without one, a relative path says nothing
	err := c.agent.Login(ctx, agentwire.LoginRequest{
		Profile: c.opt.Profile, Issuer: opt.Issuer, ClientID: opt.ClientID, Scope: c.opt.Scope, Resource: c.opt.Resource,
		Flow: opt.Flow, NoBrowser: opt.Opener == nil, CallbackPort: opt.CallbackPort, LoginHint: opt.LoginHint,
		Env: agentwire.CallerEnv(os.Environ()).In(folder), Facts: facts(),
	}, func(e agentwire.Event) error {
		switch e.Event {
		case agentwire.EventBrowser:
			on(Event{Kind: EventBrowser, URL: e.URL, Reason: e.Reason})
			if opt.Opener != nil && !opened {
				opened = true
				on(Event{Kind: EventOpened, URL: e.URL, Err: opt.Opener(ctx, e.URL)})
			}
		case agentwire.EventDeviceCode:
			on(Event{Kind: EventDeviceCode, URL: e.VerificationURI, UserCode: e.UserCode, ExpiresAt: e.ExpiresAt, Reason: e.Reason})
		case agentwire.EventWaiting:
			on(Event{Kind: EventWaiting})
		case agentwire.EventDone:
			who = *e.Done
		}
		return nil
	})
	if err != nil {
		return Account{}, wrap(err)
	}
	return account(who), nil
}

// facts are what the consent page shows about where a login was started.
func facts() agentwire.Facts {
	f := agentwire.Facts{Platform: runtime.GOOS + "/" + runtime.GOARCH}
	f.Host, _ = os.Hostname()
	if u, err := user.Current(); err == nil {
		f.OSUser = u.Username
	}
	return f
}
