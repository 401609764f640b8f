package agentwire

import (
	"context"
	"net/http"
)

// PathDecoys is where the agent remembers, in memory alone, into which files decoys
// were written: a file that lists them would warn whoever they are for.
const PathDecoys = "/v1/decoys"

// Decoy says where a decoy was written.
type Decoy struct {
	Issuer string `json:"issuer"`
	ID     string `json:"id"`   // dcy_…
	Path   string `json:"path"` // absolute
	// Fingerprint is by what keytether scan knows it, so that it is no finding: the first half of
	// its SHA-256, hex.
	Fingerprint string `json:"fingerprint,omitempty"`
}

// DecoysResponse is what the agent remembers, in the order in which it was told.
type DecoysResponse struct {
	Decoys []Decoy `json:"decoys"`
}

// Validate checks shapes only.
func (r *Decoy) Validate() error {
	if err := text("issuer", r.Issuer, "id", r.ID, "path", r.Path, "fingerprint", r.Fingerprint); err != nil {
		return err
	}
	if r.Issuer == "" || r.Path == "" || r.ID == "" || len(r.ID) > 64 {
		return usage("the request is wrong", "issuer, id and path of a decoy are wanted")
	}
	return nil
}

// NoteDecoy has the agent remember where a decoy was written.
func (c *Client) NoteDecoy(ctx context.Context, r Decoy) error {
	_, err := call[Empty](ctx, c, http.MethodPost, PathDecoys, r)
	return err
}

// Decoys gives what the agent remembers.
func (c *Client) Decoys(ctx context.Context) (DecoysResponse, error) {
	return call[DecoysResponse](ctx, c, http.MethodGet, PathDecoys, nil)
}
