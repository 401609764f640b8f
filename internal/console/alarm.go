package console

import (
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/grant"
)

// Alarm tells that a copy of a token was used.
type Alarm struct {
	authserver.Alarm
	Now time.Time
}

// Words says what happened and what came of it.
func (a Alarm) Words() string {
	s := "A copy of a token was used at " + a.Resource
	switch {
	case a.Refresh:
		s = "A copy of a refresh token was used here"
	case a.Kind == grant.TripBearer:
		s = "A token was used without its key at " + a.Resource + ", as a copy would be"
	}
	if a.Burned {
		s = "Somebody who held a copy of a token of " + a.Client + " said so at this server's page for leaked tokens"
	}
	if a.Address != "" {
		s += ", from " + a.Address
	}
	if a.Burned {
		return s + ". The login was ended; log in again."
	}
	s += ". It was refused."
	switch {
	case a.Ended:
		return s + " The login of " + a.Client + " that it came from was ended; log in again."
	case a.Refresh:
		return s
	}
	return s + " That token was ended; the login of " + a.Client + " goes on."
}

// When says how long ago it was.
func (a Alarm) When() string { return ago(a.Now, a.At) }
