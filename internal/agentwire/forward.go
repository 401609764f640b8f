package agentwire

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// PathForward opens (POST), and PathForwardEnd ends, a socket for a remote host.
const (
	PathForward    = "/v1/agent/forward"
	PathForwardEnd = "/v1/agent/forward/end"
)

// ForwardRequest asks for a socket of its own for one remote host, to be
// forwarded there by ssh (RemoteForward). What comes over it may ask for version,
// token and authorize alone, of the named profiles alone. Without profiles the
// default one is meant.
type ForwardRequest struct {
	Host     string   `json:"host"` // what the person calls it: letters, digits, "-", ".", "_"
	Profiles []string `json:"profiles,omitempty"`
}

// ForwardEndRequest ends a host's socket, and every connection over it.
type ForwardEndRequest struct {
	Host string `json:"host"`
}

// Forward is a socket that is open for a remote host.
type Forward struct {
	Host      string    `json:"host"`
	Socket    string    `json:"socket"`
	Profiles  []string  `json:"profiles"`
	Resources []string  `json:"resources"`
	Since     time.Time `json:"since"`
	Calls     int64     `json:"calls"`
	LastCall  time.Time `json:"last_call,omitzero"`
}

// maxHost is the longest name of a remote host: it is part of a socket's path.
const maxHost = 40

// Validate checks shapes only.
func (r *ForwardRequest) Validate() error {
	if len(r.Profiles) > 16 {
		return usage("the request is wrong", "more than 16 profiles are named")
	}
	for _, p := range r.Profiles {
		if err := text("profile", p); err != nil {
			return err
		}
	}
	return checkHost(r.Host)
}

// Validate checks shapes only.
func (r *ForwardEndRequest) Validate() error { return checkHost(r.Host) }

func checkHost(h string) error {
	ok := h != "" && len(h) <= maxHost && h[0] != '.' && h[0] != '-'
	for _, c := range h {
		ok = ok && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-._", c))
	}
	if !ok {
		return usage("the request is wrong", "host is not a name of 1 to 40 letters, digits, dots, dashes and underscores")
	}
	return nil
}

// Forward opens a socket for a remote host.
func (c *Client) Forward(ctx context.Context, r ForwardRequest) (Forward, error) {
	return call[Forward](ctx, c, http.MethodPost, PathForward, r)
}

// EndForward ends it.
func (c *Client) EndForward(ctx context.Context, r ForwardEndRequest) error {
	_, err := call[Empty](ctx, c, http.MethodPost, PathForwardEnd, r)
	return err
}
