// Package agentwire is the language of the agent's socket: every request, response and
// event, the errors, and a Go client. It is a public API: whatever can speak HTTP over a
// Unix socket can use the agent, and nothing here is private to our own command.
//
//	curl --unix-socket "$XDG_RUNTIME_DIR/keytether/agent.sock" http://keytether/v1/status
//	curl --unix-socket … --json '{"resource":"https://api.example.test"}' http://keytether/v1/token
//
// # Transport
//
// HTTP/1.1 over a local socket (a named pipe on Windows) that belongs to one user; both
// ends check the other's uid (package peersock). The Host is ignored. Bodies are one JSON
// object of at most [MaxBody] bytes, UTF-8; the content type of a request is not looked at.
// A field that the reader does not know is skipped, so that a newer end can talk to an older
// one; a field of the wrong JSON type is an error. An absent field, an empty one and a zero
// mean the same. Times are RFC 3339 in UTC with whole seconds. Scopes are one string,
// separated by spaces (RFC 6749 section 3.3). Field names are those of the RFCs where an RFC
// has one.
//
// # Calls
//
//	GET  /v1/version              [Version]           who answers, and since when
//	GET  /v1/status               [StatusResponse]    the agent and all its profiles
//	GET  /v1/whoami?profile=NAME  [Whoami]            whose login this is
//	POST /v1/login                [LoginRequest]      a stream of [Event], one JSON object a line
//	POST /v1/login/code           [LoginCodeRequest]  [Empty]
//	POST /v1/logout               [LogoutRequest]     [LogoutResponse]
//	POST /v1/token                [TokenRequest]      [TokenResponse]
//	POST /v1/authorize            [AuthorizeRequest]  [AuthorizeResponse]
//	POST /v1/approval             [ApprovalRequest]   [ApprovalResponse]
//	POST /v1/decoys               [Decoy]             {}
//	GET  /v1/decoys                                   [DecoysResponse]
//	GET  /v1/confirmations                            [ConfirmationsResponse]
//	POST /v1/confirmations        [ConfirmationRequest] [Empty]
//	POST /v1/agent/lock           [LockRequest]       [Empty]
//	POST /v1/agent/unlock         [LockRequest]       [Empty]
//	POST /v1/agent/unlock/store   [UnlockStoreRequest] [Empty]
//	POST /v1/agent/stop           [StopRequest]       [Empty]
//
// An answer that is not 200 carries an [Error]: code, what, why, do. The codes are a closed
// list ([Codes]), and its comment says which exit code each one becomes. A call that an older
// agent does not have is answered 404 with code "unsupported".
//
// # Login
//
// POST /v1/login answers 200 with application/x-ndjson and says each step as a line: first
// "browser" or "device_code", then "waiting" as often as the agent likes (clients skip it),
// a "device_code" perhaps where a browser does not come back or somebody asks for it
// (POST /v1/login/code), and at last either "done" or "error"; nothing follows these two. A client skips an event
// that it does not know. Closing the connection cancels the login. A stream that ends without
// "done" or "error" means that the agent is gone.
//
// # Who asks
//
// The agent knows which program is at the other end of each connection and shows it in
// [ProfileStatus]. A profile's list of programs, or the person, may refuse it: code "denied". Where
// the person is asked, a call for a token or proof is not answered before they decided, at most a
// minute ([Confirmation]).
//
// # What never crosses
//
// Refresh tokens and private keys have no field here. Access tokens and proofs do, that is
// the purpose; see [Secret] for how they are kept out of logs.
package agentwire

// Protocol is the version of this wire that this code speaks. It grows when an older reader
// would misunderstand a newer writer; new fields, events and calls alone do not change it.
const Protocol = 1

// ProtocolMin is the oldest protocol this code still speaks.
const ProtocolMin = 1

// The paths of the calls.
const (
	PathVersion     = "/v1/version"
	PathStatus      = "/v1/status"
	PathWhoami      = "/v1/whoami"
	PathLogin       = "/v1/login"
	PathLoginCode   = "/v1/login/code"
	PathLogout      = "/v1/logout"
	PathToken       = "/v1/token"
	PathAuthorize   = "/v1/authorize"
	PathLock        = "/v1/agent/lock"
	PathUnlock      = "/v1/agent/unlock"
	PathUnlockStore = "/v1/agent/unlock/store"
	PathStop        = "/v1/agent/stop"
)

// DefaultProfile is meant where a request names no profile.
const DefaultProfile = "default"

// Limits of the wire, in bytes. The longest honest body is an access token with its proof.
const (
	MaxBody = 256 << 10 // one request or response body
	MaxLine = 64 << 10  // one event of a login
)
