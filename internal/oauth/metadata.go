package oauth

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"
)

// Metadata is the server's metadata document (RFC 8414 §2, OIDC Discovery §3).
// One document serves both well-known places.
type Metadata struct {
	Issuer                            string   `json:"issuer"`
	AuthorizationEndpoint             string   `json:"authorization_endpoint"`
	TokenEndpoint                     string   `json:"token_endpoint"`
	PAREndpoint                       string   `json:"pushed_authorization_request_endpoint,omitempty"`
	JWKSURI                           string   `json:"jwks_uri"`
	RevocationEndpoint                string   `json:"revocation_endpoint,omitempty"`
	IntrospectionEndpoint             string   `json:"introspection_endpoint,omitempty"`
	DeviceAuthorizationEndpoint       string   `json:"device_authorization_endpoint,omitempty"`
	RegistrationEndpoint              string   `json:"registration_endpoint,omitempty"`
	ScopesSupported                   []string `json:"scopes_supported,omitempty"`
	ResponseTypesSupported            []string `json:"response_types_supported"`
	ResponseModesSupported            []string `json:"response_modes_supported,omitempty"`
	GrantTypesSupported               []string `json:"grant_types_supported,omitempty"`
	SubjectTypesSupported             []string `json:"subject_types_supported,omitempty"`
	IDTokenAlgs                       []string `json:"id_token_signing_alg_values_supported,omitempty"`
	CodeChallengeMethods              []string `json:"code_challenge_methods_supported,omitempty"`
	TokenEndpointAuthMethods          []string `json:"token_endpoint_auth_methods_supported,omitempty"`
	TokenEndpointAuthAlgs             []string `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`
	RevocationEndpointAuthMethods     []string `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	RevocationEndpointAuthAlgs        []string `json:"revocation_endpoint_auth_signing_alg_values_supported,omitempty"`
	IntrospectionEndpointAuthMethods  []string `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	IntrospectionEndpointAuthAlgs     []string `json:"introspection_endpoint_auth_signing_alg_values_supported,omitempty"`
	DPoPAlgs                          []string `json:"dpop_signing_alg_values_supported,omitempty"`
	AuthorizationResponseISSSupported bool     `json:"authorization_response_iss_parameter_supported,omitempty"`
	RequestParameterSupported         bool     `json:"request_parameter_supported"`
	RequestURIParameterSupported      bool     `json:"request_uri_parameter_supported"`
	ClaimsSupported                   []string `json:"claims_supported,omitempty"`
	PromptValuesSupported             []string `json:"prompt_values_supported,omitempty"`
	ACRValuesSupported                []string `json:"acr_values_supported,omitempty"`
	ServiceDocumentation              string   `json:"service_documentation,omitempty"`
	TripwireEndpoint                  string   `json:"keytether_tripwire_endpoint,omitempty"`
	BurnEndpoint                      string   `json:"keytether_burn_endpoint,omitempty"`

	HandshakeEndpoint      string `json:"keytether_handshake_endpoint,omitempty"`
	RevocationFeedEndpoint string `json:"keytether_revocation_feed_endpoint,omitempty"`
	DeviceWait             int64  `json:"keytether_device_wait,omitempty"` // seconds that a device poll may ask to wait (Prefer: wait)
}

// DeviceWait is how many seconds the answer to a device poll is kept back for
// the decision, at most, where the client asks for it.
const DeviceWait = 25

// Paths of the endpoints below the issuer.
const (
	PathAuthorize   = "/oauth/authorize"
	PathPAR         = "/oauth/par"
	PathToken       = "/oauth/token"
	PathRevoke      = "/oauth/revoke"
	PathIntrospect  = "/oauth/introspect"
	PathJWKS        = "/oauth/jwks"
	PathTripwire    = "/oauth/tripwire" // where resource servers report copied tokens
	PathRevocations = "/oauth/revocations"
	PathBurn        = "/burn" // where whoever holds a leaked token ends what it is of
	PathDevice      = "/oauth/device_authorization"
	PathVerify      = "/device" // where a person types a user code
	PathRegister    = "/oauth/register"
	PathHandshake   = "/oauth/handshake"
	PathAPI         = "/api/v1"

	WellKnownOAuth = "/.well-known/oauth-authorization-server"
	WellKnownOIDC  = "/.well-known/openid-configuration"
)

