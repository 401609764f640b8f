package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/keytether/keytether/internal/oauth"
)

// discover fetches metadata: RFC 8414's place first, then OpenID Connect's. A
// document that names another issuer is discarded (RFC 8414 §3.3). Some servers
// close theirs with a slash: it is part of the name, not of the place (§3.1).
func (c *Client) discover(ctx context.Context, issuer string) (oauth.Metadata, error) {
	place := strings.TrimSuffix(issuer, "/")
	if err := oauth.CheckIssuer(place); err != nil {
		return oauth.Metadata{}, fmt.Errorf("%w: %q is not an https URL without query (plain http is for 127.0.0.1 and [::1] only, not for a name)", ErrIssuer, words(issuer, 200))
	}
	var first error
	for _, wellKnown := range []string{oauth.WellKnownOAuth, oauth.WellKnownOIDC} {
		m, err := c.fetchMetadata(ctx, issuer, oauth.MetadataURL(place, wellKnown))
		if err == nil {
			return m, nil
		}
		if ctx.Err() != nil {
			return oauth.Metadata{}, err
		}
		// That a document is wrong says more than that the other place is empty.
		if first == nil || (errors.Is(first, errNoDocument) && !errors.Is(err, errNoDocument)) {
			first = err
		}
	}
	return oauth.Metadata{}, first
}

var errNoDocument = errors.New("no document there")

func (c *Client) fetchMetadata(ctx context.Context, issuer, at string) (oauth.Metadata, error) {
	body, err := c.get(ctx, at)
	if err != nil {
		return oauth.Metadata{}, err
	}
	m, err := oauth.DecodeMetadata(issuer, body)
	if err != nil {
		if e, ok := errors.AsType[*oauth.Error](err); ok && e.Detail == "issuer" {
			hint := ""
			if _, err := oauth.DecodeMetadata(issuer+"/", body); err == nil {
				hint = " (its name ends with a slash: give it so)"
			}
			return oauth.Metadata{}, fmt.Errorf("%w: the document at %s names another issuer and was discarded%s", ErrMetadata, at, hint)
		}
		return oauth.Metadata{}, fmt.Errorf("%w: the document at %s is malformed: %w", ErrMetadata, at, err)
	}
	return m, usable(m)
}

// usable refuses a server that we cannot log in at, by no flow of ours.
func usable(m oauth.Metadata) error {
	err := browserUsable(m)
	if deviceUsable(m) == nil {
		return nil
	}
	return err
}

// browserUsable refuses a server that we cannot send a browser to. A list that
// is absent means what RFC 8414 §2 says it does.
func browserUsable(m oauth.Metadata) error {
	switch {
	case m.AuthorizationEndpoint == "":
		return lacks(m, "authorization_endpoint")
	case m.TokenEndpoint == "":
		return lacks(m, "token_endpoint")
	case len(m.ResponseTypesSupported) > 0 && !slices.Contains(m.ResponseTypesSupported, "code"):
		return lacks(m, "response type code")
	case len(m.GrantTypesSupported) > 0 && !slices.Contains(m.GrantTypesSupported, oauth.GrantAuthorizationCode):
		return lacks(m, "authorization_code grant")
	case len(m.CodeChallengeMethods) > 0 && !slices.Contains(m.CodeChallengeMethods, "S256"):
		return lacks(m, "PKCE with S256")
	}
	return nil
}

// deviceUsable refuses a server without the device flow. The endpoint alone says
// that there is one (RFC 8628 §4); lists of grant types are often older than it.
func deviceUsable(m oauth.Metadata) error {
	switch {
	case m.DeviceAuthorizationEndpoint == "":
		return lacks(m, "device_authorization_endpoint")
	case m.TokenEndpoint == "":
		return lacks(m, "token_endpoint")
	}
	return nil
}

func lacks(m oauth.Metadata, what string) error {
	return fmt.Errorf("%w: %s has no %s", ErrMetadata, m.Issuer, what)
}

func (c *Client) get(ctx context.Context, at string) ([]byte, error) {
	sent := c.env.Now()
	res, err := c.env.HTTP.GetMetadata(ctx, at)
	switch {
	case err != nil:
		return nil, unreachable(ctx, err)
	case res.Status >= 500:
		return nil, fmt.Errorf("%w: %s answers with status %d", ErrUnreachable, at, res.Status)
	case res.Status != http.StatusOK:
		return nil, fmt.Errorf("%w: %s answers with status %d: %w", ErrMetadata, at, res.Status, errNoDocument)
	}
	if res.Header.Get("Age") == "" { // else its Date is a cache's memory
		c.learn(res.Header, sent, c.env.Now())
	}
	return res.Body, nil
}
