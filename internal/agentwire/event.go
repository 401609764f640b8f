package agentwire

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Kinds of events.
const (
	EventBrowser    = "browser"     // url: open this
	EventDeviceCode = "device_code" // user_code, verification_uri, expires_at, interval: show these
	EventWaiting    = "waiting"     // still alive
	EventDone       = "done"        // the fields of Whoami
	EventError      = "error"       // the fields of Error
)

// Event is one line of a login's stream. Event says which other fields are there.
type Event struct {
	Event string `json:"event"`

	// browser: a one-time local link (http://127.0.0.1:PORT/start/…). Flow and Reason are the
	// choice that "auto" made and why; they come with browser and device_code.
	URL    string
	Flow   string
	Reason string

	// Login comes with browser where a device code can be asked for (LoginCodeRequest).
	Login string

	// device_code (RFC 8628 section 3.2). The device code itself never leaves the agent.
	// ExpiresAt is when the user code can no longer be typed; the login may go on after that.
	// Interval is the server's, in whole seconds; the agent polls, nobody else has to. After a
	// "browser" this event offers a second way: whichever is finished first counts.
	UserCode        string
	VerificationURI string
	ExpiresAt       time.Time
	Interval        int

	// done and error.
	Done  *Whoami
	Error *Error

	// Warning comes with done: the login stands, and yet something is to be told.
	Warning string
}

type browserLine struct {
	Event  string `json:"event"`
	URL    string `json:"url"`
	Flow   string `json:"flow,omitempty"`
	Reason string `json:"reason,omitempty"`
	Login  string `json:"login,omitempty"`
}

type deviceLine struct {
	Event           string    `json:"event"`
	UserCode        string    `json:"user_code"`
	VerificationURI string    `json:"verification_uri"`
	ExpiresAt       time.Time `json:"expires_at"`
	Interval        int       `json:"interval,omitempty"`
	Flow            string    `json:"flow,omitempty"`
	Reason          string    `json:"reason,omitempty"`
}

type doneLine struct {
	Event string `json:"event"`
	Whoami
	Warning string `json:"warning,omitempty"`
}

type errorLine struct {
	Event string `json:"event"`
	Error
}

// Final says that nothing follows this event.
func (e Event) Final() bool { return e.Event == EventDone || e.Event == EventError }

// MarshalJSON writes the flat line that the kind has. An unknown kind is written with its name alone.
func (e Event) MarshalJSON() ([]byte, error) {
	switch e.Event {
	case EventBrowser:
		return json.Marshal(browserLine{e.Event, e.URL, e.Flow, e.Reason, e.Login})
	case EventDeviceCode:
		return json.Marshal(deviceLine{e.Event, e.UserCode, e.VerificationURI, e.ExpiresAt, e.Interval, e.Flow, e.Reason})
	case EventDone:
		if e.Done == nil {
			return nil, fmt.Errorf("agentwire: event done without its fields: %w", ErrMalformed)
		}
		return json.Marshal(doneLine{e.Event, *e.Done, e.Warning})
	case EventError:
		if e.Error == nil {
			return nil, fmt.Errorf("agentwire: event error without its fields: %w", ErrMalformed)
		}
		return json.Marshal(errorLine{e.Event, *e.Error})
	}
	return json.Marshal(struct {
		Event string `json:"event"`
	}{e.Event})
}

// UnmarshalJSON reads a flat line. A kind that it does not know keeps its name and nothing else.
func (e *Event) UnmarshalJSON(b []byte) error {
	var kind struct {
		Event string `json:"event"`
	}
	if err := json.Unmarshal(b, &kind); err != nil {
		return err
	}
	*e = Event{Event: kind.Event}
	switch kind.Event {
	case "":
		return ErrMalformed
	case EventBrowser:
		var l browserLine
		if err := json.Unmarshal(b, &l); err != nil {
			return err
		}
		e.URL, e.Flow, e.Reason, e.Login = l.URL, l.Flow, l.Reason, l.Login
	case EventDeviceCode:
		var l deviceLine
		if err := json.Unmarshal(b, &l); err != nil {
			return err
		}
		e.UserCode, e.VerificationURI, e.ExpiresAt, e.Interval, e.Flow, e.Reason = l.UserCode, l.VerificationURI, l.ExpiresAt, l.Interval, l.Flow, l.Reason
	case EventDone:
		var l doneLine
		if err := json.Unmarshal(b, &l); err != nil {
			return err
		}
		e.Done, e.Warning = &l.Whoami, l.Warning
	case EventError:
		var l errorLine
		if err := json.Unmarshal(b, &l); err != nil {
			return err
		}
		e.Error = &l.Error
	}
	return nil
}

// EventWriter writes a login's stream: each event is a line and leaves at once. It is for one goroutine.
type EventWriter struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

// NewEventWriter sends the header of the stream.
func NewEventWriter(w http.ResponseWriter) *EventWriter {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return &EventWriter{w: w, rc: http.NewResponseController(w)}
}

// Write sends one event. An error means that the client went away.
func (s *EventWriter) Write(e Event) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := s.w.Write(append(b, '\n')); err != nil {
		return err
	}
	return s.rc.Flush()
}
