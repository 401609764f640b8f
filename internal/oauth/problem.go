package oauth

import (
	"errors"
	"fmt"
)

// Code names one way in which a request can fail. It is stable: pages, logs,
// JSON and the documentation use it. The table in Catalogue turns it into the
// RFC's error, the HTTP status, the client's exit code and words.
type Code string

// The codes.
const (
	BadRequest         Code = "bad_request"
	DuplicateParameter Code = "duplicate_parameter"
	TooLarge           Code = "too_large"
	BadMethod          Code = "bad_method"
	BadContentType     Code = "bad_content_type"
	MissingParameter   Code = "missing_parameter"

	UnknownClient          Code = "unknown_client"
	ClientAuthentication   Code = "client_authentication"
	SeveralAuthentications Code = "several_authentications"
	UnauthorizedClient     Code = "unauthorized_client"
	RedirectMismatch       Code = "redirect_mismatch"
	UnsupportedResponse    Code = "unsupported_response_type"
	UnsupportedMode        Code = "unsupported_response_mode"
	UnsupportedGrantType   Code = "unsupported_grant_type"
	PARRequired            Code = "par_required"
	RequestURIRefused      Code = "request_uri_refused"
	RequestURIUnknown      Code = "request_uri_unknown"
	ChallengeRequired      Code = "challenge_required"
	ChallengeMethod        Code = "challenge_method"
	ScopeUnknown           Code = "scope_unknown"
	ScopeWider             Code = "scope_wider"
	ResourceUnknown        Code = "resource_unknown"
	ResourceSeveral        Code = "resource_several"
	ResourceOther          Code = "resource_other"
	PromptUnsupported      Code = "prompt_unsupported"
	LoginRequired          Code = "login_required"
	ConsentRequired        Code = "consent_required"
	AccessDenied           Code = "access_denied"
	RequestExpired         Code = "request_expired"
	RequestDecided         Code = "request_decided"
	OtherBrowser           Code = "other_browser"
	HandshakeFailed        Code = "handshake_failed"
	HandshakeLate          Code = "handshake_late"
	CodeUnknown            Code = "code_unknown"
	CodeExpired            Code = "code_expired"
	CodeReused             Code = "code_reused"
	CodeForeign            Code = "code_foreign"
	CodeRedirect           Code = "code_redirect"
	CodeVerifier           Code = "code_verifier"
	CodeKey                Code = "code_key"
	RefreshUnknown         Code = "refresh_unknown"
	RefreshForeign         Code = "refresh_foreign"
	RefreshSuperseded      Code = "refresh_superseded"
	RefreshReused          Code = "refresh_reused"
	RefreshWrongKey        Code = "refresh_wrong_key"
	GrantEnded             Code = "grant_ended"
	GrantExpired           Code = "grant_expired"
	InstallationLocked     Code = "installation_locked"
	DecoysFull             Code = "decoys_full"
	UnlockerUnfit          Code = "unlocker_unfit"
	ProofRequired          Code = "proof_required"
	BearerRefused          Code = "bearer_refused"
	ProofInvalid           Code = "proof_invalid"
	ProofReplayed          Code = "proof_replayed"
	NonceRequired          Code = "nonce_required"
	TokenMissing           Code = "token_missing"
	TokenInvalid           Code = "token_invalid"
	TokenExpired           Code = "token_expired"
	TokenRevoked           Code = "token_revoked"
	TokenBound             Code = "token_bound"
	InsufficientScope      Code = "insufficient_scope"
	AssertionInvalid       Code = "assertion_invalid"
	SignInFailed           Code = "sign_in_failed"
	SignInLimited          Code = "sign_in_limited"
	CrossSite              Code = "cross_site"
	NotFound               Code = "not_found"
	Conflict               Code = "conflict"
	StorageFull            Code = "storage_full"
	Unavailable            Code = "unavailable"
	StaleRevocations       Code = "stale_revocations"
	ServerError            Code = "server_error"
	UnsupportedTokenType   Code = "unsupported_token_type"
	InsufficientAuthTime   Code = "insufficient_authentication"
	RateLimited            Code = "rate_limited"
	RedirectUnfit          Code = "redirect_unfit"
	MetadataUnfit          Code = "metadata_unfit"
	InitialTokenInvalid    Code = "initial_token_invalid"
	RegistrationFull       Code = "registration_full"
	UnsupportedRequestJWTs Code = "request_not_supported"

	DevicePending  Code = "device_pending"
	DeviceSlowDown Code = "device_slow_down"
	DeviceDenied   Code = "device_denied"
	DeviceHammered Code = "device_hammered"
	DeviceExpired  Code = "device_expired"
	DeviceUnknown  Code = "device_unknown"
	UserCodeWrong  Code = "user_code_wrong"
	UserCodeLimit  Code = "user_code_limit"
	DevicePolicy   Code = "device_policy"
	ApproverUnfit  Code = "approver_unfit"
	ApprovalWrong  Code = "approval_invalid"
)

// Problem is one row of the catalogue.
type Problem struct {
	Code   Code
	Error  string // the RFC's error code, as it stands on the wire
	Status int    // HTTP status where the error is answered directly
	Exit   int    // exit code of the command that meets it (design §5)
	What   string // what happened
	Do     string // what to do
}

// Error is a failure with its code. Cause is for logs, never for the wire; it
// holds no secret.
type Error struct {
	Code   Code
	Detail string // one parameter's name or a word from the request's own vocabulary; never a value
	Cause  error
}

// Fail makes an Error.
func Fail(code Code) *Error { return &Error{Code: code} }

// FailParam makes an Error about one parameter.
func FailParam(code Code, name string) *Error { return &Error{Code: code, Detail: name} }

// Because keeps the cause, for logs.
func (e *Error) Because(cause error) *Error {
	return &Error{Code: e.Code, Detail: e.Detail, Cause: cause}
}

// Error says the code, the detail and the cause.
func (e *Error) Error() string {
	s := string(e.Code)
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	if e.Cause != nil {
		s = fmt.Sprintf("%s: %v", s, e.Cause)
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether target is an Error with the same code.
func (e *Error) Is(target error) bool {
	var t *Error
	return errors.As(target, &t) && t.Code == e.Code
}

// ProblemOf finds the row of an error. An error that is no Error is
// ServerError: what we did not foresee is our fault.
func ProblemOf(err error) (Problem, *Error) {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Code: ServerError, Cause: err}
	}
	for _, p := range &catalogue {
		if p.Code == e.Code {
			return p, e
		}
	}
	return ProblemOf(&Error{Code: ServerError, Cause: err})
}

// Response is the wire's error document (RFC 6749 §5.2). error_description
// carries the words of the catalogue; keytether_code the stable code.
type Response struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
	Code        Code   `json:"keytether_code,omitempty"`
}

// ResponseOf renders an error for the wire.
func ResponseOf(err error) (status int, body Response) {
	p, e := ProblemOf(err)
	return p.Status, Response{Error: p.Error, Description: p.Words(e.Detail), Code: p.Code}
}

// Words joins what happened, about what, and what to do, in characters that RFC
// 6749 §5.2 allows in error_description.
func (p Problem) Words(detail string) string {
	s := p.What
	if detail != "" {
		s += " (" + detail + ")"
	}
	return s + ". " + p.Do + "."
}
