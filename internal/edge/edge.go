// Package edge is the server's HTTP: routes, parameters, cookies, forms, the
// headers that keep a browser from harm, and limits. It reads a request, calls
// one use case of authserver, and writes what came of it.
//
// One file per group of endpoints. Three kinds of them answer errors in three
// ways: direct ones, which programs call, with RFC 6749 §5.2's JSON; the API
// with that and a challenge (RFC 9449 §7.1); pages with a page.
//
// What an endpoint is called is settled by the issuer alone, never by the Host
// header: proofs are compared with the metadata's URLs.
package edge

import (
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/console"
	"github.com/keytether/keytether/internal/oauth"
)

// Options are what a Handler is made of.
type Options struct {
	Server    *authserver.Server
	Sequencer authserver.Sequencer // for exports of the audit log
	// TrustedProxies may say in X-Forwarded-For who their client was.
	TrustedProxies []netip.Prefix
	Log            *slog.Logger // nil: nothing is logged
}

// Handler serves one issuer. It is safe for concurrent use.
type Handler struct {
	server  *authserver.Server
	seq     authserver.Sequencer
	trusted []netip.Prefix
	log     *slog.Logger
	site    *console.Site
	limits  limits
	mux     *http.ServeMux
	nowhere http.Handler

	issuer   string
	origin   string // of the issuer
	tokenURL string
	base     string // the issuer's path; empty at the root
	tls      bool   // the issuer is https
	cookie   cookieNames

	stopOnce sync.Once
	stopping chan struct{} // closed when streams must end
}

// New makes a handler.
func New(o Options) *Handler {
	issuer := o.Server.Issuer()
	h := &Handler{
		server: o.Server, seq: o.Sequencer, trusted: o.TrustedProxies, log: o.Log,
		limits: newLimits(), mux: http.NewServeMux(),
		issuer: issuer, origin: oauth.Origin(issuer), tokenURL: issuer + oauth.PathToken, tls: strings.HasPrefix(issuer, "https://"),
		stopping: make(chan struct{}),
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if u, err := url.Parse(issuer); err == nil {
		h.base = u.EscapedPath()
	}
	h.cookie = newCookieNames(o.Server.Tenant(), h.tls)
	h.site = console.New(issuer, h.base)
	h.routes()
	return h
}

// Stop ends the streams, so that a server can shut down. Other requests go on.
func (h *Handler) Stop() { h.stopOnce.Do(func() { close(h.stopping) }) }

// routes names every endpoint. A path that stands here answers other methods
// with 405, and every other path is 404.
func (h *Handler) routes() {
	h.public()

	h.direct(oauth.PathPAR, h.push)
	h.direct(oauth.PathToken, h.token)
	h.direct(oauth.PathDevice, h.deviceAuthorization)
	h.direct(oauth.PathRevoke, h.revoke)
	h.direct(oauth.PathIntrospect, h.introspect)
	h.mux.Handle(h.base+oauth.PathRegister, h.serve(h.register, h.registerError))
	h.direct(oauth.PathTripwire, h.tripwire)
	h.direct(oauth.PathRevocations, h.revocations)

	h.page(oauth.PathAuthorize, methods{http.MethodGet: h.authorize, http.MethodHead: h.authorize, http.MethodPost: h.authorizePost})
	h.page(pathSignIn, methods{http.MethodPost: h.signIn})
	h.page(pathConsent, methods{http.MethodPost: h.consent})
	h.page(oauth.PathHandshake, methods{http.MethodGet: h.handshake, http.MethodPost: h.tryAgain})
	h.page(oauth.PathVerify, methods{http.MethodGet: h.device, http.MethodHead: h.device, http.MethodPost: h.typeCode})
	h.page(pathDeviceDecide, methods{http.MethodPost: h.decideDevice})
	h.page(pathMe, methods{http.MethodGet: h.me, http.MethodHead: h.me})
	h.page(pathMeRevoke, methods{http.MethodPost: h.meRevoke})
	h.page(pathMeDisown, methods{http.MethodPost: h.meDisown})
	h.page(pathMeSeen, methods{http.MethodPost: h.seen})
	h.page(pathMeUnlock, methods{http.MethodPost: h.unlock})
	h.page(oauth.PathBurn, methods{http.MethodGet: h.showBurn, http.MethodHead: h.showBurn, http.MethodPost: h.burn})
	h.page(pathMeSignOut, methods{http.MethodPost: h.signOut})
	h.page("/{$}", methods{http.MethodGet: h.landing, http.MethodHead: h.landing})
	h.nowhere = h.page("/", nil)

	h.api(oauth.PathAPI+"/whoami", authserver.ScopeAccount, http.MethodGet, h.whoami)
	h.api(oauth.PathAPI+"/grants", authserver.ScopeAccount, http.MethodGet, h.grants)
	h.api(oauth.PathAPI+"/grants/{id}", authserver.ScopeAccount, http.MethodDelete, h.endGrant)
	h.api(oauth.PathAPI+"/device/view", authserver.ScopeAccount, http.MethodPost, h.approvable)
	h.api(oauth.PathAPI+"/device/decide", authserver.ScopeAccount, http.MethodPost, h.approve)
	h.api(oauth.PathAPI+"/decoys", authserver.ScopeAccount, http.MethodGet, h.decoys)
	h.api(oauth.PathAPI+"/decoys/plant", authserver.ScopeAccount, http.MethodPost, h.plant)
	h.api(oauth.PathAPI+"/installations/{id}/unlock", authserver.ScopeAccount, http.MethodPost, h.unlockFrom)
	h.api(oauth.PathAPI+"/audit/export", authserver.ScopeAdmin, http.MethodGet, h.export)
	// Both of a folder's spellings, or the mux redirects the one to the other.
	nothing := h.serve(h.nothingHere, h.directError)
	h.mux.Handle(h.base+oauth.PathAPI, nothing)
	h.mux.Handle(h.base+oauth.PathAPI+"/", nothing)
	if h.base != "" {
		h.page("", methods{http.MethodGet: h.landing, http.MethodHead: h.landing})
	}
}

// Paths of the pages, below the issuer's.
const (
	pathSignIn    = "/oauth/signin"
	pathConsent   = "/oauth/consent"
	pathMe        = "/me"
	pathMeRevoke  = "/me/revoke"
	pathMeDisown  = "/me/disown"
	pathMeSeen    = "/me/seen"
	pathMeUnlock  = "/me/unlock"
	pathMeSignOut = "/me/signout"
)

// endpoint answers a request, or gives the error that is to be answered.
type endpoint func(w *answer, r *http.Request) error

type methods map[string]endpoint

// answer is the response being written, with what the log says of it.
type answer struct {
	http.ResponseWriter
	status int
	code   oauth.Code
}

// WriteHeader remembers the status.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write remembers that 200 was meant.
func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// ServeHTTP implements http.Handler. A path in a second spelling is nowhere: the
// mux would send the browser to the first one with a 307, and its form along.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := r.URL.Path
	clean := path.Clean(p)
	if clean != "/" && strings.HasSuffix(p, "/") {
		clean += "/"
	}
	if p != clean {
		h.nowhere.ServeHTTP(w, r)
		return
	}
	h.mux.ServeHTTP(w, r)
}

