package oauth

import "slices"

// Exit codes of the command (design §5), repeated here because the catalogue is
// the one table of what each failure means.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitNoLogin = 3
	exitDenied  = 4
	exitExpired = 5
	exitNoReach = 6
)

// Catalogue is the one table: code, RFC error, HTTP status, exit code, words.
func Catalogue() []Problem { return slices.Clone(catalogue[:]) }

// catalogue is not to be written to. It is looked into at every refused request,
// and every pending poll is one.
var catalogue = [...]Problem{
	{BadRequest, "invalid_request", 400, exitFailed, "The request is malformed", "Correct it and try again"},
	{DuplicateParameter, "invalid_request", 400, exitFailed, "A parameter stands more than once", "Send each parameter once"},
	{TooLarge, "invalid_request", 413, exitFailed, "The request is too large", "Send less"},
	{BadMethod, "invalid_request", 405, exitFailed, "This method is not answered here", "Use the method that the Allow header names"},
	{BadContentType, "invalid_request", 415, exitFailed, "The body has the wrong content type", "Send application/x-www-form-urlencoded"},
	{MissingParameter, "invalid_request", 400, exitFailed, "A parameter is missing", "Send it"},

	{UnknownClient, "invalid_client", 401, exitUsage, "The client is not registered here", "Check client_id, or ask the administrator of the server to register the tool"},
	{ClientAuthentication, "invalid_client", 401, exitFailed, "The client did not prove who it is", "Check its key or registration"},
	{SeveralAuthentications, "invalid_request", 400, exitFailed, "The client authenticates in more than one way", "Use the one that it is registered for (RFC 6749, section 2.3)"},
	{UnauthorizedClient, "unauthorized_client", 400, exitFailed, "The client is not registered for this way to ask", "Use a way it is registered for, or have its registration changed"},
	{RedirectMismatch, "invalid_request", 400, exitFailed, "redirect_uri is not one of the client's", "Use a registered one; only the port of a loopback address may differ"},
	{UnsupportedResponse, "unsupported_response_type", 400, exitFailed, "Only response_type=code is answered", "Use the authorization code flow"},
	{UnsupportedMode, "invalid_request", 400, exitFailed, "This response_mode is not allowed for the client", "Use form_post, or query where the client is registered for it"},
	{UnsupportedGrantType, "unsupported_grant_type", 400, exitFailed, "This grant_type is not answered", "Use one that the metadata lists"},
	{PARRequired, "invalid_request", 400, exitFailed, "The client must push its authorization request first", "Send it to the pushed authorization request endpoint (RFC 9126)"},
	{RequestURIRefused, "invalid_request", 400, exitFailed, "request_uri is not taken here", "Leave it out"},
	{RequestURIUnknown, "invalid_request_uri", 400, exitExpired, "This login link is not known: it was used, is too old, or the server was restarted", "Start the login again"},
	{ChallengeRequired, "invalid_request", 400, exitFailed, "code_challenge is missing", "Use PKCE with S256 (RFC 7636)"},
	{ChallengeMethod, "invalid_request", 400, exitFailed, "Only code_challenge_method=S256 is taken", "Use S256 with a verifier of 43 to 128 characters"},
	{ScopeUnknown, "invalid_scope", 400, exitFailed, "A scope is not known for the resource, or not allowed for this client or person", "Ask for a scope that the resource has"},
	{ScopeWider, "invalid_scope", 400, exitFailed, "The scope is wider than what was granted", "Log in again to be granted more"},
	{ResourceUnknown, "invalid_target", 400, exitFailed, "The resource is not known here, or not an absolute URI without a fragment", "Use a resource that the server has"},
	{ResourceSeveral, "invalid_target", 400, exitFailed, "More than one resource was asked for", "Ask for one token per resource"},
	{ResourceOther, "invalid_target", 400, exitFailed, "The grant is for another resource", "Log in for this resource"},
	{PromptUnsupported, "invalid_request", 400, exitFailed, "This prompt is not known", "Use none, login or consent"},
	{LoginRequired, "login_required", 400, exitNoLogin, "Nobody is signed in in this browser", "Ask without prompt=none"},
	{ConsentRequired, "consent_required", 400, exitDenied, "The person has to be asked", "Ask without prompt=none"},
	{AccessDenied, "access_denied", 400, exitDenied, "The person denied the request", "Ask the person, then start again"},
	{RequestExpired, "access_denied", 400, exitExpired, "The login took too long", "Start the login again"},
	{RequestDecided, "invalid_request", 400, exitFailed, "This login was already decided", "Start a new one if it was not you who decided"},
	{OtherBrowser, "invalid_request", 400, exitFailed, "This login belongs to another browser", "Go on in the browser where it began, or start it again"},
	{HandshakeFailed, "access_denied", 400, exitDenied, "The tool that asked for this login did not answer from this computer", "If somebody sent you the link, do not go on: they want your access. Otherwise start the login again"},
	{HandshakeLate, "access_denied", 400, exitExpired, "The answer from this computer came too late", "Press Try again"},
	{CodeUnknown, "invalid_grant", 400, exitExpired, "The code is not known here, or has expired", "Start the login again"},
	{CodeExpired, "invalid_grant", 400, exitExpired, "The code has expired", "Start the login again"},
	{CodeReused, "invalid_grant", 400, exitFailed, "The code was used before; what it gave has been revoked", "Start the login again"},
	{CodeForeign, "invalid_grant", 400, exitFailed, "The code belongs to another client", "Use the client that asked for it"},
	{CodeRedirect, "invalid_grant", 400, exitFailed, "redirect_uri differs from the one in the request", "Send the same one"},
	{CodeVerifier, "invalid_grant", 400, exitFailed, "code_verifier does not match", "Send the verifier of this request's challenge"},
	{CodeKey, "invalid_grant", 400, exitFailed, "The proof is by another key than the request", "Use the key of this login"},
	{RefreshUnknown, "invalid_grant", 400, exitNoLogin, "The refresh token is not known here", "Log in again"},
	{RefreshForeign, "invalid_grant", 400, exitNoLogin, "The refresh token belongs to another client", "Use the client that it was issued to"},
	{RefreshSuperseded, "invalid_grant", 400, exitNoLogin, "The refresh token was replaced", "Use its successor"},
	{RefreshReused, "invalid_grant", 400, exitNoLogin, "An old refresh token was used again; the grant has been revoked", "Log in again, and find out who else had the token"},
	{RefreshWrongKey, "invalid_grant", 400, exitNoLogin, "The refresh token came with a proof by another key; the grant has been revoked", "Log in again, and find out who else had the token"},
	{GrantEnded, "invalid_grant", 400, exitNoLogin, "The grant was revoked", "Log in again"},
	{GrantExpired, "invalid_grant", 400, exitNoLogin, "The grant has expired", "Log in again"},
	{InstallationLocked, "access_denied", 400, exitDenied, "This computer is locked: a decoy that was planted on it was used by somebody", "Find out who read it, then sign in at the server's page /me and press Unlock; nothing has to be logged in again"},
	{UnlockerUnfit, "access_denied", 403, exitDenied, "This computer cannot unlock another: it was not itself logged in at with a browser on its own machine, or is locked itself", "Sign in at the server's page /me and press Unlock"},
	{DecoysFull, "access_denied", 403, exitDenied, "So many decoys are planted that no more are given out", "Wait an hour, or use those that there are"},
	{ProofRequired, "invalid_dpop_proof", 400, exitFailed, "A DPoP proof is required", "Send one (RFC 9449)"},
	{BearerRefused, "unauthorized_client", 400, exitDenied, "A token that is bound to no key is not allowed for this client and resource", "Use a tool that proves its key, or ask the administrator of the server"},
	{ProofInvalid, "invalid_dpop_proof", 400, exitFailed, "The DPoP proof is not valid", "Check key, method, URL and time"},
	{ProofReplayed, "invalid_dpop_proof", 400, exitFailed, "The DPoP proof was seen before", "Make a new one for each request"},
	{NonceRequired, "use_dpop_nonce", 400, exitFailed, "The DPoP proof needs the server's nonce", "Repeat with the nonce of the DPoP-Nonce header"},
	{TokenMissing, "invalid_token", 401, exitNoLogin, "No access token was sent", "Send one in the Authorization header"},
	{TokenInvalid, "invalid_token", 401, exitNoLogin, "The access token is not valid here", "Get a token for this resource"},
	{TokenExpired, "invalid_token", 401, exitNoLogin, "The access token has expired", "Renew it"},
	{TokenRevoked, "invalid_token", 401, exitNoLogin, "The access token was revoked", "Log in again"},
	{TokenBound, "invalid_token", 401, exitNoLogin, "The access token is bound to a key and was sent without its proof", "Send it with a DPoP proof by that key"},
	{InsufficientScope, "insufficient_scope", 403, exitDenied, "The access token's scope does not allow this", "Log in with the scope that is named"},
	{AssertionInvalid, "invalid_client", 401, exitFailed, "The client assertion is not valid", "Check issuer, subject, audience, times and key (RFC 7523)"},
	{SignInFailed, "access_denied", 401, exitDenied, "Email or password is wrong", "Try again, or ask your administrator for a new password"},
	{SignInLimited, "access_denied", 429, exitDenied, "Too many attempts to sign in", "Wait a while, then try again"},
	{CrossSite, "access_denied", 403, exitFailed, "The form was sent from another site, or the page is too old", "Open the page again and send it from there"},
	{NotFound, "not_found", 404, exitFailed, "There is nothing here", "Check the address"},
	{Conflict, "temporarily_unavailable", 503, exitFailed, "Something else changed this at the same moment", "Try again"},
	{StorageFull, "temporarily_unavailable", 503, exitNoReach, "The server's disk is full; nothing was changed", "Tell the administrator of the server, then try again"},
	{Unavailable, "temporarily_unavailable", 503, exitNoReach, "The server cannot answer now", "Try again in a moment"},
	{StaleRevocations, "temporarily_unavailable", 503, exitNoReach, "The API does not know what has been revoked, and so refuses everything", "Try again in a moment"},
	{ServerError, "server_error", 500, exitFailed, "The server failed", "Try again; its log says what happened"},
	{UnsupportedTokenType, "unsupported_token_type", 400, exitFailed, "This kind of token cannot be revoked", "Send a refresh token or an access token"},
	{InsufficientAuthTime, "insufficient_user_authentication", 401, exitNoLogin, "The sign-in is too old for this", "Sign in again"},
	{RateLimited, "temporarily_unavailable", 429, exitFailed, "Too many requests", "Wait as long as Retry-After says"},
	{RedirectUnfit, "invalid_redirect_uri", 400, exitUsage, "A redirect URI cannot be registered", "Name up to ten on loopback addresses by number, such as http://127.0.0.1/callback and http://[::1]/callback; any port matches"},
	{MetadataUnfit, "invalid_client_metadata", 400, exitUsage, "Such a client cannot register itself", "Send a JSON object of a public native client with a client_name of its own (RFC 7591), or ask the administrator of the server to register it"},
	{InitialTokenInvalid, "invalid_token", 401, exitDenied, "The initial access token is not valid here", "Ask the administrator of the server for one"},
	{RegistrationFull, "access_denied", 403, exitDenied, "No more clients can register themselves", "Ask the administrator of the server to remove some"},
	{UnsupportedRequestJWTs, "request_not_supported", 400, exitFailed, "Request objects are not taken here", "Push the request as plain parameters (RFC 9126)"},

	{DevicePending, "authorization_pending", 400, exitFailed, "The person has not decided yet", "Ask again after the interval"},
	{DeviceSlowDown, "slow_down", 400, exitFailed, "The tool asks too often", "Wait 5 seconds longer between two polls from now on"},
	{DeviceDenied, "access_denied", 400, exitDenied, "The person denied the login, or it was cancelled", "Ask the person, then start again"},
	{DeviceHammered, "access_denied", 400, exitDenied, "The tool went on asking too often in spite of every slow_down; the login has been ended", "Have the tool mended, then start again"},
	{DeviceExpired, "expired_token", 400, exitExpired, "The login took too long", "Start the login again"},
	{DeviceUnknown, "invalid_grant", 400, exitExpired, "The device code is not known here, or was used", "Start the login again"},
	{UserCodeWrong, "access_denied", 400, exitDenied, "There is no login with this code, or it is over", "Compare the code with what the tool shows, or start the login again"},
	{UserCodeLimit, "access_denied", 429, exitDenied, "Too many codes were tried", "Wait a while, then try again"},
	{DevicePolicy, "access_denied", 403, exitDenied, "This server does not allow a login that was started in this way from there", "Log in on the computer itself, or ask the administrator of the server"},
	{ApproverUnfit, "access_denied", 403, exitDenied, "This installation cannot approve a login: it was not itself logged in at with a browser on its own machine, or the login is its own", "Approve in the browser, or at another computer of yours"},
	{ApprovalWrong, "invalid_request", 400, exitFailed, "The approval is not signed by this installation, or not for this login", "Sign it as the documentation of the API says"},
}
