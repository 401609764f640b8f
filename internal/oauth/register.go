package oauth

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what a client may say of itself.
const (
	MaxRedirects  = 10  // redirect URIs
	MaxClientName = 100 // characters; one line of the consent page
)

// ClientMetadata is what a client says of itself when it registers, and what it
// was registered with (RFC 7591 §2). Only public native clients register
// themselves.
type ClientMetadata struct {
	ClientName      string   `json:"client_name"`
	RedirectURIs    []string `json:"redirect_uris,omitempty"`
	GrantTypes      []string `json:"grant_types"`
	ResponseTypes   []string `json:"response_types"`
	Scope           string   `json:"scope,omitempty"`
	AuthMethod      string   `json:"token_endpoint_auth_method"`
	ApplicationType string   `json:"application_type"` // OIDC Registration §2
	IDTokenAlg      string   `json:"id_token_signed_response_alg"`
	DPoPBound       bool     `json:"dpop_bound_access_tokens"`              // RFC 9449 §5.2
	RequirePAR      bool     `json:"require_pushed_authorization_requests"` // RFC 9126 §6
	Handshake       bool     `json:"keytether_handshake_required"`          // ours
}

// Registered is the answer to a registration (RFC 7591 §3.2.1).
type Registered struct {
	ClientID string `json:"client_id"`
	IssuedAt int64  `json:"client_id_issued_at"` // NumericDate
	ClientMetadata
}

// ParseClientMetadata reads and checks a registration's body. Members that are
// not known are ignored (RFC 7591 §2), and what was left out gets its default,
// but for token_endpoint_auth_method and application_type: none and native are
// all there is. Errors: TooLarge, MetadataUnfit, RedirectUnfit.
func ParseClientMetadata(body []byte) (ClientMetadata, error) {
	var none, m ClientMetadata
	if len(body) > MaxBody {
		return none, Fail(TooLarge)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return none, Fail(MetadataUnfit).Because(err)
	}
	var bound *bool
	for _, x := range []struct {
		name string
		to   any
	}{
		{"redirect_uris", &m.RedirectURIs},
		{"client_name", &m.ClientName},
		{"grant_types", &m.GrantTypes},
		{"response_types", &m.ResponseTypes},
		{"scope", &m.Scope},
		{"token_endpoint_auth_method", &m.AuthMethod},
		{"application_type", &m.ApplicationType},
		{"id_token_signed_response_alg", &m.IDTokenAlg},
		{"dpop_bound_access_tokens", &bound},
		{"require_pushed_authorization_requests", &m.RequirePAR},
		{"keytether_handshake_required", &m.Handshake},
	} {
		raw, ok := members[x.name]
		if !ok {
			continue
		}
		if err := json.Unmarshal(raw, x.to); err != nil {
			if x.name == "redirect_uris" {
				return none, FailParam(RedirectUnfit, x.name)
			}
			return none, FailParam(MetadataUnfit, x.name)
		}
	}
	if err := m.complete(bound); err != nil {
		return none, err
	}
	return m, m.check()
}

// complete fills in defaults. The handshake is made with a pushed request and
// signed with a proof key, so that it brings both along.
func (m *ClientMetadata) complete(bound *bool) error {
	m.DPoPBound = bound != nil && *bound
	if m.Handshake {
		if bound != nil && !*bound {
			return FailParam(MetadataUnfit, "dpop_bound_access_tokens")
		}
		m.DPoPBound, m.RequirePAR = true, true
	}
	for _, x := range []struct {
		to  *string
		def string
	}{{&m.AuthMethod, AuthNone}, {&m.ApplicationType, "native"}, {&m.IDTokenAlg, "RS256"}} {
		if *x.to == "" {
			*x.to = x.def
		}
	}
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = []string{GrantAuthorizationCode}
	}
	if m.ResponseTypes == nil {
		m.ResponseTypes = []string{}
		if slices.Contains(m.GrantTypes, GrantAuthorizationCode) {
			m.ResponseTypes = []string{"code"}
		}
	}
	return nil
}

func (m *ClientMetadata) check() error {
	for _, x := range []struct {
		name string
		ok   bool
	}{
		{"client_name", shownName(m.ClientName)},
		{"token_endpoint_auth_method", m.AuthMethod == AuthNone},
		{"application_type", m.ApplicationType == "native"},
		{"id_token_signed_response_alg", m.IDTokenAlg == "RS256" || m.IDTokenAlg == "ES256"},
		{"grant_types", m.grantsFit()},
		{"response_types", m.responsesFit()},
	} {
		if !x.ok {
			return FailParam(MetadataUnfit, x.name)
		}
	}
	if _, err := ParseScope(m.Scope); err != nil {
		return FailParam(MetadataUnfit, "scope")
	}
	return m.checkRedirects()
}

func (m *ClientMetadata) codes() bool { return slices.Contains(m.GrantTypes, GrantAuthorizationCode) }

// grantsFit: known ones, each once, and something to refresh.
func (m *ClientMetadata) grantsFit() bool {
	for i, g := range m.GrantTypes {
		if g != GrantAuthorizationCode && g != GrantRefreshToken && g != GrantDeviceCode || slices.Contains(m.GrantTypes[:i], g) {
			return false
		}
	}
	return m.codes() || slices.Contains(m.GrantTypes, GrantDeviceCode)
}

// responsesFit: a code for who may redeem one (RFC 7591 §2.1).
func (m *ClientMetadata) responsesFit() bool {
	if m.codes() {
		return slices.Equal(m.ResponseTypes, []string{"code"})
	}
	return len(m.ResponseTypes) == 0
}

// checkRedirects takes loopback addresses alone: there the code goes to a program
// on the person's own machine, whoever registered.
func (m *ClientMetadata) checkRedirects() error {
	if m.codes() != (len(m.RedirectURIs) > 0) || len(m.RedirectURIs) > MaxRedirects {
		return FailParam(RedirectUnfit, "redirect_uris")
	}
	for i, u := range m.RedirectURIs {
		ascii := !strings.ContainsFunc(u, func(c rune) bool { return c <= ' ' || c > '~' || c == '*' || c == '\\' })
		if !ascii || !IsLoopback(u) || CheckRedirect(u) != nil || slices.Contains(m.RedirectURIs[:i], u) {
			return FailParam(RedirectUnfit, "redirect_uris")
		}
	}
	return nil
}

// shownName: one line that people can read, nothing invisible in it; a page shows
// two blanks as one.
func shownName(s string) bool {
	return s != "" && utf8.ValidString(s) && utf8.RuneCountInString(s) <= MaxClientName && s == strings.TrimSpace(s) && !strings.Contains(s, "  ") &&
		!strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) || c == unicode.ReplacementChar })
}
