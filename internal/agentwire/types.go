package agentwire

import (
	"log/slog"
	"time"
)

// Moment is t as this wire writes it: UTC, whole seconds.
func Moment(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// Empty is the answer to a call that has nothing to say: {}.
type Empty struct{}

// Version says who answers. A command compares it with itself (package agentstart).
type Version struct {
	Version     string    `json:"version"`                // of the binary, as `keytether --version` prints it
	Protocol    int       `json:"protocol"`               // newest protocol spoken
	ProtocolMin int       `json:"protocol_min,omitempty"` // oldest protocol spoken; absent means the same as protocol
	PID         int       `json:"pid"`
	StartedAt   time.Time `json:"started_at"`
	Grants      int       `json:"grants"` // grants that would be lost if the agent stopped now
	Logins      int       `json:"logins"` // logins in progress
}

// Flows of a login. FlowAuto lets the agent choose by the caller's environment.
const (
	FlowAuto     = "auto"
	FlowBrowser  = "browser"
	FlowDevice   = "device"
	FlowWorkload = "workload"
)

// The credential stores that a login may ask for. StoreAuto is the first that can be used.
const (
	StoreAuto     = "auto"
	StoreKeychain = "keychain" // of the operating system
	StoreKernel   = "kernel"   // the kernel's keyring (Linux)
	StoreTPM      = "tpm"
	StoreFile     = "file" // sealed
	StoreMemory   = "memory"
)

// Stores lists what may be chosen.
func Stores() []string {
	return []string{StoreAuto, StoreKeychain, StoreKernel, StoreTPM, StoreFile, StoreMemory}
}

// StoresFile is a file of the agent's state folder that is there while a store that outlives the
// agent holds a login: then it is worth starting an agent to ask it.
const StoresFile = "stores"

// LoginRequest starts a login. Absent fields take the profile's configured value, then the
// caller's environment, then the default.
type LoginRequest struct {
	Profile      string `json:"profile,omitempty"`
	Issuer       string `json:"issuer,omitempty"`
	ClientID     string `json:"client_id,omitempty"`
	Scope        string `json:"scope,omitempty"`    // separated by spaces
	Resource     string `json:"resource,omitempty"` // RFC 8707, one
	Flow         string `json:"flow,omitempty"`
	NoBrowser    bool   `json:"no_browser,omitempty"`    // the event "browser" is only shown, nobody opens it
	CallbackPort int    `json:"callback_port,omitempty"` // 0: any free port

	// Where no client_id is named and the server, not one of ours, takes registrations (RFC 7591),
	// the agent registers as a public client of the profile's own. RegisteredClient is the client of
	// an earlier login, to be used again. RegistrationToken is the initial access token that a
	// server may want.
	RegisteredClient  string `json:"registered_client,omitempty"`
	RegistrationToken Secret `json:"registration_token,omitzero"`

	Store string `json:"store,omitempty"` // where it is kept: StoreAuto or one of the others

	LoginHint string `json:"login_hint,omitempty"` // the account meant; another one is refused
	Env       Env    `json:"env,omitempty"`        // see CallerEnv
	Facts     Facts  `json:"facts,omitzero"`
}

// LoginCodeRequest asks for a device code beside a browser that is still away. The login goes on
// in both ways. Where a code is there already, nothing happens.
type LoginCodeRequest struct {
	Login string `json:"login"` // of the event "browser"
}

// Facts are what the installation reports about itself; a person sees them on the consent page.
type Facts struct {
	Host         string `json:"host,omitempty"`
	OSUser       string `json:"os_user,omitempty"`
	Platform     string `json:"platform,omitempty"` // GOOS/GOARCH
	AgentVersion string `json:"agent_version,omitempty"`
}

// LogoutRequest names one profile, or all of them.
type LogoutRequest struct {
	Profile string `json:"profile,omitempty"`
	All     bool   `json:"all,omitempty"`
}

// LogoutResponse says what was done. Wiping is done even when the server cannot be reached;
// then Revoked is false and Warning says why, and that the grant lives on until it expires.
type LogoutResponse struct {
	Profiles []string `json:"profiles"` // which profiles were logged in
	Revoked  bool     `json:"revoked"`  // every one of them was revoked at its server
	// NoRevocation: whatever was not revoked is of a server that has no way to (RFC 7009).
	NoRevocation bool   `json:"no_revocation,omitempty"`
	Wiped        bool   `json:"wiped"` // nothing of them is left here
	Warning      string `json:"warning,omitempty"`
}

// Whoami says whose login a profile is.
type Whoami struct {
	Profile   string    `json:"profile"`
	Issuer    string    `json:"issuer"`
	Subject   string    `json:"subject"`
	Username  string    `json:"username,omitempty"` // what a person calls the account (RFC 7662 section 2.2)
	ClientID  string    `json:"client_id"`
	GrantID   string    `json:"grant_id,omitempty"` // absent if the server does not say
	Scope     string    `json:"scope"`
	Resource  string    `json:"resource,omitempty"`
	Flow      string    `json:"flow"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // end of the grant; absent if the server does not say

	ClientRegistered bool `json:"client_registered,omitempty"` // the agent registered the client (RFC 7591)
}

// StatusResponse is everything the agent can say without saying a secret.
type StatusResponse struct {
	Agent    AgentStatus     `json:"agent"`
	Profiles []ProfileStatus `json:"profiles"`
	Stores   []StoreProblem  `json:"stores,omitempty"` // that hold logins and cannot be opened now
	Forwards []Forward       `json:"forwards,omitempty"`

	Confirmations []Confirmation `json:"confirmations,omitempty"` // what the person is asked
}

// AgentStatus describes the process.
type AgentStatus struct {
	Version
	Locked bool `json:"locked"`
}

// StoreProblem is a credential store that cannot be opened: which, why, and what to do.
type StoreProblem struct {
	Store string `json:"store"`
	Why   string `json:"why"`
	Do    string `json:"do,omitempty"`
}

// ProfileStatus describes one login.
type ProfileStatus struct {
	Whoami
	AccessTokenExpiresAt time.Time `json:"access_token_expires_at,omitzero"` // absent: none in hand
	TokenType            string    `json:"token_type,omitempty"`             // DPoP or Bearer
	KeyStore             string    `json:"key_store"`                        // memory, keychain, …
	KeyStoreLife         string    `json:"key_store_life,omitempty"`         // what it outlives: process (nothing), session, machine
	KeyStoreWhy          string    `json:"key_store_why,omitempty"`          // why it is not a store that comes before
	JKT                  string    `json:"jkt,omitempty"`                    // thumbprint of the proof key (RFC 7638)
	LastRenewalAt        time.Time `json:"last_renewal_at,omitzero"`
	LastError            *Error    `json:"last_error,omitempty"`
	Missing              []string  `json:"missing,omitempty"` // what the login lacks of the strongest; see the Lack constants
	Notices              []Notice  `json:"notices,omitempty"` // device logins elsewhere that the server told of, the newest first
	Callers              []Caller  `json:"callers,omitempty"` // who asked since the agent started, the last first
}

// What a login can lack of the strongest that this agent can use. A reader skips one that it does
// not know.
const (
	LackDPoP       = "dpop"          // tokens bound to a key (RFC 9449)
	LackPAR        = "par"           // a request that the browser does not carry (RFC 9126)
	LackISS        = "iss"           // answers that name their server (RFC 9207)
	LackFormPost   = "form_post"     // codes that do not stand in a URL
	LackHandshake  = "handshake"     // no code for a browser that is not this machine's
	LackRevocation = "revocation"    // RFC 7009
	LackDevice     = "device"        // the device flow (RFC 8628)
	LackNonce      = "nonce"         // proofs that cannot be made ahead (RFC 9449 section 8)
	LackRotation   = "rotation"      // a refresh token for one use (RFC 9700 section 4.14)
	LackRefresh    = "refresh_token" // renewal without a person
	LackIdentity   = "identity"      // the server's word on who signed in
)

// Types of access tokens (RFC 6750, RFC 9449 section 5).
const (
	TypeDPoP   = "DPoP"
	TypeBearer = "Bearer"
)

// TokenRequest asks for an access token. Scope may narrow the login's, never widen it.
type TokenRequest struct {
	Profile  string `json:"profile,omitempty"`
	Resource string `json:"resource,omitempty"`
	Scope    string `json:"scope,omitempty"`
	// TokenType "Bearer" asks for a token that is bound to no key, for a program that cannot prove
	// one. There is one only where the server lets client and resource do without (RFC 9449
	// section 5); else the answer is an error, and the login goes on. Empty: bound if it can be.
	TokenType string `json:"token_type,omitempty"`
	// Rejected names an access token that an API refused as invalid: base64url of its SHA-256,
	// as in "ath" (RFC 9449 section 4.2). If it is the one in hand, the agent renews.
	Rejected string `json:"rejected,omitempty"`
}

// TokenResponse is an access token. A DPoP token is of no use without a proof by the agent's
// key: use AuthorizeRequest for that.
type TokenResponse struct {
	AccessToken Secret    `json:"access_token"`
	TokenType   string    `json:"token_type"` // DPoP or Bearer
	ExpiresAt   time.Time `json:"expires_at"`
	Scope       string    `json:"scope"`
	Resource    string    `json:"resource,omitempty"`
}

// LogValue leaves the token out.
func (r TokenResponse) LogValue() slog.Value {
	return slog.GroupValue(slog.String("token_type", r.TokenType), slog.Time("expires_at", r.ExpiresAt),
		slog.String("scope", r.Scope), slog.String("resource", r.Resource))
}

// AuthorizeRequest asks for all that one HTTP request needs. The URL must lie under the
// resource's own origin and path and is never one of the issuer's endpoints.
type AuthorizeRequest struct {
	Profile  string `json:"profile,omitempty"`
	Resource string `json:"resource,omitempty"`
	Scope    string `json:"scope,omitempty"`
	Method   string `json:"method"`
	URL      string `json:"url"`                // a query or fragment is left out of the proof (RFC 9449 section 4.2)
	Nonce    string `json:"nonce,omitempty"`    // the last DPoP-Nonce that this resource server gave
	Rejected string `json:"rejected,omitempty"` // as in TokenRequest
}

// LogValue leaves out the query of the URL, which may hold a caller's secret, and the nonce.
func (r AuthorizeRequest) LogValue() slog.Value {
	return slog.GroupValue(slog.String("profile", r.Profile), slog.String("resource", r.Resource),
		slog.String("method", r.Method))
}

// AuthorizeResponse holds two header values; DPoP is absent for a Bearer token. The proof is
// for one request: repeat the call for a retry.
type AuthorizeResponse struct {
	Authorization Secret    `json:"authorization"` // value of the Authorization header
	DPoP          Secret    `json:"dpop,omitzero"` // value of the DPoP header
	TokenType     string    `json:"token_type"`
	ExpiresAt     time.Time `json:"expires_at"` // of the access token
}

// LogValue leaves both header values out.
func (r AuthorizeResponse) LogValue() slog.Value {
	return slog.GroupValue(slog.String("token_type", r.TokenType), slog.Time("expires_at", r.ExpiresAt))
}

// LockRequest locks or unlocks. A lock without passphrase is opened by an unlock without one.
type LockRequest struct {
	Passphrase Secret `json:"passphrase,omitzero"`
}

// UnlockStoreRequest opens the credential store that is sealed with a person's passphrase. Without
// one it asks which is wanted: the answer is an error of code "passphrase_wanted" or
// "new_passphrase_wanted", or {} where none is. A wrong passphrase changes nothing, and is answered
// by "passphrase_wanted" again.
type UnlockStoreRequest struct {
	Passphrase Secret `json:"passphrase,omitzero"`
	New        bool   `json:"new,omitempty"` // the person chose it just now: it may make the store
}

// StopRequest ends the agent. With IfIdle it is refused with code "busy" while the agent holds
// a grant that would be lost or runs a login; the agent decides and stops in one step.
type StopRequest struct {
	IfIdle bool `json:"if_idle,omitempty"`
}