// GrantType values.
const (
	GrantAuthorizationCode = "authorization_code"
	GrantRefreshToken      = "refresh_token"
	GrantDeviceCode        = "urn:ietf:params:oauth:grant-type:device_code"
)

// Built-in scopes (OIDC Core §5.4, §11).
const (
	ScopeOpenID        = "openid"
	ScopeEmail         = "email"
	ScopeOfflineAccess = "offline_access"
)

// MetadataFor gives the document of an issuer.
func MetadataFor(issuer string, scopes []string) Metadata {
	return Metadata{
		Issuer:                           issuer,
		AuthorizationEndpoint:            issuer + PathAuthorize,
		TokenEndpoint:                    issuer + PathToken,
		PAREndpoint:                      issuer + PathPAR,
		DeviceAuthorizationEndpoint:      issuer + PathDevice,
		JWKSURI:                          issuer + PathJWKS,
		TripwireEndpoint:                 issuer + PathTripwire,
		BurnEndpoint:                     issuer + PathBurn,
		RevocationEndpoint:               issuer + PathRevoke,
		IntrospectionEndpoint:            issuer + PathIntrospect,
		ScopesSupported:                  scopes,
		ResponseTypesSupported:           []string{"code"},
		ResponseModesSupported:           []string{"query", "form_post"},
		GrantTypesSupported:              []string{GrantAuthorizationCode, GrantRefreshToken, GrantDeviceCode},
		SubjectTypesSupported:            []string{"public"},
		IDTokenAlgs:                      []string{"RS256", "ES256"},
		CodeChallengeMethods:             []string{"S256"},
		TokenEndpointAuthMethods:         authMethods(),
		TokenEndpointAuthAlgs:            assertionAlgs(),
		RevocationEndpointAuthMethods:    authMethods(),
		RevocationEndpointAuthAlgs:       assertionAlgs(),
		IntrospectionEndpointAuthMethods: []string{AuthPrivateKeyJWT},
		IntrospectionEndpointAuthAlgs:    assertionAlgs(),
		DPoPAlgs:                         []string{"ES256", "EdDSA"},
		ClaimsSupported: []string{
			"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "email", "email_verified", "sid",
		},
		PromptValuesSupported:             []string{"none", "login", "consent"},
		ACRValuesSupported:                []string{ACRPassword},
		AuthorizationResponseISSSupported: true,
		HandshakeEndpoint:                 issuer + PathHandshake,
		RevocationFeedEndpoint:            issuer + PathRevocations,
		DeviceWait:                        DeviceWait,
	}
}

// authMethods are those of clients at every direct endpoint. Where several would
// do, a client should take the first.
func authMethods() []string {
	return []string{AuthPrivateKeyJWT, AuthBasic, AuthPost, AuthNone}
}

func assertionAlgs() []string { return []string{"ES256", "EdDSA", "RS256"} }

// ACRPassword says that the person signed in with a password (RFC 9470 §3 names
// the claim; the value is ours).
const ACRPassword = "urn:keytether:acr:password"

// MetadataURL is where an issuer's document stands: the well-known part goes
// between host and path for OAuth (RFC 8414 §3) and behind the path for OIDC.
func MetadataURL(issuer, wellKnown string) string {
	if wellKnown == WellKnownOIDC {
		return issuer + wellKnown
	}
	u, err := url.Parse(issuer)
	if err != nil || u.Path == "" {
		return issuer + wellKnown
	}
	return strings.TrimSuffix(issuer, u.EscapedPath()) + wellKnown + u.EscapedPath()
}

