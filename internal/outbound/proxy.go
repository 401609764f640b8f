package outbound

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// proxies decides which proxy a URL goes through, as curl and net/http do, from given values
// instead of the process's environment. Names are compared as they are on the wire (punycode).
type proxies struct {
	https, http *url.URL // nil: direct
	no          []exception
	none        bool // NO_PROXY=*
}

// exception is one entry of NO_PROXY: a network, an address, a name, or a name and all below it;
// each may have a port.
type exception struct {
	prefix netip.Prefix
	name   string // lower case, without a leading dot
	below  bool   // the entry began with a dot: only names below
	port   string // empty: any
}

// Via says by which proxy a client with these variables reaches u: "scheme://host:port", without
// user name and password; empty if directly. signsIn: it has a user name to give to the proxy.
func Via(env map[string]string, u *url.URL) (proxy string, signsIn bool, err error) {
	p, err := newProxies(env)
	if err != nil {
		return "", false, err
	}
	via := p.choose(u)
	if via == nil {
		return "", false, nil
	}
	return origin(via), via.User != nil, nil
}

func newProxies(env map[string]string) (*proxies, error) {
	first := func(names ...string) string {
		for _, n := range names {
			if v := env[n]; v != "" {
				return v
			}
		}
		return ""
	}
	p := &proxies{}
	var err error
	if p.https, err = proxyURL(first("HTTPS_PROXY", "https_proxy")); err != nil {
		return nil, err
	}
	if p.http, err = proxyURL(first("HTTP_PROXY", "http_proxy")); err != nil {
		return nil, err
	}
	for e := range strings.SplitSeq(first("NO_PROXY", "no_proxy"), ",") {
		e = strings.ToLower(strings.TrimSpace(e))
		switch {
		case e == "":
		case e == "*":
			p.none = true
		default:
			p.no = append(p.no, parseException(e))
		}
	}
	return p, nil
}

// proxyURL takes a URL or, as is usual, HOST:PORT alone. The error does not repeat it: it may
// hold a password.
func proxyURL(s string) (*url.URL, error) {
	if s == "" {
		return nil, nil
	}
	if !strings.Contains(s, "://") {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err == nil && u.Hostname() != "" {
		switch u.Scheme {
		case "http", "https", "socks5", "socks5h":
			return u, nil
		}
	}
	return nil, fail(ErrConfig, "the proxy cannot be used", "HTTPS_PROXY or HTTP_PROXY is not the URL of a proxy", "Correct it, or unset it", nil)
}

func parseException(e string) exception {
	if p, err := netip.ParsePrefix(e); err == nil {
		return exception{prefix: p.Masked()}
	}
	var x exception
	if host, port, err := net.SplitHostPort(e); err == nil {
		e, x.port = host, port
	}
	if a, err := netip.ParseAddr(strings.Trim(e, "[]")); err == nil {
		a = a.Unmap()
		x.prefix = netip.PrefixFrom(a, a.BitLen())
		return x
	}
	e = strings.TrimPrefix(e, "*")
	x.name, x.below = strings.CutPrefix(e, ".")
	return x
}

// choose gives the proxy for u, or nil. Loopback is never sent through one.
func (p *proxies) choose(u *url.URL) *url.URL {
	via := p.https
	if u.Scheme == "http" {
		via = p.http
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if via == nil || p.none || host == "localhost" {
		return nil
	}
	addr, err := netip.ParseAddr(host)
	addr = addr.Unmap()
	if err == nil && addr.IsLoopback() {
		return nil
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	for _, x := range p.no {
		if x.port != "" && x.port != port {
			continue
		}
		switch {
		case x.prefix.IsValid():
			if err == nil && x.prefix.Contains(addr) {
				return nil
			}
		case x.name != "":
			if host == x.name && !x.below || strings.HasSuffix(host, "."+x.name) {
				return nil
			}
		}
	}
	return via
}
