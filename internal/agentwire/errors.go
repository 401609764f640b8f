package agentwire

import (
	"errors"
	"net/http"
	"slices"
)

// Code names one kind of failure. A Code is itself an error, so that callers can ask
// errors.Is(err, agentwire.NotLoggedIn). In brackets: the exit code that the command makes of it.
type Code string

const (
	Failed              Code = "failed"                // [1] anything that has no code of its own
	Locked              Code = "locked"                // [1] the agent is locked; unlock it
	Clock               Code = "clock"                 // [1] this machine's clock is wrong
	AgentGone           Code = "agent_gone"            // [1] the agent ended, or never answered; made by the client, never sent
	Busy                Code = "busy"                  // [1] the agent was asked to stop only if idle, and is not
	Unsupported         Code = "unsupported"           // [1] this agent does not know the call or the protocol
	Usage               Code = "usage"                 // [2] the request is wrong
	NotLoggedIn         Code = "not_logged_in"         // [3] no login, or the grant was revoked or has expired
	Denied              Code = "denied"                // [4] by the person or by policy
	Scope               Code = "scope"                 // [4] more scope than the login was given
	ResourceNotAllowed  Code = "resource_not_allowed"  // [4] the URL or resource is not this login's
	AccountMismatch     Code = "account_mismatch"      // [4] the person signed in as another account than was asked for
	Expired             Code = "expired"               // [5] nobody finished the login in time
	Unreachable         Code = "unreachable"           // [6] the server cannot be reached
	StoreUnusable       Code = "store_unusable"        // [7] no credential store works
	PassphraseWanted    Code = "passphrase_wanted"     // [7] the store that was named is locked; unlock it (UnlockStoreRequest)
	NewPassphraseWanted Code = "new_passphrase_wanted" // [7] the store that was named is made with a passphrase, and is not there yet
)

var statuses = []struct {
	code   Code
	status int
}{
	{Failed, http.StatusInternalServerError},
	{Locked, http.StatusLocked},
	{Clock, http.StatusBadGateway},
	{AgentGone, http.StatusServiceUnavailable},
	{Busy, http.StatusConflict},
	{Unsupported, http.StatusNotFound},
	{Usage, http.StatusBadRequest},
	{NotLoggedIn, http.StatusUnauthorized},
	{Denied, http.StatusForbidden},
	{Scope, http.StatusForbidden},
	{ResourceNotAllowed, http.StatusForbidden},
	{AccountMismatch, http.StatusForbidden},
	{Expired, http.StatusGone},
	{Unreachable, http.StatusBadGateway},
	{StoreUnusable, http.StatusInternalServerError},
	{PassphraseWanted, http.StatusLocked},
	{NewPassphraseWanted, http.StatusLocked},
}

// Codes gives the closed list, in the order of the exit codes.
func Codes() []Code {
	out := make([]Code, len(statuses))
	for i, s := range statuses {
		out[i] = s.code
	}
	return out
}

// Known says whether c is in the closed list.
func (c Code) Known() bool { return slices.Contains(Codes(), c) }

// HTTPStatus is the status an answer with this code has. Clients read the code, not the status.
func (c Code) HTTPStatus() int {
	for _, s := range statuses {
		if s.code == c {
			return s.status
		}
	}
	return http.StatusInternalServerError
}

// Error makes a Code a target for errors.Is.
func (c Code) Error() string { return "agent: " + string(c) }

// Error is every failure on this wire: what happened, why, and what to do, in words for a
// person. It never holds a token, a code or a URL with a query.
type Error struct {
	Code Code   `json:"code"`
	What string `json:"what"`
	Why  string `json:"why,omitempty"`
	Do   string `json:"do,omitempty"`

	cause error // stays on this side of the wire
}

// NewError makes an Error; why and do may be empty. cause, if not nil, is kept for errors.Is and not sent.
func NewError(code Code, what, why, do string, cause error) *Error {
	return &Error{Code: code, What: what, Why: why, Do: do, cause: cause}
}

// Error is one line: what, then why, then what to do.
func (e *Error) Error() string {
	s := e.What
	if e.Why != "" {
		s += ": " + e.Why
	}
	if e.Do != "" {
		s += ". " + e.Do
	}
	return s
}

// Is matches the Code.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	return ok && c == e.Code
}

// Unwrap gives the local cause, if any.
func (e *Error) Unwrap() error { return e.cause }

// AsError gives err as an Error: itself if it is or wraps one, else code "failed" with err's words as why.
func AsError(err error, what string) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return NewError(Failed, what, err.Error(), "", err)
}

// Sentinels of decoding. None of them repeats the input.
var (
	ErrTooLarge        = errors.New("agentwire: body too large")
	ErrMalformed       = errors.New("agentwire: not one JSON object of the expected shape")
	errSecretNotString = errors.New("agentwire: a secret must be a JSON string")
)
