package login

import (
	"net/url"
	"path"
	"strings"
)

func parseResource(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Fragment != "" || u.User != nil || strings.HasSuffix(s, "#") {
		return nil, usage("the resource is wrong", "it is not an absolute URI without a fragment (RFC 8707 section 2)")
	}
	return u, nil
}

// covers says whether a request to u is for the client's resource: the same scheme, host and
// port, and a path that lies under the resource's. The agent decides the same; this is the
// second lock, in the process that would send the credential.
func (c *Client) covers(u *url.URL) error {
	if c.opt.Resource == "" {
		return nil
	}
	r, err := parseResource(c.opt.Resource)
	if err != nil {
		return err
	}
	if originOf(r) == originOf(u) && under(r, u) {
		return nil
	}
	return &Error{
		kind: ErrDenied, What: "the request was not sent", Why: originOf(u) + " is outside the resource " + c.opt.Resource,
		Do: "Make another login.Client for that API",
	}
}

// under compares whole path elements: as they are sent, and as a server reads them that decodes
// and cleans a path first.
func under(base, u *url.URL) bool {
	sent := strings.TrimSuffix(base.EscapedPath(), "/")
	if sent == "" {
		return true
	}
	read := strings.TrimSuffix(base.Path, "/")
	clean := path.Clean("/" + strings.ReplaceAll(u.Path, `\`, "/"))
	return inside(sent, u.EscapedPath()) && inside(read, clean)
}

func inside(base, p string) bool { return p == base || strings.HasPrefix(p, base+"/") }

// originOf is scheme, host and port, the scheme's own port left out.
func originOf(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	port := u.Port()
	if port != "" && !(scheme == "https" && port == "443") && !(scheme == "http" && port == "80") {
		host += ":" + port
	}
	return scheme + "://" + host
}
