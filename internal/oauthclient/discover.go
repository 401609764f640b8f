package oauthclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/keytether/keytether/internal/oauth"
)

// Discover fetches an issuer's metadata: RFC 8414's place first, then OpenID
// Connect's. A document that names another issuer is discarded (RFC 8414 §3.3).
// Errors: ErrUnreachable when nothing could be fetched, else ErrMetadata.
func Discover(ctx context.Context, env Env, issuer string) (oauth.Metadata, error) {
	if err := oauth.CheckIssuer(issuer); err != nil {
		return oauth.Metadata{}, fmt.Errorf("%w: %q is not an https URL without query and closing slash (plain http is for loopback only)", ErrMetadata, words(issuer, 200))
	}
	var first error
	for _, place := range []string{oauth.WellKnownOAuth, oauth.WellKnownOIDC} {
		m, err := fetchMetadata(ctx, env, issuer, oauth.MetadataURL(issuer, place))
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

func fetchMetadata(ctx context.Context, env Env, issuer, at string) (oauth.Metadata, error) {
	body, err := get(ctx, env, at)
	if err != nil {
		return oauth.Metadata{}, err
	}
	m, err := oauth.DecodeMetadata(issuer, body)
	if err != nil {
		if e, ok := errors.AsType[*oauth.Error](err); ok && e.Detail == "issuer" {
			return oauth.Metadata{}, fmt.Errorf("%w: the document at %s names another issuer and was discarded", ErrMetadata, at)
		}
		return oauth.Metadata{}, fmt.Errorf("%w: the document at %s is malformed: %w", ErrMetadata, at, err)
	}
	return m, usable(m)
}

// usable refuses a server that we cannot log in at. A list that is absent means
// what RFC 8414 §2 says it does.
func usable(m oauth.Metadata) error {
	lacks := func(what string) error { return fmt.Errorf("%w: %s has no %s", ErrMetadata, m.Issuer, what) }
	switch {
	case m.AuthorizationEndpoint == "":
		return lacks("authorization_endpoint")
	case m.TokenEndpoint == "":
		return lacks("token_endpoint")
	case len(m.ResponseTypesSupported) > 0 && !slices.Contains(m.ResponseTypesSupported, "code"):
		return lacks("response type code")
	case len(m.GrantTypesSupported) > 0 && !slices.Contains(m.GrantTypesSupported, oauth.GrantAuthorizationCode):
		return lacks("authorization_code grant")
	case len(m.CodeChallengeMethods) > 0 && !slices.Contains(m.CodeChallengeMethods, "S256"):
		return lacks("PKCE with S256")
	}
	return nil
}

func get(ctx context.Context, env Env, at string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is not a URL", ErrMetadata, words(at, 200))
	}
	req.Header.Set("Accept", "application/json")
	res, err := env.HTTP.Do(req)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	defer res.Body.Close()
	body, err := readAll(res.Body)
	switch {
	case err != nil:
		return nil, unreachable(ctx, err)
	case res.StatusCode >= 500:
		return nil, fmt.Errorf("%w: %s answers with status %d", ErrUnreachable, at, res.StatusCode)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%w: %s answers with status %d: %w", ErrMetadata, at, res.StatusCode, errNoDocument)
	}
	return body, nil
}
