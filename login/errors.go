package login

import (
	"context"
	"errors"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/peersock"
)

// Error is every error of this package: words for a person, and a sentinel for errors.Is.
type Error struct {
	What string // what happened
	Why  string // may be empty
	Do   string // what to do; may be empty

	kind, cause error
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

// Unwrap gives the sentinel and the cause.
func (e *Error) Unwrap() []error {
	out := make([]error, 0, 2)
	for _, err := range []error{e.kind, e.cause} {
		if err != nil {
			out = append(out, err)
		}
	}
	return out
}

func usage(what, why string) error { return &Error{kind: ErrUsage, What: what, Why: why} }

// wrap gives an error of the agent or of its socket a sentinel. What ended because a context
// ended stays as it is.
func wrap(err error) error {
	if known, ok := errors.AsType[*Error](err); ok {
		return known
	}
	if errors.Is(err, peersock.ErrNotRunning) {
		return &Error{
			kind: ErrNotLoggedIn, What: "you are not logged in", Why: "no agent is running, and only an agent holds a login",
			Do: "Run `keytether login`", cause: err,
		}
	}
	if e, ok := errors.AsType[*agentwire.Error](err); ok {
		return &Error{kind: kindOf(e.Code), What: e.What, Why: e.Why, Do: e.Do, cause: e}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &Error{kind: ErrAgent, What: "the agent cannot be used", Why: err.Error(), cause: err}
}

func kindOf(c agentwire.Code) error {
	switch c {
	case agentwire.NotLoggedIn:
		return ErrNotLoggedIn
	case agentwire.Denied, agentwire.Scope, agentwire.ResourceNotAllowed, agentwire.AccountMismatch:
		return ErrDenied
	case agentwire.Expired:
		return ErrExpired
	case agentwire.Unreachable:
		return ErrUnreachable
	case agentwire.Usage:
		return ErrUsage
	}
	return ErrAgent
}
