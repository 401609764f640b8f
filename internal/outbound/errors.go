package outbound

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Sentinels, for errors.Is. ErrUnreachable holds for every reason why no answer came; those
// below it say which. ErrClock is one of them: the certificate is not valid by this machine's clock.
// ErrProxy holds beside them when it was the proxy that could not be reached, or that refused.
var (
	ErrUnreachable = errors.New("outbound: the server cannot be reached")
	ErrDNS         = errors.New("outbound: the name is not known")
	ErrRefused     = errors.New("outbound: connection refused")
	ErrTLS         = errors.New("outbound: the server's certificate is not accepted")
	ErrClock       = errors.New("outbound: the server's certificate is not valid now")
	ErrTimeout     = errors.New("outbound: no answer in time")
	ErrProxy       = errors.New("outbound: the proxy is in the way")

	ErrRedirect = errors.New("outbound: a redirect that is not followed")
	ErrTooLarge = errors.New("outbound: the answer is too large")
	ErrNotJSON  = errors.New("outbound: the answer is not JSON")
	ErrConfig   = errors.New("outbound: proxy, certificates or address cannot be used")
)

// Error is what happened, why, and what to do, for a person. It names a server's origin and
// never a path, query or proxy password.
type Error struct {
	What, Why, Do string

	kind  error
	cause error
	proxy bool // it happened at the proxy
}

func fail(kind error, what, why, do string, cause error) *Error {
	return &Error{What: what, Why: why, Do: do, kind: kind, cause: cause}
}

// Error is one line.
func (e *Error) Error() string {
	s := e.What + ": " + e.Why
	if e.Do != "" {
		s += ". " + e.Do
	}
	return s
}

// Is matches the kind, and ErrUnreachable for those that are a way of it.
func (e *Error) Is(target error) bool {
	if target == ErrUnreachable {
		switch e.kind {
		case ErrUnreachable, ErrDNS, ErrRefused, ErrTLS, ErrClock, ErrTimeout:
			return true
		}
	}
	if target == ErrTLS && e.kind == ErrClock || target == ErrProxy && e.proxy {
		return true
	}
	return target == e.kind
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

func redirected(from *url.URL, to, why string) *Error {
	// Where it pointed, without what might be a secret in it.
	if u, err := from.Parse(to); err == nil {
		to = origin(u) + u.EscapedPath()
	} else {
		to = "an address that is not a URL"
	}
	return fail(ErrRedirect, origin(from)+" sends us elsewhere", "it redirects to "+to+", and "+why,
		"Check that the issuer's address is the final one, and that no proxy or sign-in page of the network is between", nil)
}

// wantJSON refuses HTML and other pages where JSON was asked for.
func wantJSON(u *url.URL, r *Response) error {
	if err := Page(u, r); err != nil || json.Valid(bytes.TrimLeft(r.Body, blank)) {
		return err
	}
	return notJSON(u, "it answers something that is not JSON")
}

// Page gives ErrNotJSON when a request to u was answered with a web page, as a network does that
// wants somebody to sign in to it first.
func Page(u *url.URL, r *Response) error {
	if !strings.Contains(r.Header.Get("Content-Type"), "html") && !bytes.HasPrefix(bytes.TrimLeft(r.Body, blank), []byte("<")) {
		return nil
	}
	return notJSON(u, "it answers a web page where JSON was expected; a proxy or the network's sign-in page may be between")
}

const blank = " \t\r\n\ufeff"

func notJSON(u *url.URL, why string) error {
	return fail(ErrNotJSON, origin(u)+" gave an answer that cannot be used", why, "Open the address in a browser, sign in to the network if it asks, and check the issuer's address", nil)
}

// Explain gives an error of [Transport] that a request to u came to the words that Do gives its
// own: an *Error, or the cause of ctx if that ended.
func Explain(ctx context.Context, u *url.URL, err error) error { return explain(ctx, u, nil, err) }

// explain gives words to what net/http says of a request to u, by the proxy via or directly.
func explain(ctx context.Context, u, via *url.URL, err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // its text holds the whole URL
	}
	if said, ok := errors.AsType[*Error](err); ok {
		return said
	}
	if ctx.Err() != nil && context.Cause(ctx) != errTimeout && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.Cause(ctx) // the caller gave up
	}
	op, _ := errors.AsType[*net.OpError](err)
	what, atProxy := origin(u)+" cannot be reached", op != nil && op.Op == "proxyconnect"
	if atProxy {
		what = "the proxy" + named(via) + " to " + origin(u) + " cannot be reached"
	}
	said := words(ctx, what, err)
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok && via != nil && !atProxy {
		said.Why += "; the proxy" + named(via) + " may look into TLS, and sign with an authority of its own"
		said.Do = "Ask who runs the proxy for its CA certificate, and name its file in SSL_CERT_FILE"
	}
	if op != nil && op.Op == "socks connect" {
		said.Why, atProxy = "the proxy"+named(via)+" says: "+printable(op.Err.Error()), true
		said.Do = "Check the user name and password in HTTPS_PROXY, or ask who runs the proxy"
	}
	if atProxy && (said.kind == ErrRefused || said.kind == ErrDNS) {
		said.Do = "Check HTTPS_PROXY, or ask who runs the proxy"
	}
	said.proxy = atProxy
	return said
}

