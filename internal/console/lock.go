package console

import (
	"io"
	"time"

	"github.com/keytether/keytether/internal/authserver"
)

// Lock is an installation that is locked because a decoy was used.
type Lock struct {
	authserver.Lock
	Unlock string // token of the form "Unlock"
	Revoke string // token of the form "Revoke all"
	Now    time.Time
}

// When says how long ago the decoy was used.
func (l Lock) When() string { return ago(l.Now, l.At) }

// Burn is the page for leaked tokens.
type Burn struct {
	Done bool // something was sent
}

// Burn writes the page.
func (s *Site) Burn(w io.Writer, p Burn) error {
	return s.render(w, "burn", "Burn a leaked token", p)
}
