package oauthclient

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/keytether/keytether/internal/jws"
)

// approvalType is the typ of an approval; none of our other signatures has it.
const approvalType = "keytether-approval+jwt"

// Approval signs a decision ("allow" or "deny") about a device login elsewhere
// with the proof key, for the client's own issuer (docs/api.md). The device is
// the server's id of it, the user code as the server writes
// it, the scopes those that were shown.
func (c *Client) Approval(device, userCode, decision string, scope []string) (string, error) {
	if !c.proves() {
		return "", fmt.Errorf("%w: %s takes no proofs by our key", ErrMetadata, c.meta.Issuer)
	}
	id, err := c.random(16)
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(struct {
		Iss      string `json:"iss"`
		Aud      string `json:"aud"`
		Device   string `json:"device"`
		Code     string `json:"user_code_hash"`
		Decision string `json:"decision"`
		Scope    string `json:"scope"`
		Iat      int64  `json:"iat"`
		ID       string `json:"jti"`
	}{c.id, c.meta.Issuer, device, hash(userCode), decision, strings.Join(scope, " "), c.env.Now().Unix(), id})
	if err != nil {
		return "", fmt.Errorf("oauthclient: approval: %w", err)
	}
	signed, err := jws.Sign(c.key, approvalType, payload)
	if err != nil {
		return "", fmt.Errorf("oauthclient: approval: %w", err)
	}
	return signed, nil
}
