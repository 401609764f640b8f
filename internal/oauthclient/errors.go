package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/outbound"
)

// Sentinels, for errors.Is. The wrapping error says why, in words for a person.
var (
	ErrDenied       = errors.New("the login was denied")
	ErrLocked       = errors.New("the server has locked this computer")
	ErrExpired      = errors.New("nobody finished the login in time")
	ErrUnreachable  = errors.New("the server cannot be reached")
	ErrIssuer       = errors.New("the issuer's address is not usable")
	ErrMetadata     = errors.New("the server's metadata is not usable")
	ErrRefused      = errors.New("the server refused the request")
	ErrInvalidGrant = errors.New("the server no longer honours this login")
	ErrInvalidScope = errors.New("the server refused the scope")
	ErrTarget       = errors.New("the server refused the resource")
	ErrAnswer       = errors.New("the server's answer is not usable")
	ErrIdentity     = errors.New("the server's word on who signed in does not hold")
	ErrAccount      = errors.New("another account signed in than was asked for")
	ErrClock        = errors.New("this machine's clock is wrong")
	ErrSetup        = errors.New("proxy or certificates are not usable")
	ErrRegister     = errors.New("the server did not register this program as a client")
	ErrNeedsToken   = errors.New("it wants an initial access token, or another one")
	ErrNoRevocation = errors.New("the server cannot revoke")
	ErrPort         = errors.New("the local port for the browser's answer cannot be had")
)

// Refusal is an error that the server answered (RFC 6749 §4.1.2.1, §5.2). It is
// ErrRefused, and by its code ErrInvalidGrant, ErrDenied, ErrInvalidScope or
// ErrTarget too; by our servers' own code ErrLocked, which ends no login.
type Refusal struct {
	Code        string     // the RFC's error code
	Description string     // the server's words, made printable and cut; may be empty
	Keytether   oauth.Code // our servers' own code; may be empty
}

// Error says the code and the server's words.
func (r *Refusal) Error() string {
	if r.Description == "" {
		return "the server answered " + r.Code
	}
	return "the server answered " + r.Code + ": " + r.Description
}

// Is matches the sentinels.
func (r *Refusal) Is(target error) bool {
	switch target {
	case ErrRefused:
		return true
	case ErrInvalidGrant:
		return r.Code == "invalid_grant"
	case ErrLocked:
		return r.Keytether == oauth.InstallationLocked
	case ErrDenied:
		return r.Code == "access_denied"
	case ErrInvalidScope:
		return r.Code == "invalid_scope"
	case ErrTarget:
		return r.Code == "invalid_target"
	}
	return false
}

// Explain gives the words of package outbound for what went wrong on the way: what
// happened, why, and what to do. ok is false for every other error.
func Explain(err error) (what, why, do string, ok bool) {
	e, ok := errors.AsType[*outbound.Error](err)
	if !ok {
		return "", "", "", false
	}
	return e.What, e.Why, e.Do, true
}

// unreachable names what package outbound reports. A redirect or a web page where
// none belongs is a network's sign-in page as often as not: the server was not
// reached.
func unreachable(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	case errors.Is(err, outbound.ErrClock):
		return fmt.Errorf("%w: %w", ErrClock, err)
	case errors.Is(err, outbound.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrAnswer, err)
	case errors.Is(err, outbound.ErrConfig):
		return fmt.Errorf("%w: %w", ErrSetup, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// refusal makes a Refusal of what stood on the wire; nothing of it is trusted.
func refusal(code, description string, own oauth.Code) *Refusal {
	r := &Refusal{Code: words(code, 64), Description: words(description, 300), Keytether: oauth.Code(words(string(own), 64))}
	if r.Code == "" {
		r.Code = "an error without a code"
	}
	return r
}

// words keeps printable ASCII, at most n bytes of it: what RFC 6749 §5.2 allows
// in an error_description, so that no escape sequence reaches a terminal.
func words(s string, n int) string {
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < n; i++ {
		if s[i] >= 0x20 && s[i] < 0x7f {
			b.WriteByte(s[i])
		}
	}
	return strings.TrimSpace(b.String())
}
