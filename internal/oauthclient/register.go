package oauthclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// Registration is what a client says of itself when it registers (RFC 7591).
type Registration struct {
	Name  string       // shown on the server's pages
	Scope string       // of the login that it is for; what Client adds to it is added here too
	Token secret.Value // initial access token (RFC 7591 §3); zero: none
}

// Registers says whether clients can register themselves at the server.
func (c *Client) Registers() bool { return c.meta.RegistrationEndpoint != "" }

// Ours says whether this is a server that knows Keytether's own clients.
func (c *Client) Ours() bool { return c.meta.HandshakeEndpoint != "" }

// Use takes another client_id: one that was registered before. Call it before a
// login is started.
func (c *Client) Use(id string) { c.id = id }

// loopbackRedirects are what the listener answers at, on any port (RFC 8252 §7.3).
func loopbackRedirects() []string {
	return []string{"http://127.0.0.1/callback", "http://[::1]/callback"}
}

// clientMetadata is RFC 7591 §2's, of a public native client.
type clientMetadata struct {
	Name          string   `json:"client_name"`
	RedirectURIs  []string `json:"redirect_uris,omitempty"`
	GrantTypes    []string `json:"grant_types"`
	ResponseTypes []string `json:"response_types"`
	Scope         string   `json:"scope,omitempty"`
	AuthMethod    string   `json:"token_endpoint_auth_method"`
	Application   string   `json:"application_type"`                                // OIDC Registration §2
	DPoPBound     bool     `json:"dpop_bound_access_tokens,omitempty"`              // RFC 9449 §5.2
	RequirePAR    bool     `json:"require_pushed_authorization_requests,omitempty"` // RFC 9126 §6
	Handshake     bool     `json:"keytether_handshake_required,omitempty"`          // ours, to ours
}

// Register makes a public native client at the server, with the strongest that
// both have, and uses its client_id from then on. A secret that the server gives
// along is not kept, nor is a registration access token. Errors: ErrRegister,
// and with it ErrNeedsToken where the server wants an initial access token or
// another one; ErrUnreachable, ErrAnswer.
func (c *Client) Register(ctx context.Context, r Registration) (string, error) {
	if !c.Registers() {
		return "", fmt.Errorf("%w: %w", ErrRegister, lacks(c.meta, "registration_endpoint"))
	}
	body, err := json.Marshal(c.describe(r))
	if err != nil {
		return "", fmt.Errorf("oauthclient: registration: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.meta.RegistrationEndpoint, strings.NewReader(string(body)))
	if err != nil {
		return "", fmt.Errorf("%w: an endpoint is not a URL", ErrMetadata)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if !r.Token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+r.Token.Reveal())
	}
	sent := c.env.Now()
	res, err := c.env.HTTP.Do(req)
	if err != nil {
		return "", unreachable(ctx, err)
	}
	c.learn(res.Header, sent, c.env.Now())
	if res.Status == http.StatusUnauthorized || res.Status == http.StatusForbidden {
		return "", fmt.Errorf("%w: %w (it answers with status %d)", ErrRegister, ErrNeedsToken, res.Status)
	}
	if err := c.check(answer{res.Status, res.Body, res.Header}); err != nil {
		return "", fmt.Errorf("%w: %w", ErrRegister, err)
	}
	id, err := registered(res.Body)
	if err != nil {
		return "", fmt.Errorf("%w: %w: %w", ErrRegister, ErrAnswer, err)
	}
	c.Use(id)
	return id, nil
}

func (c *Client) describe(r Registration) clientMetadata {
	m := clientMetadata{
		Name: r.Name, GrantTypes: []string{}, ResponseTypes: []string{}, Scope: c.scopes(r.Scope),
		AuthMethod: oauth.AuthNone, Application: "native",
		DPoPBound: c.proves(), RequirePAR: c.meta.PAREndpoint != "", Handshake: c.handshakes(),
	}
	if c.HasBrowser() {
		m.RedirectURIs = loopbackRedirects()
		m.GrantTypes, m.ResponseTypes = append(m.GrantTypes, oauth.GrantAuthorizationCode), []string{"code"}
	}
	if c.HasDevice() {
		m.GrantTypes = append(m.GrantTypes, oauth.GrantDeviceCode)
	}
	// A list that is absent does not say that there is no refresh (RFC 8414 §2).
	if list := c.meta.GrantTypesSupported; len(list) == 0 || slices.Contains(list, oauth.GrantRefreshToken) {
		m.GrantTypes = append(m.GrantTypes, oauth.GrantRefreshToken)
	}
	return m
}

// registered reads RFC 7591 §3.2.1's answer. The server may have changed what was
// asked for: a client that must show a secret is not one that we can be.
func registered(body []byte) (string, error) {
	var w struct {
		ClientID   string  `json:"client_id"`
		AuthMethod *string `json:"token_endpoint_auth_method"`
		Secret     string  `json:"client_secret"`
	}
	switch {
	case json.Unmarshal(body, &w) != nil:
		return "", fmt.Errorf("it is not the JSON of a registration")
	case w.ClientID == "" || len(w.ClientID) > maxClientID || !opaque(w.ClientID):
		return "", fmt.Errorf("it holds no usable client_id")
	case w.AuthMethod != nil && *w.AuthMethod != oauth.AuthNone, w.AuthMethod == nil && w.Secret != "":
		return "", fmt.Errorf("the server made a client that must show a secret, which no program on a person's machine can keep (RFC 8252 §8.5)")
	}
	return w.ClientID, nil
}
