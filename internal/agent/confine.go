package agent

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"

	"github.com/keytether/keytether/internal/oauth"
)

// errOutside is why a URL gets no token. Its words are for a person.
var (
	errOutside  = errors.New("the URL does not lie under the resource")
	errSpelling = errors.New("the URL can be read in two ways")
	errIssuer   = errors.New("the URL is one of the authorization server's own endpoints")
	errResource = errors.New("the resource is not an http or https URL")
)

// confine says whether a token for resource may go to raw: same scheme, host and
// port, and a path under the resource's, segment by segment. What a server could
// read as another path (dot segments, however encoded) is refused, and so are
// the endpoints of the server that issued the token: there a token and its proof
// would serve whoever sits behind them. The issuer's own API, {issuer}/api/v1,
// is a resource like any other.
func confine(resource, raw string, meta oauth.Metadata) error {
	base, err := split(resource)
	if err != nil {
		return errResource
	}
	at, err := split(raw)
	if err != nil {
		return err
	}
	if at.origin != base.origin || !under(at.path, base.path) {
		return errOutside
	}
	if resource == meta.Issuer+oauth.PathAPI {
		return nil
	}
	return awayFromIssuer(at, meta)
}

// place is a URL without query and fragment in a form that can be compared.
type place struct {
	origin string // scheme://host:port, port always there
	path   string // as written, begins with "/"
}

// split reads a URL strictly: what two readers could read differently is an
// error.
func split(raw string) (place, error) {
	if i := strings.IndexAny(raw, "?#"); i >= 0 {
		raw = raw[:i]
	}
	for i := range len(raw) {
		if c := raw[i]; c <= 0x20 || c >= 0x7f || c == '\\' || c == '"' || c == '<' || c == '>' {
			return place{}, errSpelling
		}
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" || strings.Contains(raw, "@") && strings.Contains(u.Host, "@") {
		return place{}, errSpelling
	}
	host, ok := hostOf(u)
	if !ok {
		return place{}, errSpelling
	}
	// Everything behind the authority, as it was written.
	_, rest, _ := strings.Cut(raw, "://")
	path := ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		path = rest[i:]
	}
	if path == "" {
		path = "/"
	}
	if !plain(path) {
		return place{}, errSpelling
	}
	return place{u.Scheme + "://" + host, path}, nil
}

func hostOf(u *url.URL) (string, bool) {
	port := u.Port()
	switch {
	case u.Scheme == "https" && port == "":
		port = "443"
	case u.Scheme == "http" && port == "":
		port = "80"
	case u.Scheme != "https" && u.Scheme != "http":
		return "", false
	}
	if len(port) > 5 || port[0] == '0' {
		return "", false
	}
	name := strings.ToLower(u.Hostname())
	if strings.HasPrefix(u.Host, "[") {
		a, err := netip.ParseAddr(name)
		if err != nil || a.Zone() != "" {
			return "", false
		}
		return "[" + a.String() + "]:" + port, true
	}
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" || strings.HasSuffix(name, ".") {
		return "", false
	}
	return name + ":" + port, true
}

// plain says that no reader, however often it decodes, finds a dot segment or a
// control character in the path. An encoded slash inside a segment is fine as
// long as that holds: some APIs name things so.
func plain(path string) bool {
	for range 4 {
		for segment := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
			segment, _, _ = strings.Cut(segment, ";") // some servers drop ";…" first
			if segment == "." || segment == ".." {
				return false
			}
		}
		if strings.ContainsFunc(path, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			return false
		}
		next, err := url.PathUnescape(path)
		if err != nil {
			return false
		}
		if next == path {
			return true
		}
		path = next
	}
	return false
}

// under compares by segments: /a is not over /ab.
func under(path, base string) bool {
	base = strings.TrimSuffix(base, "/")
	return path == base || strings.HasPrefix(path, base+"/")
}

// awayFromIssuer refuses every endpoint that the metadata names and all below
// it, in any letter case and encoding, the well-known folder, and of our own
// servers the whole folder of endpoints.
func awayFromIssuer(at place, meta oauth.Metadata) error {
	endpoints := []string{
		meta.AuthorizationEndpoint, meta.TokenEndpoint, meta.PAREndpoint, meta.JWKSURI, meta.RevocationEndpoint,
		meta.IntrospectionEndpoint, meta.DeviceAuthorizationEndpoint, meta.RegistrationEndpoint,
		meta.HandshakeEndpoint, meta.RevocationFeedEndpoint, originOf(meta.Issuer) + "/.well-known", meta.Issuer + "/.well-known",
	}
	if meta.HandshakeEndpoint != "" {
		for _, folder := range []string{"/oauth", "/burn", "/me", "/console", "/device"} {
			endpoints = append(endpoints, meta.Issuer+folder)
		}
	}
	path := loose(at.path)
	for _, e := range endpoints {
		if e == "" {
			continue
		}
		// An endpoint that we cannot read must not open a door.
		p, err := split(e)
		if err != nil {
			if sameHost(e, at) {
				return errIssuer
			}
			continue
		}
		if p.origin == at.origin && under(path, loose(p.path)) {
			return errIssuer
		}
	}
	return nil
}

// loose is the path as the laxest server reads it: decoded, lower case, slashes
// joined.
func loose(path string) string {
	if next, err := url.PathUnescape(path); err == nil {
		path = next
	}
	segments := strings.FieldsFunc(strings.ToLower(path), func(r rune) bool { return r == '/' || r == '\\' })
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return "/" + strings.Join(segments, "/")
}

func originOf(raw string) string {
	p, err := split(raw)
	if err != nil {
		return ""
	}
	return p.origin
}

func sameHost(raw string, at place) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return true
	}
	host, ok := hostOf(u)
	return !ok || u.Scheme+"://"+host == at.origin
}