// serve wraps an endpoint: headers that every answer has, errors, one line in
// the log. A page's endpoint adds to the headers.
func (h *Handler) serve(do endpoint, fail func(w *answer, r *http.Request, err error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		a := &answer{ResponseWriter: w}
		h.guard(w.Header())
		err := do(a, r)
		broken := err != nil && a.status != 0 // the answer has begun
		if err != nil && !broken {
			fail(a, r, err)
		}
		h.note(a, r, time.Since(began), err)
		if broken {
			panic(http.ErrAbortHandler) // so that the client sees that it is not whole
		}
	})
}

// note writes the log's line: never a query, a header or a body.
func (h *Handler) note(a *answer, r *http.Request, took time.Duration, err error) {
	level := slog.LevelDebug
	switch {
	case a.status >= 500:
		level = slog.LevelError
	case a.status >= 400:
		level = slog.LevelInfo
	}
	if !h.log.Enabled(r.Context(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 6)
	attrs = append(attrs, slog.String("method", knownMethod(r.Method)), slog.String("path", h.shownPath(r)),
		slog.Int("status", a.status), slog.Duration("took", took))
	if a.code != "" {
		attrs = append(attrs, slog.String("code", string(a.code)))
	}
	if err != nil && err.Error() != string(a.code) {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	h.log.LogAttrs(r.Context(), level, "request", attrs...)
}

// shownPath is the pattern that matched: a path from outside may hold anything.
func (h *Handler) shownPath(r *http.Request) string {
	if p := r.Pattern; p != "" && p != h.base+"/" {
		return p
	}
	return "(unknown)"
}

func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "(other)"
}

func (h *Handler) nothingHere(*answer, *http.Request) error { return oauth.Fail(oauth.NotFound) }
