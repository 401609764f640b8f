package agentwire

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// PathApproval signs a decision about a device login elsewhere (docs/api.md).
const PathApproval = "/v1/approval"

// Decisions about a device login.
const (
	DecisionAllow = "allow"
	DecisionDeny  = "deny"
)

// ApprovalRequest asks for the signature under a decision. The profile is one that is logged in
// at its issuer's own API, {issuer}/api/v1, with scope account. The rest of what is signed is
// not the caller's to say.
type ApprovalRequest struct {
	Profile  string `json:"profile,omitempty"`
	Device   string `json:"device"`    // dev_…, as the issuer's /device/view names the login
	UserCode string `json:"user_code"` // as it writes it, XXXX-XXXX
	Decision string `json:"decision"`  // allow or deny
	// Scope are the scopes that the person was shown; no others are granted. May be left out
	// with deny.
	Scope []string `json:"scope,omitempty"`
}

// LogValue leaves the user code out.
func (r ApprovalRequest) LogValue() slog.Value {
	return slog.GroupValue(slog.String("profile", r.Profile), slog.String("device", r.Device), slog.String("decision", r.Decision))
}

// ApprovalResponse holds the signed decision, for one request to the issuer's /device/decide.
type ApprovalResponse struct {
	Approval Secret `json:"approval"` // a compact JWS, typ keytether-approval+jwt
}

// LogValue leaves the signature out.
func (r ApprovalResponse) LogValue() slog.Value { return slog.GroupValue() }

// NoticeLocked is the kind of a notice that another installation of the same person's is locked,
// because a decoy was used there.
const NoticeLocked = "locked"

// Notice tells of a device login of the same person at another installation, or, with a kind, of
// something else there.
type Notice struct {
	Kind    string    `json:"kind,omitempty"`
	GrantID string    `json:"grant_id"` // empty with a kind, as the next
	Client  string    `json:"client"`
	Host    string    `json:"host,omitempty"`    // as the tool there reported it
	Address string    `json:"address,omitempty"` // where the server saw it
	At      time.Time `json:"at"`
}

// Validate checks shapes only.
func (r *ApprovalRequest) Validate() error {
	if err := text("profile", r.Profile, "device", r.Device, "user_code", r.UserCode); err != nil {
		return err
	}
	switch {
	case r.Device == "" || len(r.Device) > 64:
		return usage("the request is wrong", "device is not the id of a device login")
	case len(r.UserCode) != len("XXXX-XXXX"):
		return usage("the request is wrong", "user_code is not written as XXXX-XXXX")
	case r.Decision != DecisionAllow && r.Decision != DecisionDeny:
		return usage("the request is wrong", "decision is neither allow nor deny")
	}
	return nil
}

// Approval asks for the signature under a decision.
func (c *Client) Approval(ctx context.Context, r ApprovalRequest) (ApprovalResponse, error) {
	return call[ApprovalResponse](ctx, c, http.MethodPost, PathApproval, r)
}
