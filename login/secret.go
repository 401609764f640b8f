package login

import (
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is an access token. It redacts itself in every way Go prints or marshals a value, and
// == does not compile on it. Only Reveal gives it away.
type Secret struct {
	_ [0]func()
	s string
}

// Reveal gives the token itself. Call it where the token leaves for its API, nowhere else.
func (s Secret) Reveal() string { return s.s }

// String redacts.
func (s Secret) String() string { return redacted }

// Format redacts for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalJSON redacts.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText redacts.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue redacts.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }
