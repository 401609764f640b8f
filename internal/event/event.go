// Package event is the closed list of what the audit log can say, and the
// fields that a record may have.
//
// Every durable change of state makes at least one Record, committed in the
// same transaction as the change. A record never holds a secret: its fields
// are ids, protocol words and numbers. What identifies a person (names,
// addresses) goes into Facts, which the log only commits to (package audit),
// so that a person can be erased without breaking the log's proof.
package event

import "time"

// Name is what happened.
type Name string

// The closed list. A name is never reused for another meaning; a new one is
// appended to All.
const (
	// Authorization request (RFC 9126, RFC 6749 §4.1).
	RequestOpened   Name = "request.opened"   // a person used it; bound to a browser session
	RequestApproved Name = "request.approved" // the person allowed it
	RequestDenied   Name = "request.denied"   // the person denied it
	RequestExpired  Name = "request.expired"
	RequestRefused  Name = "request.refused" // by a rule; Reason says which
	HandshakeNonce  Name = "handshake.nonce" // the loopback nonce was sent
	CodeIssued      Name = "code.issued"
	CodeRedeemed    Name = "code.redeemed"
	CodeReused      Name = "code.reused" // refused, and the grant revoked

	// Grant.
	GrantCreated    Name = "grant.created"
	GrantRevoked    Name = "grant.revoked" // Reason says why
	GrantExpired    Name = "grant.expired"
	TokenIssued     Name = "token.issued"  // an access token; JTI
	TokenRevoked    Name = "token.revoked" // one access token; JTI
	IDTokenIssued   Name = "id_token.issued"
	RefreshRepeated Name = "refresh.repeated" // the same key asked again for a lost answer
	RefreshReused   Name = "refresh.reused"   // theft: the family is revoked

	// Account and browser session.
	AccountCreated  Name = "account.created"
	AccountChanged  Name = "account.changed"
	AccountDisabled Name = "account.disabled"
	SignInSucceeded Name = "sign_in.succeeded"
	SignInFailed    Name = "sign_in.failed"
	SessionEnded    Name = "session.ended"

	// What the server is.
	ServerStarted    Name = "server.started" // Reason names what volatile state a restart ended
	ClientAdded      Name = "client.added"
	ClientChanged    Name = "client.changed"
	ClientDisabled   Name = "client.disabled"
	ResourceAdded    Name = "resource.added"
	ResourceChanged  Name = "resource.changed"
	ResourceDisabled Name = "resource.disabled"
	KeyAdded         Name = "key.added"
	KeyRetired       Name = "key.retired"
	AuditExported    Name = "audit.exported"

	// Device authorization (RFC 8628).
	DeviceStarted  Name = "device.started"
	DeviceOpened   Name = "device.opened" // its user code was typed; bound to a browser session
	DeviceBound    Name = "device.bound"  // to a proof key, by the first proved poll
	DeviceApproved Name = "device.approved"
	DeviceDenied   Name = "device.denied"
	DeviceExpired  Name = "device.expired"
	DeviceRedeemed Name = "device.redeemed"
	DeviceRepeated Name = "device.repeated" // the same key asked again for a lost answer
	LoginsSeen     Name = "logins.seen"     // the person has seen the device logins until then

	// Tripwire.
	TokenTripped Name = "token.tripped" // an access token was used without its own key; Detail says how

	// Decoys.
	DecoyPlanted         Name = "decoy.planted"
	DecoyFired           Name = "decoy.fired"           // the installation is locked from now on; Detail says where it was presented
	InstallationUnlocked Name = "installation.unlocked" // by a browser session, or from the installation that Detail names
)

// All lists every name, in the order they were introduced.
func All() []Name {
	return []Name{
		RequestOpened, RequestApproved, RequestDenied, RequestExpired, RequestRefused, HandshakeNonce,
		CodeIssued, CodeRedeemed, CodeReused,
		GrantCreated, GrantRevoked, GrantExpired, TokenIssued, TokenRevoked, IDTokenIssued,
		RefreshRepeated, RefreshReused,
		AccountCreated, AccountChanged, AccountDisabled, SignInSucceeded, SignInFailed, SessionEnded,
		ServerStarted, ClientAdded, ClientChanged, ClientDisabled,
		ResourceAdded, ResourceChanged, ResourceDisabled, KeyAdded, KeyRetired, AuditExported,
		DeviceStarted, DeviceOpened, DeviceBound, DeviceApproved, DeviceDenied, DeviceExpired, DeviceRedeemed, DeviceRepeated, LoginsSeen,
		TokenTripped,
		DecoyPlanted, DecoyFired, InstallationUnlocked,
	}
}

