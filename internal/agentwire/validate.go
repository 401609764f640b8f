package agentwire

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// maxRegistrationToken bounds an initial access token in bytes.
const maxRegistrationToken = 8 << 10

func usage(what, why string) error { return NewError(Usage, what, why, "", nil) }

// text refuses what no field may hold: control characters and more than 2048 bytes.
func text(fields ...string) error {
	for i := 0; i < len(fields); i += 2 {
		name, v := fields[i], fields[i+1]
		if len(v) > 2048 {
			return usage("the request is wrong", name+" is longer than 2048 bytes")
		}
		if strings.ContainsFunc(v, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			return usage("the request is wrong", name+" holds a control character")
		}
	}
	return nil
}

// Validate checks shapes only; what they mean is the agent's to decide.
func (r *LoginRequest) Validate() error {
	if err := text("profile", r.Profile, "issuer", r.Issuer, "client_id", r.ClientID, "scope", r.Scope,
		"resource", r.Resource, "login_hint", r.LoginHint, "host", r.Facts.Host, "os_user", r.Facts.OSUser,
		"platform", r.Facts.Platform, "agent_version", r.Facts.AgentVersion, "registered_client", r.RegisteredClient); err != nil {
		return err
	}
	if t := r.RegistrationToken.Reveal(); len(t) > maxRegistrationToken || strings.ContainsFunc(t, func(c rune) bool { return c <= 0x20 || c >= 0x7f }) {
		return usage("the request is wrong", "registration_token is no token (RFC 6750 section 2.1)")
	}
	if r.ClientID != "" && !r.RegistrationToken.IsZero() {
		return usage("the request is wrong", "client_id and registration_token exclude each other: a named client is not registered")
	}
	switch r.Flow {
	case "", FlowAuto, FlowBrowser, FlowDevice, FlowWorkload:
	default:
		return usage("the request is wrong", fmt.Sprintf("flow %q is none of auto, browser, device, workload", r.Flow))
	}
	if r.Store != "" && !slices.Contains(Stores(), r.Store) {
		return usage("the request is wrong", fmt.Sprintf("store %q is none of %s", r.Store, strings.Join(Stores(), ", ")))
	}
	if r.CallbackPort < 0 || r.CallbackPort > 65535 {
		return usage("the request is wrong", "callback_port is not between 0 and 65535")
	}
	// The names were the caller's to filter, but a socket takes what anybody sends.
	for k := range r.Env {
		if !callerName(k) {
			delete(r.Env, k)
		}
	}
	return nil
}

func callerName(name string) bool { return slices.Contains(callerNames, name) }

// Validate checks shapes only.
func (r *LoginCodeRequest) Validate() error { return text("login", r.Login) }

// maxPassphrase bounds a passphrase in bytes.
const maxPassphrase = 1 << 10

// Validate checks shapes only.
func (r *UnlockStoreRequest) Validate() error {
	if p := r.Passphrase.Reveal(); len(p) > maxPassphrase || strings.ContainsFunc(p, func(c rune) bool { return c < 0x20 || c == 0x7f }) {
		return usage("the request is wrong", "passphrase is longer than 1024 bytes or holds a control character")
	}
	return nil
}

// Validate checks shapes only.
func (r *LogoutRequest) Validate() error {
	if r.All && r.Profile != "" {
		return usage("the request is wrong", "profile and all exclude each other")
	}
	return text("profile", r.Profile)
}

// Validate checks shapes only.
func (r *TokenRequest) Validate() error {
	if r.TokenType != "" && r.TokenType != TypeBearer {
		return usage("the request is wrong", "token_type is neither absent nor Bearer")
	}
	return text("profile", r.Profile, "resource", r.Resource, "scope", r.Scope, "rejected", r.Rejected)
}

// Validate checks shapes only: the method is a token (RFC 9110 section 5.6.2), the URL is
// absolute http or https with a host and without user information.
func (r *AuthorizeRequest) Validate() error {
	if err := text("profile", r.Profile, "resource", r.Resource, "scope", r.Scope, "nonce", r.Nonce, "rejected", r.Rejected); err != nil {
		return err
	}
	if r.Method == "" || len(r.Method) > 32 || strings.ContainsFunc(r.Method, notTokenChar) {
		return usage("the request is wrong", "method is not an HTTP method")
	}
	u, err := url.Parse(r.URL)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.User != nil || len(r.URL) > 16<<10 {
		return usage("the request is wrong", "url is not an absolute http or https URL without a user name")
	}
	return nil
}

func notTokenChar(r rune) bool {
	return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
}
