package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// checkIssuer says what is wrong with an issuer, or nothing. Clients compare it
// character by character (RFC 8414 §3.3, RFC 9207 §2.4), so that there must be
// one spelling only.
func checkIssuer(s string) (*url.URL, string) {
	u, ok := parseAbsolute(s)
	switch {
	case !ok || u.Host == "" || u.Opaque != "":
		return nil, fmt.Sprintf("%q is not an absolute URL. Write https://login.example.com", short(s))
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Sprintf("the scheme %q is not https. Write https://%s", short(u.Scheme), short(u.Host))
	case u.Scheme == "http" && !isLoopbackNumber(u.Hostname()):
		return nil, "plain http is accepted on loopback only (127.0.0.1, [::1]; where a name leads can be changed), for passwords and tokens would be readable. Use https"
	case strings.ContainsAny(s, "?#"):
		return nil, "an issuer has no query and no fragment (RFC 8414 §2). Remove them"
	case u.User != nil:
		return nil, "an issuer has no user name or password in it. Remove them"
	case strings.HasSuffix(s, "/"):
		return nil, fmt.Sprintf("an issuer is compared character by character, so write it without the slash at its end: %s",
			short(strings.TrimRight(s, "/")))
	case u.Path != "":
		return nil, "an issuer with a path is not served; paths are for tenants. Give the server a host name or port of its own"
	case s != strings.ToLower(s) || s != u.Scheme+"://"+u.Host:
		return nil, fmt.Sprintf("an issuer is compared character by character, so write it in lower case: %s", short(strings.ToLower(s)))
	case u.Port() == "443" && u.Scheme == "https" || u.Port() == "80" && u.Scheme == "http" || strings.HasSuffix(u.Host, ":"):
		return nil, "leave out the port when it is the scheme's own; browsers do, and the two would not compare equal"
	case !validHost(u):
		return nil, fmt.Sprintf("%q is not a host name, an IPv4 address or an IPv6 address in brackets, with a port from 1 to 65535 or none", short(u.Host))
	}
	return u, ""
}

func validHost(u *url.URL) bool {
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 || strconv.FormatUint(n, 10) != p {
			return false
		}
	}
	h := u.Hostname()
	if a, err := netip.ParseAddr(h); err == nil {
		return a.Zone() == "" && a.String() == h && (a.Is4() || strings.HasPrefix(u.Host, "["))
	}
	if h == "" || len(h) > 253 {
		return false
	}
	for label := range strings.SplitSeq(h, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				return false
			}
		}
	}
	return true
}

// checkListen says what is wrong with an address to listen on, or nothing.
func checkListen(s string) string {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Sprintf("%q is not HOST:PORT. Write 127.0.0.1:8430, or [::]:8430 for all addresses", short(s))
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Sprintf("%q is not a port number from 0 to 65535", short(port))
	}
	return ""
}

// checkResource says what is wrong with a resource's id, or nothing (RFC 8707 §2).
func checkResource(s, issuer string) string {
	u, ok := parseAbsolute(s)
	switch {
	case !ok:
		return fmt.Sprintf("%q is not an absolute URI (RFC 8707 §2). Write the API's URL, such as https://api.example.com", short(s))
	case strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }):
		return "a resource is ASCII without spaces; percent-encode the rest"
	case strings.Contains(s, "#"):
		return "a resource has no fragment (RFC 8707 §2). Remove it"
	case strings.Contains(s, "?"):
		return "a resource has no query here (RFC 8707 §2 advises against it). Remove it"
	case u.User != nil:
		return "a resource has no user name or password in it. Remove them"
	case (u.Scheme == "https" || u.Scheme == "http") && u.Host == "":
		return fmt.Sprintf("%q names no host. Write the API's URL, such as https://api.example.com", short(s))
	case u.Scheme == "http" && !isLoopbackNumber(u.Hostname()):
		return "plain http is accepted on loopback only (127.0.0.1, [::1]; where a name leads can be changed), for tokens would be readable. Use https"
	case issuer != "" && (s == issuer || strings.HasPrefix(s, issuer+"/")):
		return "this lies under the issuer, whose own API is built in. Name the API by its own URL"
	}
	return ""
}

// checkRedirect says what is wrong with a redirect URI, or nothing (RFC 8252 §7,
// §8.4; RFC 9700 §2.1, §2.6).
func checkRedirect(s string) string {
	u, ok := parseAbsolute(s)
	switch {
	case !ok:
		return fmt.Sprintf("%q is not an absolute URI. Write http://127.0.0.1/callback", short(s))
	case strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }):
		return "a redirect URI is ASCII without spaces; percent-encode the rest"
	case strings.Contains(s, "#"):
		return "a redirect URI has no fragment (RFC 6749 §3.1.2). Remove it"
	case u.User != nil:
		return "a redirect URI has no user name or password in it. Remove them"
	case strings.Contains(s, "*"):
		return "a redirect URI is compared exactly; there are no wildcards (RFC 9700 §2.1). Name each one. The port of a loopback address is free anyway"
	}
	switch u.Scheme {
	case "https":
		if u.Hostname() == "" {
			return fmt.Sprintf("%q names no host", short(s))
		}
	case "http":
		host := u.Hostname()
		if host == "localhost" || strings.HasSuffix(host, ".localhost") {
			return "localhost is a name, and where a name leads can be changed: another program on another address could get the code " +
				"(RFC 8252 §8.3). Write http://127.0.0.1/… and http://[::1]/…, and listen on both"
		}
		if !isLoopback(host) {
			return "plain http is accepted for loopback addresses only (RFC 9700 §2.6), for the code would be readable. Use https"
		}
	default:
		if !strings.Contains(u.Scheme, ".") {
			return fmt.Sprintf("the scheme %q could be anybody's. A private-use scheme is a domain of yours, turned round, such as com.example.app (RFC 8252 §7.1)",
				short(u.Scheme))
		}
		if u.Opaque != "" || u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return fmt.Sprintf("a private-use URI has one slash and no host (RFC 8252 §7.1). Write %s:/callback", short(u.Scheme))
		}
	}
	return ""
}

// isLoopbackRedirect reports whether a redirect URI leads to a loopback address
// by number.
func isLoopbackRedirect(s string) bool {
	u, ok := parseAbsolute(s)
	if !ok || u.Scheme != "http" {
		return false
	}
	return isLoopbackNumber(u.Hostname())
}

// isLoopbackNumber reports whether host is a loopback address by number: what
// clients and APIs take plain http from (oauth.CheckIssuer).
func isLoopbackNumber(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// validScope: RFC 6749 §3.3.
func validScope(s string) bool {
	if s == "" || len(s) > maxScope {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// shown checks text that people read on the consent page: one line, nothing
// invisible, nothing that turns the direction of writing.
func (r *reader) shown(p place, s string, limit int) {
	switch {
	case utf8.RuneCountInString(s) > limit:
		r.fail(p, "this is longer than %d characters; people read it on the consent page", limit)
	case strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }):
		r.fail(p, "people read this on the consent page: one line without control or invisible characters")
	case s != strings.TrimSpace(s):
		r.fail(p, "there are spaces around this. Remove them")
	}
}
