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
var (
	ErrUnreachable = errors.New("outbound: the server cannot be reached")
	ErrDNS         = errors.New("outbound: the name is not known")
	ErrRefused     = errors.New("outbound: connection refused")
	ErrTLS         = errors.New("outbound: the server's certificate is not accepted")
	ErrClock       = errors.New("outbound: the server's certificate is not valid now")
	ErrTimeout     = errors.New("outbound: no answer in time")

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
	if target == ErrTLS && e.kind == ErrClock {
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
func (c *Client) wantJSON(u *url.URL, r *Response) error {
	b := bytes.TrimLeft(r.Body, " \t\r\n\ufeff")
	html := strings.Contains(r.Header.Get("Content-Type"), "html") || bytes.HasPrefix(b, []byte("<"))
	if !html && json.Valid(b) {
		return nil
	}
	why := "it answers something that is not JSON"
	if html {
		why = "it answers a web page where JSON was expected; a proxy or the network's sign-in page may be between"
	}
	return fail(ErrNotJSON, origin(u)+" gave an answer that cannot be used", why, "Open the address in a browser, sign in to the network if it asks, and check the issuer's address", nil)
}

// Explain gives an error of [Transport] that a request to u came to the words that Do gives its
// own: an *Error, or the cause of ctx if that ended.
func Explain(ctx context.Context, u *url.URL, err error) error { return explain(ctx, u, err) }

// explain gives words to what net/http says.
func explain(ctx context.Context, u *url.URL, err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // its text holds the whole URL
	}
	if said, ok := errors.AsType[*Error](err); ok {
		return said
	}
	what := origin(u) + " cannot be reached"
	op, _ := errors.AsType[*net.OpError](err)
	byProxy := op != nil && op.Op == "proxyconnect"
	if byProxy {
		what = "the proxy to " + origin(u) + " cannot be reached"
	}
	if ctx.Err() != nil && context.Cause(ctx) != errTimeout && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return context.Cause(ctx) // the caller gave up
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok && !dns.IsTimeout {
		return fail(ErrDNS, what, "no address is known for "+dns.Name, "Check the name, the network and the VPN", err)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return fail(ErrRefused, what, "nothing listens there (connection refused)", "Check the address, and that the server runs", err)
	}
	if ci, ok := errors.AsType[x509.CertificateInvalidError](err); ok && ci.Reason == x509.Expired {
		return explainExpired(what, ci, err)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fail(ErrTLS, what, "its certificate is signed by an authority that this machine does not know",
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

// proxyAnswered turns a proxy's refusal of CONNECT into words; net/http has the status text alone.
func proxyAnswered(_ context.Context, via *url.URL, req *http.Request, res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	do := "Ask who runs the proxy, or name the server in NO_PROXY"
	if res.StatusCode == http.StatusProxyAuthRequired {
		do = "Put the proxy's user name and password into HTTPS_PROXY"
	}
	return fail(ErrUnreachable, "https://"+req.Host+" cannot be reached", fmt.Sprintf("the proxy %s answers %d %s", via.Host, res.StatusCode, http.StatusText(res.StatusCode)), do, nil)
}

func explainExpired(what string, ci x509.CertificateInvalidError, err error) error {
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
