package dpop

import (
	"fmt"
	"net/netip"
	"strings"
)

// sameURL compares htu with the request's URL, both without query and fragment
// and after syntax-based and scheme-based normalisation (RFC 9449 §4.3, RFC 3986
// §6.2.2 and §6.2.3). The request's URL failing to normalise never matches.
func sameURL(htu, request string) bool {
	a, err := normalise(htu)
	if err != nil {
		return false
	}
	b, err := normalise(request)
	return err == nil && a == b
}

// normalise gives an http or https URL without query and fragment in the form in
// which equal resources are equal strings. User information is refused.
func normalise(raw string) (string, error) {
	if i := strings.IndexAny(raw, "?#"); i >= 0 {
		raw = raw[:i]
	}
	bad := fmt.Errorf("%w: not an absolute http URL", ErrURL)
	if len(raw) > maxURL {
		return "", bad
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return "", bad
	}
	port := ""
	switch scheme = lower(scheme); scheme {
	case "https":
		port = "443"
	case "http":
		port = "80"
	default:
		return "", bad
	}
	host, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if host, ok = normaliseHost(host, port); !ok {
		return "", bad
	}
	if path, ok = normalisePath(path); !ok {
		return "", bad
	}
	return scheme + "://" + host + path, nil
}

// normaliseHost lowers the host and drops the scheme's default port.
func normaliseHost(authority, defaultPort string) (string, bool) {
	host, port := authority, ""
	if strings.HasPrefix(authority, "[") {
		end := strings.IndexByte(authority, ']')
		if end < 0 {
			return "", false
		}
		addr, err := netip.ParseAddr(authority[1:end])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", false
		}
		host, port = "["+addr.String()+"]", authority[end+1:]
		if port != "" && port[0] != ':' {
			return "", false
		}
		port = strings.TrimPrefix(port, ":")
	} else {
		if i := strings.IndexByte(authority, ':'); i >= 0 {
			host, port = authority[:i], authority[i+1:]
		}
		host = lower(host)
		if host == "" {
			return "", false
		}
		for i := range len(host) {
			if !hostByte(host[i]) {
				return "", false
			}
		}
	}
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return "", false
		}
	}
	if port = strings.TrimLeft(port, "0"); len(port) > 5 {
		return "", false
	}
	if port == "" || port == defaultPort {
		return host, true
	}
	return host + ":" + port, true
}

func hostByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
}

// lower is ASCII only, so that no letter outside it turns into one of ours.
func lower(s string) string {
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// normalisePath undoes needless percent-encoding, writes the rest in upper case
// and removes dot segments.
func normalisePath(path string) (string, bool) {
	if path == "" {
		return "/", true
	}
	dots, encoded := false, false
	for i := range len(path) {
		switch c := path[i]; {
		case c == '%':
			encoded = true
		case c == '.':
			dots = dots || path[i-1] == '/'
		case !pathByte(c):
			return "", false
		}
	}
	if encoded {
		var ok bool
		if path, ok = normaliseEncoding(path); !ok {
			return "", false
		}
		dots = true
	}
	if dots {
		path = removeDots(path)
	}
	return path, true
}

// pathByte: pchar and "/" of RFC 3986 §3.3, but for "%".
func pathByte(c byte) bool {
	return unreserved(c) || strings.IndexByte("/:@!$&'()*+,;=", c) >= 0
}

func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func normaliseEncoding(path string) (string, bool) {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			out = append(out, path[i])
			continue
		}
		if i+2 >= len(path) {
			return "", false
		}
		hi, lo := unhex(path[i+1]), unhex(path[i+2])
		if hi < 0 || lo < 0 {
			return "", false
		}
		i += 2
		if c := byte(hi<<4 | lo); unreserved(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[hi], hex[lo])
		}
	}
	return string(out), true
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c - 'a' + 10)
	case c >= 'A' && c <= 'F':
		return int(c - 'A' + 10)
	}
	return -1
}

// removeDots is RFC 3986 §5.2.4 for a path that begins with "/".
func removeDots(path string) string {
	segments := strings.Split(path[1:], "/")
	out := segments[:0]
	for i, s := range segments {
		last := i == len(segments)-1
		switch s {
		case ".", "..":
			if s == ".." && len(out) > 0 {
				out = out[:len(out)-1]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/")
}
