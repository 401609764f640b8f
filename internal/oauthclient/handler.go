package oauthclient

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/oauth"
)

func (l *Login) serve() {
	l.srv = &http.Server{
		Handler:           http.HandlerFunc(l.handle),
		ReadHeaderTimeout: readTime,
		IdleTimeout:       readTime, // a ReadTimeout would end the requests that wait for the login's end
		MaxHeaderBytes:    64 << 10, // a browser may send every cookie that localhost ever set
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	for _, ln := range l.bound.listeners {
		go func() { _ = l.srv.Serve(ln) }()
	}
}

// stop lets an answer that is being written go out, shortly.
func (l *Login) stop() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), 500*time.Millisecond)
	defer cancel()
	if l.srv.Shutdown(ctx) != nil {
		_ = l.srv.Close()
	}
	l.bound.close()
}

// handle answers whatever comes. Only two requests move the login: the first
// opening of the start link, and a callback that flow accepts.
func (l *Login) handle(w http.ResponseWriter, r *http.Request) {
	protect(w.Header())
	switch {
	case !slices.Contains(l.bound.hosts(), r.Host):
		l.c.env.Log.Debug("listener: refused a request for another host")
		http.Error(w, "this is not the host that was asked for", http.StatusMisdirectedRequest)
	case fromStranger(r):
		l.c.env.Log.Warn("listener: refused another user of this machine", "start_link", r.URL.Path == l.start)
		http.Error(w, "this login belongs to another user of this computer", http.StatusForbidden)
	case r.URL.Path == "/favicon.ico":
		w.WriteHeader(http.StatusNoContent)
	case r.URL.Path == l.start:
		l.handleStart(w, r)
	case r.URL.Path == "/callback":
		l.handleCallback(w, r)
	case r.URL.Path == l.done:
		l.handleDone(w, r)
	default:
		unknownPage().write(w)
	}
}

// fromStranger reports whether a request comes from another user's process.
func fromStranger(r *http.Request) bool {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	local, err := netip.ParseAddrPort(at.String())
	if err != nil {
		return false
	}
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	uid, known := socketUID(remote, local)
	return stranger(os.Getuid(), uid, known)
}

// handleStart is the one-time link: the request is made when a person opens it.
func (l *Login) handleStart(w http.ResponseWriter, r *http.Request) {
	if !navigates(r) {
		notNow(w, r, http.MethodGet)
		return
	}
	l.mu.Lock()
	first := l.flow.open()
	l.mu.Unlock()
	if !first {
		usedPage().write(w)
		return
	}
	close(l.opened)
	target, uri, err := l.authorizationURL()
	if err != nil {
		l.end(decision{verdict: fail, err: err})
		failedPage(l.c.meta.Issuer, l.c.id, err).write(w)
		l.saw.Do(func() { close(l.seen) })
		return
	}
	l.mu.Lock()
	l.flow.requestURI, l.flow.asked = uri, true
	l.mu.Unlock()
	l.c.env.Log.Debug("listener: the browser is on its way", "issuer", l.c.meta.Issuer, "pushed", uri != "")
	redirect(w, target)
}

func (l *Login) handleCallback(w http.ResponseWriter, r *http.Request) {
	cb, status := readCallback(w, r)
	if status != 0 {
		l.c.env.Log.Debug("listener: not a callback", "status", status)
		if status == http.StatusMethodNotAllowed {
			notNow(w, r, "GET, POST")
			return
		}
		p := refusedPage("it cannot be read")
		p.status = status
		p.write(w)
		return
	}
	l.mu.Lock()
	d := l.flow.receive(cb)
	requestURI := l.flow.requestURI
	l.mu.Unlock()
	switch d.verdict {
	case refuse:
		l.c.env.Log.Debug("listener: refused a callback", "why", d.why)
		refusedPage(d.why).write(w)
	case sign:
		to, err := handshakeURL(l.c.meta.HandshakeEndpoint, l.c.key, l.c.id, l.c.meta.Issuer,
			l.flow.redirectURI, requestURI, d.nonce, l.c.serverNow())
		if err != nil {
			l.end(decision{verdict: fail, err: err})
			redirect(w, l.done)
			return
		}
		l.c.env.Log.Debug("listener: signed a handshake")
		redirect(w, to)
	default:
		l.end(d)
		redirect(w, l.done)
	}
}

// handleDone shows how the login ended, as soon as it has.
func (l *Login) handleDone(w http.ResponseWriter, r *http.Request) {
	if !navigates(r) {
		notNow(w, r, http.MethodGet)
		return
	}
	l.mu.Lock()
	ended := l.flow.ended
	l.mu.Unlock()
	if !ended {
		unknownPage().write(w)
		return
	}
	select {
	case <-l.ready:
	case <-r.Context().Done():
		return
	}
	w.Header().Set("Connection", "close")
	if l.err != nil {
		failedPage(l.c.meta.Issuer, l.c.id, l.err).write(w)
	} else {
		donePage(l.c.meta.Issuer, l.c.id, l.grant).write(w)
	}
	l.saw.Do(func() { close(l.seen) })
}

// end hands the decision that ends the login to run; the first one counts.
func (l *Login) end(d decision) {
	l.mu.Lock()
	l.flow.ended = true
	l.mu.Unlock()
	select {
	case l.answer <- d:
	default:
	}
}

// navigates: a person's browser opens a page. Not a HEAD, not a browser that
// looks ahead, not an image or a script of some page.
func navigates(r *http.Request) bool {
	if r.Method != http.MethodGet || looksAhead(r) {
		return false
	}
	mode, dest := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	return (mode == "" || mode == "navigate") && (dest == "" || dest == "document")
}

func looksAhead(r *http.Request) bool {
	for _, name := range []string{"Sec-Purpose", "Purpose", "X-Purpose", "X-Moz"} {
		v := strings.ToLower(r.Header.Get(name))
		if strings.Contains(v, "prefetch") || strings.Contains(v, "preview") || strings.Contains(v, "prerender") {
			return true
		}
	}
	return false
}

// notNow answers what is no navigation: nothing is lost, nothing is used up.
func notNow(w http.ResponseWriter, r *http.Request, allow string) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		w.WriteHeader(http.StatusServiceUnavailable) // a prefetch that fails is thrown away
	default:
		w.Header().Set("Allow", allow)
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

// readCallback reads query or form. The status is 0 when it could be read.
func readCallback(w http.ResponseWriter, r *http.Request) (callback, int) {
	text := r.URL.RawQuery
	cb := callback{post: r.Method == http.MethodPost}
	switch r.Method {
	case http.MethodGet:
		if !navigates(r) {
			return cb, http.StatusMethodNotAllowed
		}
	case http.MethodPost:
		ct, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil || ct != "application/x-www-form-urlencoded" {
			return cb, http.StatusUnsupportedMediaType
		}
		rc := http.NewResponseController(w)
		_ = rc.SetReadDeadline(time.Now().Add(readTime))
		defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, oauth.MaxBody))
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return cb, http.StatusRequestEntityTooLarge
		}
		if err != nil {
			return cb, http.StatusBadRequest
		}
		text = string(body)
		origins := r.Header.Values("Origin")
		if len(origins) > 1 {
			return cb, http.StatusBadRequest
		}
		if len(origins) == 1 {
			cb.origin, cb.hasOrigin = origins[0], true
		}
	default:
		return cb, http.StatusMethodNotAllowed
	}
	p, err := oauth.ParseParams(text)
	if err != nil {
		return cb, http.StatusBadRequest
	}
	cb.params = p
	return cb, 0
}

// redirect is a 303: whatever the browser did, it goes on with a GET.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}
