package command

import (
	"bytes"
	"io"
	"os"

	"github.com/keytether/keytether/internal/agentwire"
)

// registrationToken reads an initial access token (RFC 7591 section 3) from a file or from
// standard input: in an argument other people of this computer could read it.
func (a *app) registrationToken(file string) (agentwire.Secret, error) {
	none := agentwire.Secret{}
	in := a.Stdin
	switch {
	case file == "":
		return none, nil
	case file != "-":
		f, err := os.Open(file)
		if err != nil {
			return none, usage("the initial access token cannot be read: "+cause(err).Error(), "Look at --registration-token-file")
		}
		defer f.Close()
		in = f
	case isTerminal(a.Stdin):
		return none, usage("the initial access token is not typed on a terminal, where it stays to be seen", "Pipe it in, or name a file")
	}
	b, err := io.ReadAll(io.LimitReader(in, 64<<10))
	if err != nil {
		return none, usage("the initial access token cannot be read: "+cause(err).Error(), "Look at --registration-token-file")
	}
	b = bytes.TrimSpace(b)
	if len(b) == 0 {
		return none, usage("there is no initial access token to read", "Look at --registration-token-file")
	}
	return agentwire.NewSecret(string(b)), nil
}
