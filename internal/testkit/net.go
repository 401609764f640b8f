package testkit

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
)

// Front speaks TLS under some names and passes every request on to a plain-http
// server on loopback, as a front in a data centre would. Streams are passed on
// as they come.
type Front struct {
	srv  *http.Server
	addr string
}

// NewFront starts a front with a certificate of ca for the names. backend is
// "127.0.0.1:PORT". The Host header is passed on; X-Forwarded-For, -Host and
// -Proto are set.
func NewFront(ca *CA, backend string, names ...string) (*Front, error) {
	conf, err := ca.TLS(names...)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("testkit: front: %w", err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: backend})
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		FlushInterval: -1,
		ErrorLog:      quiet,
	}
	f := &Front{srv: &http.Server{Handler: proxy, ErrorLog: quiet}, addr: l.Addr().String()}
	go func() { _ = f.srv.Serve(tls.NewListener(l, conf)) }()
	return f, nil
}

// Addr returns where the front listens, "127.0.0.1:PORT".
func (f *Front) Addr() string { return f.addr }

// Close ends the front and its connections.
func (f *Front) Close() error { return f.srv.Close() }

// quiet drops what http servers say of clients that go away.
var quiet = log.New(io.Discard, "", 0)

// Proxy is an HTTP proxy for CONNECT (RFC 9110 §9.3.6) that knows some names
// and reaches nothing else. With HTTPS_PROXY set to it, a program finds
// "auth.test" without any change to the machine's resolver.
type Proxy struct {
	hosts map[string]string
	srv   *http.Server
	addr  string

	mu   sync.Mutex
	seen []string
}

// NewProxy starts a proxy. hosts maps a name to "127.0.0.1:PORT"; the port
// that the client asks for does not matter.
func NewProxy(hosts map[string]string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("testkit: proxy: %w", err)
	}
	p := &Proxy{hosts: hosts, addr: l.Addr().String()}
	p.srv = &http.Server{Handler: p, ErrorLog: quiet}
	go func() { _ = p.srv.Serve(l) }()
	return p, nil
}

// URL returns what HTTPS_PROXY should be.
func (p *Proxy) URL() string { return "http://" + p.addr }

// Seen returns the targets that were asked for, "host:port", oldest first.
func (p *Proxy) Seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.seen)
}

// Close ends the proxy. Tunnels end with their connections.
func (p *Proxy) Close() error { return p.srv.Close() }

// ServeHTTP answers CONNECT for a known name with a tunnel, and 403 to all else.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.seen = append(p.seen, r.Host)
	p.mu.Unlock()
	host, _, err := net.SplitHostPort(r.Host)
	target := p.hosts[host]
	if r.Method != http.MethodConnect || err != nil || target == "" {
		http.Error(w, "testkit: no way to "+r.Host, http.StatusForbidden)
		return
	}
	out, err := net.Dial("tcp", target)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer out.Close()
	w.WriteHeader(http.StatusOK)
	in, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer in.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(out, buf)
		closeWrite(out)
	}()
	_, _ = io.Copy(in, out)
	closeWrite(in)
	in.Close()
	<-done
}

// closeWrite says that no more will be sent this way.
func closeWrite(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}
