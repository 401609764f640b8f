// Package outbound is the one HTTP client that talks to servers out there. It takes proxy and
// CA from an explicit map of variables, because the agent's own environment may be days old;
// it bounds time and size, does not follow redirects that carry anything, and says in words
// what went wrong, why, and what to do.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Bounds. A slow company proxy needs seconds, not minutes.
const (
	DefaultTimeout = 30 * time.Second // for a whole exchange
	DefaultMaxBody = 1 << 20          // bytes of a response
	maxRedirects   = 3                // of a metadata GET
)

// Options says how to reach out. The zero value is good.
type Options struct {
	// Env are the caller's variables: HTTPS_PROXY, HTTP_PROXY, NO_PROXY (and in lower case),
	// SSL_CERT_FILE. The process's own environment is never read.
	Env map[string]string
	// Timeout of a whole exchange, body included; 0 is DefaultTimeout, and the most is 5 minutes.
	Timeout time.Duration
	// MaxBody is the most bytes of a response; 0 is DefaultMaxBody.
	MaxBody int64
	// DialContext opens the TCP connection in place of net.Dialer. TLS is checked all the same.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Client is safe for concurrent use.
type Client struct {
	http    *http.Client
	tr      *http.Transport
	via     *proxies
	timeout time.Duration
	maxBody int64
}

// New makes a client. It fails when SSL_CERT_FILE or a proxy's URL cannot be used: going on
// without would reach the wrong place or fail later with a worse reason.
func New(o Options) (*Client, error) {
	via, err := newProxies(o.Env)
	if err != nil {
		return nil, err
	}
	tr, err := transport(o, via)
	if err != nil {
		return nil, err
	}
	tr.ResponseHeaderTimeout = 30 * time.Second
	c := &Client{tr: tr, via: via, timeout: o.Timeout, maxBody: o.MaxBody}
	if c.timeout <= 0 {
		c.timeout = DefaultTimeout
	}
	c.timeout = min(c.timeout, 5*time.Minute)
	if c.maxBody <= 0 {
		c.maxBody = DefaultMaxBody
	}
	// Redirects are decided in GetMetadata alone.
	c.http = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// Transport reaches out as New's client does, by the same proxies and certificates, and leaves
// how long an answer may take and how large it may be to the caller: for what only passes
// requests on. Timeout and MaxBody do not count. It fails as New does.
func Transport(o Options) (*http.Transport, error) {
	via, err := newProxies(o.Env)
	if err != nil {
		return nil, err
	}
	return transport(o, via)
}

func transport(o Options, via *proxies) (*http.Transport, error) {
	roots, err := roots(o.Env["SSL_CERT_FILE"])
	if err != nil {
		return nil, err
	}
	dial := o.DialContext
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	return &http.Transport{
		Proxy:                  func(r *http.Request) (*url.URL, error) { return via.choose(r.URL), nil },
		OnProxyConnectResponse: proxyAnswered,
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        60 * time.Second,
		MaxIdleConnsPerHost:    2,
		MaxResponseHeaderBytes: 64 << 10,
	}, nil
}

// roots are the system's and, on top, those of the file: a private CA beside the public ones.
func roots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil // the system's
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fail(ErrConfig, "the certificates cannot be read", "SSL_CERT_FILE: "+err.Error(), "Correct SSL_CERT_FILE, or unset it", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fail(ErrConfig, "the certificates cannot be read", "SSL_CERT_FILE: "+file+" holds no PEM certificate", "Correct SSL_CERT_FILE, or unset it", nil)
	}
	return pool, nil
}

// Close drops idle connections. The client can still be used.
func (c *Client) Close() { c.tr.CloseIdleConnections() }

// Response is a whole answer.
type Response struct {
	Status int
	Header http.Header
	Body   []byte // at most MaxBody bytes
}

// Do sends one request and reads the whole answer. A status of 4xx or 5xx is an answer, not an
// error; a redirect is ErrRedirect and is never followed.
func (c *Client) Do(req *http.Request) (*Response, error) {
	res, err := c.once(req)
	if err != nil {
		return nil, err
	}
	if to := location(res); to != "" {
		return nil, redirected(req.URL, to, "a request that carries data is never sent on")
	}
	return res, nil
}

// GetMetadata gets a public document: nothing secret goes along. It follows up to three
// redirects, within the same https origin only. A page of HTML in place of JSON is ErrNotJSON.
func (c *Client) GetMetadata(ctx context.Context, from string) (*Response, error) {
	at, err := url.Parse(from)
	if err != nil {
		return nil, fail(ErrConfig, "the server cannot be asked", "its address is not a URL", "", nil)
	}
	start := at
	for range maxRedirects + 1 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil)
		if err != nil {
			return nil, fail(ErrConfig, "the server cannot be asked", "its address is not a URL", "", nil)
		}
		req.Header.Set("Accept", "application/json")
		res, err := c.once(req)
		if err != nil {
			return nil, err
		}
		to := location(res)
		if to == "" {
			if res.Status == http.StatusOK {
				if err := wantJSON(at, res); err != nil {
					return nil, err
				}
			}
			return res, nil
		}
		next, err := at.Parse(to)
		if err != nil || next.Scheme != "https" || start.Scheme != "https" || next.User != nil || !strings.EqualFold(next.Host, start.Host) {
			return nil, redirected(at, to, "metadata may move within its own https origin only")
		}
		at = next
	}
	return nil, redirected(start, at.String(), "it redirects again and again")
}

func location(r *Response) string {
	switch r.Status {
	case 301, 302, 303, 307, 308:
		if to := r.Header.Get("Location"); to != "" {
			return to
		}
		return "nowhere"
	}
	return ""
}

func (c *Client) once(req *http.Request) (*Response, error) {
	ctx, cancel := context.WithTimeoutCause(req.Context(), c.timeout, errTimeout)
	defer cancel()
	res, err := c.http.Do(req.WithContext(ctx))
	if err != nil {
		return nil, explain(ctx, req.URL, c.via.choose(req.URL), err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, c.maxBody+1))
	if err != nil {
		return nil, explain(ctx, req.URL, c.via.choose(req.URL), err)
	}
	if int64(len(body)) > c.maxBody {
		return nil, fail(ErrTooLarge, origin(req.URL)+" gave an answer that cannot be used",
			fmt.Sprintf("it is larger than %d bytes", c.maxBody), "Check that the address is right", nil)
	}
	return &Response{Status: res.StatusCode, Header: res.Header, Body: body}, nil
}

var errTimeout = errors.New("no answer in time")