// named is the proxy's address with a space before it, without user name and password.
func named(via *url.URL) string {
	if via == nil {
		return ""
	}
	return " " + via.Host
}

// words says what happened, with the cause.
func words(ctx context.Context, what string, err error) *Error {
	if dns, ok := errors.AsType[*net.DNSError](err); ok && !dns.IsTimeout {
		return fail(ErrDNS, what, "no address is known for "+dns.Name, "Check the name, the network and the VPN", err)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fail(ErrRefused, what, "nothing listens there (connection refused)", "Check the address, and that the server runs", err)
	}
	if ci, ok := errors.AsType[x509.CertificateInvalidError](err); ok && ci.Reason == x509.Expired {
		return explainExpired(what, ci, err)
	}
	if ua, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fail(ErrTLS, what, "its certificate is signed by "+authority(ua.Cert),
			"If your company has its own, name its file in SSL_CERT_FILE; else somebody may be listening in", err)
	}
	if he, ok := errors.AsType[x509.HostnameError](err); ok {
		return fail(ErrTLS, what, "its certificate is not for "+he.Host, "Check the address", err)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fail(ErrTLS, what, "its certificate is not accepted", "Ask who runs the server", err)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return fail(ErrTLS, what, "it does not speak TLS there", "Check https and the port", err)
	}
	var alert tls.AlertError
	if errors.As(err, &alert) || strings.Contains(err.Error(), "tls: ") {
		return fail(ErrTLS, what, "no TLS connection can be agreed (TLS 1.2 or newer is needed)", "Ask who runs the server", err)
	}
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() || errors.Is(err, context.DeadlineExceeded) || context.Cause(ctx) == errTimeout {
		return fail(ErrTimeout, what, "no answer came in time", "Check the network, the VPN and HTTPS_PROXY, then try again", err)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return fail(ErrUnreachable, what, "the connection was closed before the answer was complete", "Try again", err)
	}
	return fail(ErrUnreachable, what, "the network says no", "Check the network, the VPN and HTTPS_PROXY", err)
}

// authority names who signed c. Whoever is at the other end wrote that name.
func authority(c *x509.Certificate) string {
	name := ""
	if c != nil {
		if name = c.Issuer.CommonName; name == "" && len(c.Issuer.Organization) > 0 {
			name = c.Issuer.Organization[0]
		}
	}
	if name = printable(name); name == "" {
		return "an authority that this machine does not know"
	}
	return "\"" + name + "\", an authority that this machine does not know"
}

// printable keeps at most 80 bytes of printable ASCII.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f || r == '"' {
			return -1
		}
		return r
	}, s[:min(len(s), 80)]))
}

// proxyAnswered turns a proxy's refusal of CONNECT into words; net/http has the status text alone.
func proxyAnswered(_ context.Context, via *url.URL, req *http.Request, res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	why := fmt.Sprintf("the proxy %s answers %d %s", via.Host, res.StatusCode, http.StatusText(res.StatusCode))
	do := "Ask who runs the proxy, or name the server in NO_PROXY"
	_, password := via.User.Password()
	switch {
	case res.StatusCode == http.StatusProxyAuthRequired && password:
		why += ": it does not take the user name and password that HTTPS_PROXY holds"
		do = "Correct them in HTTPS_PROXY; a character such as @ or : in them is written %40 or %3A"
	case res.StatusCode == http.StatusProxyAuthRequired:
		why += ": it wants a user name and a password"
		do = "Put them into HTTPS_PROXY: http://USER:PASSWORD@HOST:PORT"
	case res.StatusCode >= 300 && res.StatusCode < 400:
		do = "It may be the network's sign-in page: open any page in a browser, sign in, and try again"
	}
	e := fail(ErrUnreachable, "https://"+strings.TrimSuffix(req.Host, ":443")+" cannot be reached", why, do, nil)
	e.proxy = true
	return e
}

func explainExpired(what string, ci x509.CertificateInvalidError, err error) *Error {
	why := "its certificate is not valid by this machine's clock"
	if c := ci.Cert; c != nil {
		// The text of the x509 error has the time that was compared; the certificate has the rest.
		if strings.Contains(ci.Detail, "is before") {
			why = "its certificate is valid from " + c.NotBefore.UTC().Format(time.RFC3339) + " only, by this machine's clock that is yet to come"
		} else {
			why = "its certificate has expired on " + c.NotAfter.UTC().Format(time.RFC3339) + " by this machine's clock"
		}
	}
	return fail(ErrClock, what, why, "Check this machine's date and time; if they are right, ask who runs the server", err)
}
