// Package localproxy is a reverse proxy on this machine, for tools that cannot prove a key: they
// send plain requests, and the proxy adds the token and the proof of each (package login does
// that) and passes the answer on as it streams in.
//
// It serves one resource. What the tool asks for at / it gets from the resource's own URL, and
// from nowhere else: neither the tool's Host nor a redirect of the API decides where a credential
// goes (RFC 8707; standards: pins the host).
//
// Over a Unix socket the kernel says who calls. Over TCP any process of this machine and any page
// in a browser could, so there the tool shows a secret of this run, as a Bearer token or as the
// password of Basic, the Host must be exactly ours, and what a browser sends from another site is
// refused (DNS rebinding, cross-site requests).
package localproxy

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/keytether/keytether/internal/secret"
)

// maxReplay is the largest body that is kept to be sent again, in bytes. A larger one waits for
// the API's word first (Expect: 100-continue, RFC 9110 section 10.1.1), and streams.
const maxReplay = 1 << 20

// Options is what a proxy needs.
type Options struct {
	Resource *url.URL          // absolute, without query and fragment
	Through  http.RoundTripper // adds the credentials: login's
	Log      *slog.Logger      // nil: nothing is logged

	// Hosts are the values of Host that are ours, and Secret is what the tool shows: over TCP.
	// Over a Unix socket both are empty.
	Hosts  []string
	Secret secret.Value

	// Explain turns an error that a request came to into a status and words for a person.
	Explain func(*http.Request, error) (status int, words string)
}

// New makes the handler.
func New(o Options) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &proxy{o: o}
	p.forward = &httputil.ReverseProxy{
		Rewrite:        p.rewrite,
		Transport:      o.Through,
		FlushInterval:  -1, // an answer is passed on as it comes
		ModifyResponse: p.answer,
		ErrorHandler:   p.failed,
		ErrorLog:       slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
	return p
}

type proxy struct {
	o       Options
	forward *httputil.ReverseProxy
}

// ServeHTTP checks who asks, and passes the request on.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if status, why := p.refuse(r); status != 0 {
		if status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="keytether proxy"`)
		}
		http.Error(w, "keytether proxy: "+why, status)
		return
	}
	if err := replayable(r); err != nil {
		http.Error(w, "keytether proxy: the request's body could not be read", http.StatusBadRequest)
		return
	}
	p.forward.ServeHTTP(w, r)
}

// refuse says why a request is none of ours; 0 is fine.
func (p *proxy) refuse(r *http.Request) (status int, why string) {
	if r.Method == http.MethodConnect || r.URL.IsAbs() {
		return http.StatusBadRequest, "this is no forward proxy: give its address to the tool as the address of the API"
	}
	if len(p.o.Hosts) == 0 {
		return 0, ""
	}
	if !slices.Contains(p.o.Hosts, r.Host) {
		return http.StatusMisdirectedRequest, "the Host is not this proxy's"
	}
	if o := r.Header.Get("Origin"); o != "" && o != "http://"+r.Host {
		return http.StatusForbidden, "a page of another site asks"
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
	default:
		return http.StatusForbidden, "a page of another site asks"
	}
	if !p.o.Secret.Equal(shown(r)) {
		return http.StatusUnauthorized, "show the secret of this run, as a Bearer token or as the password of Basic"
	}
	return 0, ""
}

// shown is the secret that the tool shows.
func shown(r *http.Request) secret.Value {
	if _, password, ok := r.BasicAuth(); ok {
		return secret.New(password)
	}
	scheme, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return secret.New(strings.TrimSpace(rest))
	}
	return secret.Value{}
}

// rewrite leads a request to the resource, without what the tool said about who it is.
func (p *proxy) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(p.o.Resource)                 // and the resource's own Host
	r.Out.URL.RawQuery = r.In.URL.RawQuery // as it is: nothing is decided by it, and another reader may take what Go's does not
	for _, h := range []string{"Authorization", "Dpop", "Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-User", "Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		r.Out.Header.Del(h)
	}
	if _, streams := r.In.Body.(*attempt); streams {
		r.Out.Header.Set("Expect", "100-continue")
	}
}

// answer takes the API's nonces out, and leads a redirect within the resource back through us. A
// redirect elsewhere goes to the tool as it is, which has no credential to take along.
func (p *proxy) answer(r *http.Response) error {
	r.Header.Del("DPoP-Nonce")
	to := r.Header.Get("Location")
	if to == "" {
		return nil
	}
	u, err := r.Request.URL.Parse(to)
	base := strings.TrimSuffix(p.o.Resource.EscapedPath(), "/")
	if err != nil || u.Scheme != p.o.Resource.Scheme || !strings.EqualFold(u.Host, p.o.Resource.Host) || !strings.HasPrefix(u.EscapedPath()+"/", base+"/") {
		return nil
	}
	u.Scheme, u.Host = "", ""
	path := strings.TrimPrefix(u.EscapedPath(), base)
	if path == "" {
		path = "/"
	}
	if strings.HasPrefix(path, "//") {
		return nil
	}
	u.Path, u.RawPath = "", ""
	r.Header.Set("Location", path+u.String())
	return nil
}

// failed answers a request that came to nothing.
func (p *proxy) failed(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the tool has gone
	}
	status, words := http.StatusBadGateway, "the API could not be asked"
	if p.o.Explain != nil {
		status, words = p.o.Explain(r, err)
	}
	p.o.Log.Info("a request came to nothing", "method", r.Method, "status", status)
	http.Error(w, "keytether proxy: "+words, status)
}

// replayable makes it possible to send a request again after the API asked for its nonce.
func replayable(r *http.Request) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength > maxReplay || r.ContentLength < 0 {
		l := &later{body: r.Body}
		r.Body, r.GetBody = &attempt{of: l}, l.again
		return nil
	}
	b, err := io.ReadAll(io.LimitReader(r.Body, maxReplay))
	if err != nil {
		return err
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	r.Body, _ = r.GetBody()
	return nil
}

// later is a body that can be had again as long as nobody has read of it. Of several attempts to
// send it the last one alone may: a transport may still hold the one before, and let go of it at
// any time.
type later struct {
	body  io.ReadCloser
	mu    sync.Mutex
	begun bool
	turn  int // of the last attempt
}

var (
	errBegun = errors.New("localproxy: the body is on its way already")
	errOver  = errors.New("localproxy: the body is another attempt's by now")
)

func (l *later) again() (io.ReadCloser, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun {
		return nil, errBegun
	}
	l.turn++
	return &attempt{l, l.turn}, nil
}

// attempt is one attempt's body.
type attempt struct {
	of   *later
	turn int
}

// Read reads, after which there is no way back.
func (a *attempt) Read(p []byte) (int, error) {
	a.of.mu.Lock()
	if a.turn != a.of.turn {
		a.of.mu.Unlock()
		return 0, errOver
	}
	a.of.begun = true
	a.of.mu.Unlock()
	return a.of.body.Read(p)
}

// Close keeps a body that this attempt has read nothing of open; the server closes it.
func (a *attempt) Close() error {
	a.of.mu.Lock()
	mine := a.of.begun && a.turn == a.of.turn
	a.of.mu.Unlock()
	if !mine {
		return nil
	}
	return a.of.body.Close()
}