// Reason is why something was refused or ended; a closed list as well.
type Reason string

// The reasons.
const (
	ReasonPerson       Reason = "person"              // the person revoked it at /me
	ReasonNotMe        Reason = "this_was_not_me"     // the person disowns an installation
	ReasonLogout       Reason = "logout"              // the client revoked it (RFC 7009)
	ReasonAdmin        Reason = "admin"               // the security engineer
	ReasonCodeReused   Reason = "code_reused"         // OAuth 2.1 §4.1.3
	ReasonReuse        Reason = "refresh_reused"      // an old generation was presented
	ReasonWrongKey     Reason = "refresh_wrong_key"   // a refresh token with a proof by another key
	ReasonCopied       Reason = "token_copied"        // a copy of an access token was used
	ReasonBurned       Reason = "burned"              // somebody who held a secret of it said that it leaked
	ReasonIdle         Reason = "idle"                // not refreshed within the idle lifetime
	ReasonLifetime     Reason = "lifetime"            // the grant's whole lifetime is over
	ReasonClientGone   Reason = "client_disabled"     // its config entry was removed
	ReasonResourceGone Reason = "resource_disabled"   // its config entry was removed
	ReasonAccountGone  Reason = "account_disabled"    // its config entry was removed
	ReasonBadPassword  Reason = "bad_password"        // sign-in
	ReasonUnknownUser  Reason = "unknown_account"     // sign-in
	ReasonRateLimited  Reason = "rate_limited"        // sign-in
	ReasonSignOut      Reason = "sign_out"            // the person ended the browser session
	ReasonHandshake    Reason = "handshake_failed"    // a bad loopback signature, or another browser
	ReasonVolatile     Reason = "volatile_state_lost" // unopened requests, rate limits
	ReasonRotation     Reason = "rotation"            // of a signing key
	ReasonConfig       Reason = "config"              // made or changed by the config file
	ReasonRegistered   Reason = "registered"          // by itself, with an initial access token (RFC 7591)
	ReasonCancelled    Reason = "cancelled"           // the tool was stopped while it waited
	ReasonHammering    Reason = "hammering"           // the tool polled on in spite of every slow_down
	ReasonFirstStart   Reason = "first_start"         // made because nothing was there
)

// Record is one thing that happened. Empty fields are absent.
//
// All strings but those in Facts are ids of package id, protocol words of the
// RFCs, or names from the server's config.
type Record struct {
	Name         Name
	Tenant       string
	Time         time.Time // UTC, whole microseconds
	Subject      string    // acc_…: the person or workload
	Client       string    // client_id
	Request      string    // req_…
	Grant        string    // grt_…
	Installation string    // ins_…
	Session      string    // ses_…
	Resource     string    // resource indicator (RFC 8707)
	Scope        string    // space separated
	Flow         string    // "code", later "device", "workload"
	JTI          string    // of the token
	Thumbprint   string    // of the proof key (RFC 7638)
	Generation   uint32    // of the refresh token family
	Until        time.Time // when what was issued ends; zero if it does not
	Reason       Reason
	Detail       string // one more protocol word or config name; never free text from outside
	Facts        Facts  // personal; the log only commits to them
}

// Facts are what identifies a person or a place. They are kept beside the log
// and can be erased.
type Facts struct {
	Email    string `json:"email,omitempty"`
	Address  string `json:"address,omitempty"`  // IP address of the browser or tool
	Host     string `json:"host,omitempty"`     // the installation's host name
	OSUser   string `json:"os_user,omitempty"`  // the installation's user name
	Platform string `json:"platform,omitempty"` // e.g. linux/amd64
	Agent    string `json:"agent,omitempty"`    // the installation's agent version or the User-Agent header
}

// IsZero reports whether there is no fact.
func (f Facts) IsZero() bool { return f == Facts{} }
