package agentwire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// Client calls an agent. It is safe for concurrent use and keeps connections.
type Client struct {
	http *http.Client
	tr   *http.Transport // nil for a client that keeps no connections
}

// NewClient calls the agent that dial connects to; the caller's dial has checked who is there
// (package peersock).
func NewClient(dial func(context.Context) (net.Conn, error)) *Client {
	tr := &http.Transport{
		Proxy:                  nil, // a local socket, whatever the environment says
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 16 << 10,
		DisableCompression:     true,
	}
	return &Client{tr: tr, http: &http.Client{
		Transport:     tr,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Close drops idle connections. The client can still be used.
func (c *Client) Close() {
	if c.tr != nil {
		c.tr.CloseIdleConnections()
	}
}

// Version asks who answers.
func (c *Client) Version(ctx context.Context) (Version, error) {
	return call[Version](ctx, c, http.MethodGet, PathVersion, nil)
}

// Status asks for the agent and all its profiles.
func (c *Client) Status(ctx context.Context) (StatusResponse, error) {
	return call[StatusResponse](ctx, c, http.MethodGet, PathStatus, nil)
}

// Whoami asks whose login a profile is; an empty profile is the default one.
func (c *Client) Whoami(ctx context.Context, profile string) (Whoami, error) {
	path := PathWhoami
	if profile != "" {
		path += "?" + url.Values{"profile": {profile}}.Encode()
	}
	return call[Whoami](ctx, c, http.MethodGet, path, nil)
}

// Logout revokes at the server, then wipes.
func (c *Client) Logout(ctx context.Context, r LogoutRequest) (LogoutResponse, error) {
	return call[LogoutResponse](ctx, c, http.MethodPost, PathLogout, r)
}

// Token asks for an access token.
func (c *Client) Token(ctx context.Context, r TokenRequest) (TokenResponse, error) {
	return call[TokenResponse](ctx, c, http.MethodPost, PathToken, r)
}

// Authorize asks for the headers of one request.
func (c *Client) Authorize(ctx context.Context, r AuthorizeRequest) (AuthorizeResponse, error) {
	return call[AuthorizeResponse](ctx, c, http.MethodPost, PathAuthorize, r)
}

// Lock makes the agent refuse everything but version, status, unlock and stop.
func (c *Client) Lock(ctx context.Context, r LockRequest) error {
	_, err := call[Empty](ctx, c, http.MethodPost, PathLock, r)
	return err
}

// Unlock undoes Lock.
func (c *Client) Unlock(ctx context.Context, r LockRequest) error {
	_, err := call[Empty](ctx, c, http.MethodPost, PathUnlock, r)
	return err
}

// UnlockStore opens the store that is sealed with a passphrase.
func (c *Client) UnlockStore(ctx context.Context, r UnlockStoreRequest) error {
	_, err := call[Empty](ctx, c, http.MethodPost, PathUnlockStore, r)
	return err
}

// Stop ends the agent.
func (c *Client) Stop(ctx context.Context, r StopRequest) error {
	_, err := call[Empty](ctx, c, http.MethodPost, PathStop, r)
	return err
}

// Login runs a login and gives each event that it knows to on, the final one included. It
// returns nil after "done", the event's *Error after "error", on's error if on fails, and code
// "agent_gone" if the stream ends before. Ending ctx, or an error of on, cancels the login.
func (c *Client) Login(ctx context.Context, r LoginRequest, on func(Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := c.send(ctx, http.MethodPost, PathLogin, r, false)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(make([]byte, 4096), MaxLine)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var e Event
		if err := unmarshal(lines.Bytes(), &e); err != nil {
			return NewError(Failed, "the agent's answer is not understood", "a line of the login's stream is malformed", "", err)
		}
		switch e.Event {
		case EventBrowser, EventDeviceCode, EventWaiting, EventDone, EventError:
		default:
			continue
		}
		if err := on(e); err != nil {
			return err
		}
		switch e.Event {
		case EventDone:
			return nil
		case EventError:
			return e.Error
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return NewError(Failed, "the agent's answer is not understood", "an event of the login is too long", "", ErrTooLarge)
	}
	return gone("the login was not finished", lines.Err())
}

// LoginCode asks for a device code beside the browser of a login in progress.
func (c *Client) LoginCode(ctx context.Context, r LoginCodeRequest) error {
	_, err := call[Empty](ctx, c, http.MethodPost, PathLoginCode, r)
	return err
}

func gone(what string, cause error) *Error {
	why := "the agent closed the connection"
	if cause != nil {
		why = "the agent does not answer: " + cause.Error()
	}
	return NewError(AgentGone, what, why, "Try again; it starts anew by itself. If that repeats, see `keytether status`", cause)
}

func call[T any](ctx context.Context, c *Client, method, path string, body any) (T, error) {
	var out T
	res, err := c.send(ctx, method, path, body, true)
	if err != nil {
		return out, err
	}
	defer res.Body.Close()
	err = Decode(res.Body, MaxBody, &out)
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return out, context.Cause(ctx)
	case errors.Is(err, ErrMalformed), errors.Is(err, ErrTooLarge):
		return out, NewError(Failed, "the agent's answer is not understood", err.Error(), "", err)
	}
	return out, gone("the agent's answer broke off", err)
}

// pauses are waited before each further try of a call whose connection ended without an answer. A
// killed agent's connections may end before its socket does, so that a new one still reaches it.
func pauses() []time.Duration {
	return []time.Duration{0, 20 * time.Millisecond, 200 * time.Millisecond}
}

// send returns a 200 answer; anything else is an error. A repeatable call is sent again when the
// connection turns out to be dead: no call but login does harm twice.
func (c *Client) send(ctx context.Context, method, path string, body any, repeatable bool) (*http.Response, error) {
	var b []byte
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("agentwire: %w", err)
		}
	}
	res, err := c.once(ctx, method, path, b, repeatable)
	for _, pause := range pauses() {
		if !repeatable || !died(err) || ctx.Err() != nil {
			break
		}
		time.Sleep(pause)
		res, err = c.once(ctx, method, path, b, repeatable)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return nil, gone("the agent was not reached", err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	e := new(Error)
	if err := Decode(res.Body, MaxBody, e); err != nil || e.Code == "" {
		if res.StatusCode == http.StatusNotFound {
			return nil, NewError(Unsupported, "the agent does not know this call", "it is older than this program", "Run `keytether agent stop` and try again; that ends its logins", nil)
		}
		return nil, NewError(Failed, "the agent's answer is not understood", fmt.Sprintf("status %d without an error body", res.StatusCode), "", err)
	}
	return nil, e
}

// once sends a request; nil is no body.
func (c *Client) once(ctx context.Context, method, path string, body []byte, repeatable bool) (*http.Response, error) {
	var rd io.Reader
	if body != nil {
		rd = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://keytether"+path, rd)
	if err != nil {
		return nil, fmt.Errorf("agentwire: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if repeatable {
		req.Header["Idempotency-Key"] = nil // read by net/http, not sent
	}
	return c.http.Do(req)
}

// died says that a connection ended before its answer.
func died(err error) bool {
	for _, end := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}
