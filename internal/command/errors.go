package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/keytether/keytether/internal/agentwire"
)

// The exit codes, see the package comment.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotLoggedIn = 3
	exitDenied      = 4
	exitExpired     = 5
	exitUnreachable = 6
	exitStore       = 7
)

// exitError ends the command with a code and without a word: all was said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

func usage(what, do string) error { return agentwire.NewError(agentwire.Usage, what, "", do, nil) }

func fail(what string, err error, do string) error {
	return agentwire.NewError(agentwire.Failed, what, err.Error(), do, err)
}

// errCancelled is what a person sees after Ctrl-C.
var errCancelled = agentwire.NewError(agentwire.Failed, "cancelled", "", "", context.Canceled)

// interruptible ends ctx at Ctrl-C, so that what was begun is cancelled and said to be. Commands
// that only ask and print do without: the signal ends them, and they start sooner.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second Ctrl-C ends the program whatever it does
	return ctx, stop
}

// cancelled says so of an error that came of Ctrl-C, whatever it looked like to who was interrupted.
func cancelled(ctx context.Context, err error) error {
	if _, ok := errors.AsType[exitError](err); ok || err == nil || ctx.Err() == nil {
		return err
	}
	return errCancelled
}

// exitCode is the one place where an error becomes an exit code. The codes of the agent's wire
// and of OAuth's catalogue mean the same numbers.
func exitCode(c agentwire.Code) int {
	switch c {
	case agentwire.Usage:
		return exitUsage
	case agentwire.NotLoggedIn:
		return exitNotLoggedIn
	case agentwire.Denied, agentwire.Scope, agentwire.ResourceNotAllowed, agentwire.AccountMismatch:
		return exitDenied
	case agentwire.Expired:
		return exitExpired
	case agentwire.Unreachable:
		return exitUnreachable
	case agentwire.StoreUnusable, agentwire.PassphraseWanted, agentwire.NewPassphraseWanted:
		return exitStore
	}
	return exitFailed
}

// report says an error and gives its exit code.
func (a *app) report(err error) int {
	if code, ok := errors.AsType[exitError](err); ok {
		return int(code)
	}
	e := describe(err)
	writeError(a.Stderr, e, a.colour(a.Stderr))
	if child, ok := errors.AsType[*childError](err); ok {
		return child.code
	}
	return exitCode(e.Code)
}

// describe gives every error the three parts: what happened, why, what to do.
func describe(err error) *agentwire.Error {
	if e, ok := errors.AsType[*agentwire.Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return agentwire.NewError(agentwire.Expired, "it took too long", "", "Try again", err)
	}
	return agentwire.NewError(agentwire.Failed, "keytether could not do this", err.Error(), "", err)
}

func writeError(w io.Writer, e *agentwire.Error, colour bool) {
	var b strings.Builder
	b.WriteString(paint("keytether: ", red, colour) + clean(e.What) + "\n")
	if e.Why != "" {
		b.WriteString("  why: " + clean(e.Why) + "\n")
	}
	if e.Do != "" {
		b.WriteString("  do:  " + clean(e.Do) + "\n")
	}
	_, _ = io.WriteString(w, b.String())
}
