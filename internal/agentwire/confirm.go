package agentwire

import (
	"context"
	"net/http"
	"time"
)

// PathConfirmations lists what a person is asked (GET), and takes an answer (POST).
const PathConfirmations = "/v1/confirmations"

// Caller is a program that asked for tokens or proofs of a profile. One row stands for all
// processes of the same executable, script and host.
type Caller struct {
	Executable string    `json:"executable,omitempty"` // absolute path; absent if it cannot be known
	Script     string    `json:"script,omitempty"`     // what an interpreter runs, as the program itself says: never to be trusted
	Through    string    `json:"through,omitempty"`    // the keytether that it ran to ask, absent if it asked itself
	Host       string    `json:"host,omitempty"`       // it asked over this host's forwarded socket
	PID        int       `json:"pid"`                  // of the last one
	Calls      int64     `json:"calls"`
	Refused    int64     `json:"refused,omitempty"` // of these calls
	LastAt     time.Time `json:"last_at"`
	Replaced   bool      `json:"replaced,omitempty"` // the file at that path is another one than what runs
}

// Confirmation is a question to the person: may this program use this resource?
type Confirmation struct {
	ID         string    `json:"id"`
	Profile    string    `json:"profile"`
	Resource   string    `json:"resource,omitempty"`
	Scope      string    `json:"scope,omitempty"` // of this call; the answer holds for all that the login has
	Executable string    `json:"executable,omitempty"`
	Script     string    `json:"script,omitempty"` // as in Caller
	Through    string    `json:"through,omitempty"`
	Host       string    `json:"host,omitempty"`
	PID        int       `json:"pid"`
	Waiting    bool      `json:"waiting"` // false: nobody answered in time; an answer holds for the next call
	AskedAt    time.Time `json:"asked_at"`
	ExpiresAt  time.Time `json:"expires_at"` // until when the program waits
}

// ConfirmationsResponse lists the questions without an answer, the oldest first.
type ConfirmationsResponse struct {
	Confirmations []Confirmation `json:"confirmations"`
}

// ConfirmationRequest answers a question, for the agent's life.
type ConfirmationRequest struct {
	ID       string `json:"id"`
	Decision string `json:"decision"` // allow or deny
}

// Validate checks shapes only.
func (r *ConfirmationRequest) Validate() error {
	switch {
	case r.ID == "" || len(r.ID) > 64:
		return usage("the request is wrong", "id is not the id of a question")
	case r.Decision != DecisionAllow && r.Decision != DecisionDeny:
		return usage("the request is wrong", "decision is neither allow nor deny")
	}
	return text("id", r.ID)
}

// Confirmations lists what the person is asked.
func (c *Client) Confirmations(ctx context.Context) (ConfirmationsResponse, error) {
	return call[ConfirmationsResponse](ctx, c, http.MethodGet, PathConfirmations, nil)
}

// Confirm answers a question.
func (c *Client) Confirm(ctx context.Context, r ConfirmationRequest) error {
	_, err := call[Empty](ctx, c, http.MethodPost, PathConfirmations, r)
	return err
}