// DecodeMetadata reads a document that was fetched for issuer. One that names
// another issuer is discarded (RFC 8414 §3.3), and so is one whose endpoints
// are plain http although its issuer is not.
func DecodeMetadata(issuer string, body []byte) (Metadata, error) {
	var m Metadata
	if err := json.Unmarshal(body, &m); err != nil {
		return Metadata{}, FailParam(BadRequest, "metadata").Because(err)
	}
	if m.Issuer != issuer {
		return Metadata{}, FailParam(BadRequest, "issuer")
	}
	for _, e := range []string{
		m.TripwireEndpoint, m.BurnEndpoint, m.AuthorizationEndpoint, m.TokenEndpoint, m.PAREndpoint, m.JWKSURI, m.RevocationEndpoint,
		m.IntrospectionEndpoint, m.HandshakeEndpoint, m.RevocationFeedEndpoint, m.DeviceAuthorizationEndpoint,
		m.RegistrationEndpoint,
	} {
		if e == "" {
			continue
		}
		u, err := url.Parse(e)
		if err != nil || u.Host == "" || u.Fragment != "" || (u.Scheme != "https" && !strings.HasPrefix(issuer, "http://")) {
			return Metadata{}, FailParam(BadRequest, "endpoint")
		}
	}
	// What Keytether adds is pinned to the issuer's own origin.
	for _, e := range []string{m.HandshakeEndpoint, m.RevocationFeedEndpoint, m.TripwireEndpoint, m.BurnEndpoint} {
		if e != "" && Origin(e) != Origin(issuer) {
			return Metadata{}, FailParam(BadRequest, "endpoint")
		}
	}
	return m, nil
}

// PARResponse is RFC 9126 §2.2's.
type PARResponse struct {
	RequestURI string `json:"request_uri"`
	ExpiresIn  int64  `json:"expires_in"` // seconds
}

// TokenResponse is RFC 6749 §5.1's. The secrets in it are plain here, for this
// is the wire; keep it no longer than it takes to write or read it.
type TokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"` // "DPoP" or "Bearer"
	ExpiresIn    int64  `json:"expires_in"` // seconds
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	Resource     string `json:"resource,omitempty"`
	GrantID      string `json:"grant_id,omitempty"`      // ours: the `sid` of its tokens
	GrantExpires int64  `json:"grant_expires,omitempty"` // ours: NumericDate of the grant's end

	// Notices is ours: what the person should be told at this installation.
	Notices []Notice `json:"keytether_notices,omitempty"`
}

// Notice tells an installation of a device login elsewhere by the same person.
// The same one may come more than once: GrantID tells them apart.
type Notice struct {
	Kind    string    `json:"kind,omitempty"`    // empty; or NoticeLocked, of an installation that was locked
	GrantID string    `json:"grant_id"`          // empty with a Kind
	Client  string    `json:"client"`            // its name; empty with a Kind
	Host    string    `json:"host,omitempty"`    // as the tool reported it
	Address string    `json:"address,omitempty"` // where it was started from, or the decoy presented
	At      time.Time `json:"at"`                // RFC 3339, UTC
}

// NoticeLocked is the kind of a notice that another installation of the person's
// is locked, because a decoy was used.
const NoticeLocked = "locked"

// String redacts: a token response is never printed whole.
func (TokenResponse) String() string { return "[token response]" }

// GoString redacts.
func (TokenResponse) GoString() string { return "[token response]" }

// DeviceResponse is RFC 8628 §3.2's. There is no verification_uri_complete: a
// code that is typed is looked at (RFC 10027).
type DeviceResponse struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
	ExpiresIn       int64  `json:"expires_in"` // seconds, of all
	Interval        int64  `json:"interval"`   // seconds
	// TypeWithin is ours: seconds in which the user code must be typed.
	TypeWithin int64 `json:"user_code_expires_in,omitempty"`
}

// String redacts.
func (DeviceResponse) String() string { return "[device response]" }

// GoString redacts.
func (DeviceResponse) GoString() string { return "[device response]" }

// Introspection is RFC 7662 §2.2's. An inactive token's has only Active.
type Introspection struct {
	Active    bool          `json:"active"`
	Scope     string        `json:"scope,omitempty"`
	ClientID  string        `json:"client_id,omitempty"`
	TokenType string        `json:"token_type,omitempty"`
	Exp       int64         `json:"exp,omitempty"`
	Iat       int64         `json:"iat,omitempty"`
	Sub       string        `json:"sub,omitempty"`
	Aud       string        `json:"aud,omitempty"`
	Iss       string        `json:"iss,omitempty"`
	JTI       string        `json:"jti,omitempty"`
	SID       string        `json:"sid,omitempty"`
	Cnf       *Confirmation `json:"cnf,omitempty"`
}

// Confirmation is RFC 9449 §6.2's.
type Confirmation struct {
	JKT string `json:"jkt"`
}
