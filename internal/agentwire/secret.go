package agentwire

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a token, a proof or a passphrase on this wire. It redacts itself in every way Go
// prints a value (String, Format with any verb, LogValue), and == does not compile on it.
//
// MarshalJSON is the exception and gives the value, because carrying it is what the wire is
// for. So never hand a whole response to a JSON logger: those response types that hold a
// Secret have a LogValue of their own that leaves it out.
type Secret struct {
	_     [0]func() // not comparable
	value string
}

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value: value} }

// Reveal gives the value. Call it where the value leaves for its purpose, nowhere else.
func (s Secret) Reveal() string { return s.value }

// IsZero says that there is no value.
func (s Secret) IsZero() bool { return s.value == "" }

// Equal compares in constant time for equal lengths.
func (s Secret) Equal(o Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.value), []byte(o.value)) == 1
}

// String never gives the value.
func (s Secret) String() string { return redacted }

// Format never gives the value, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue never gives the value.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON gives the value: see the type.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.value) }

// UnmarshalJSON takes a JSON string; the error does not repeat what it read.
func (s *Secret) UnmarshalJSON(b []byte) error {
	var v string
	if err := json.Unmarshal(b, &v); err != nil {
		return errSecretNotString
	}
	s.value = v
	return nil
}
