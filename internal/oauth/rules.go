package oauth

import (
	"crypto/sha256"
	"encoding/base64"
	"net/netip"
	"net/url"
	"strings"
)

// Challenge computes the S256 code_challenge of a verifier (RFC 7636 §4.2), or
// fails when the verifier's length or alphabet is not that of §4.1.
func Challenge(verifier string) (string, error) {
	if len(verifier) < MinVerifier || len(verifier) > MaxVerifier {
		return "", Fail(CodeVerifier)
	}
	for i := range len(verifier) {
		if !unreserved(verifier[i]) {
			return "", Fail(CodeVerifier)
		}
	}
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

// CheckChallenge checks the PKCE parameters of an authorization request. A
// public client must have a challenge; S256 is the one method (RFC 9700 §2.1.1;
// `plain`, which a missing method means, is refused).
func CheckChallenge(challenge, method string) error {
	if challenge == "" {
		return Fail(ChallengeRequired)
	}
	if method != "S256" || len(challenge) != challengeLen {
		return Fail(ChallengeMethod)
	}
	if b, err := base64.RawURLEncoding.Strict().DecodeString(challenge); err != nil || len(b) != sha256.Size {
		return Fail(ChallengeMethod)
	}
	return nil
}

// MatchRedirect reports whether a redirect URI is the registered one. All is
// compared exactly, but for the port of a loopback IP literal over http, which
// may be any (RFC 8252 §7.3).
func MatchRedirect(registered, given string) bool {
	if registered == given {
		return true
	}
	r, okR := loopback(registered)
	g, okG := loopback(given)
	return okR && okG && r == g
}

// loopback gives a loopback redirect URI without its port, and whether it is
// one. Only the plain spelling counts: no user, no escapes in the host, no
// leading zeros in the port.
func loopback(s string) (string, bool) {
	rest, ok := strings.CutPrefix(s, "http://")
	if !ok {
		return "", false
	}
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		after, ok := strings.CutPrefix(rest, host)
		if !ok {
			continue
		}
		if port, ok := strings.CutPrefix(after, ":"); ok {
			n := 0
			for n < len(port) && port[n] >= '0' && port[n] <= '9' {
				n++
			}
			if n == 0 || n > 5 || port[0] == '0' || (n == 5 && port[:n] > "65535") {
				return "", false
			}
			after = port[n:]
		}
		if after != "" && after[0] != '/' && after[0] != '?' {
			return "", false
		}
		return host + after, true
	}
	return "", false
}

// IsLoopback reports whether uri is an http URI of a loopback IP literal.
func IsLoopback(uri string) bool { _, ok := loopback(uri); return ok }

// CheckRedirect refuses a redirect URI that must not be registered: relative,
// with a fragment, plain http that is not a loopback IP literal (RFC 9700
// §2.6), or a private-use scheme without a dot (RFC 8252 §7.1).
func CheckRedirect(s string) error {
	u, err := url.Parse(s)
	if err != nil || len(s) > MaxURI || u.Scheme == "" || strings.Contains(s, "#") || u.User != nil {
		return Fail(RedirectMismatch)
	}
	switch u.Scheme {
	case "https":
		if u.Host == "" {
			return Fail(RedirectMismatch)
		}
	case "http":
		if !IsLoopback(s) {
			return Fail(RedirectMismatch)
		}
	default:
		if !strings.Contains(u.Scheme, ".") {
			return Fail(RedirectMismatch)
		}
	}
	return nil
}

// Origin is the scheme, host and port of a URI, as a browser's Origin header
// has it (RFC 6454).
func Origin(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return ""
	}
	host := strings.ToLower(u.Host)
	if (u.Scheme == "https" && strings.HasSuffix(host, ":443")) || (u.Scheme == "http" && strings.HasSuffix(host, ":80")) {
		host = host[:strings.LastIndexByte(host, ':')]
	}
	return u.Scheme + "://" + host
}

// CheckIssuer refuses an issuer that is not an https URL without query and
// fragment (RFC 8414 §2). Plain http is accepted on a loopback IP literal.
func CheckIssuer(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || strings.ContainsAny(s, "?#") || u.User != nil || strings.HasSuffix(s, "/"):
		return FailParam(BadRequest, "issuer")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http":
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && a.IsLoopback() {
			return nil
		}
	}
	return FailParam(BadRequest, "issuer")
}

// BearerChallenge and DPoPChallenge build WWW-Authenticate values (RFC 6750 §3,
// RFC 9449 §7.1). Scope is named when the error is insufficient_scope.
func BearerChallenge(errorCode, description, scope string) string {
	return challenge("Bearer", errorCode, description, scope, "")
}

// DPoPChallenge builds the DPoP challenge with the algorithms that are taken.
func DPoPChallenge(errorCode, description, scope, algs string) string {
	return challenge("DPoP", errorCode, description, scope, algs)
}

func challenge(scheme, errorCode, description, scope, algs string) string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+`="`+value+`"`)
		}
	}
	add("error", errorCode)
	add("error_description", description)
	add("scope", scope)
	add("algs", algs)
	if len(parts) == 0 {
		return scheme
	}
	return scheme + " " + strings.Join(parts, ", ")
}
