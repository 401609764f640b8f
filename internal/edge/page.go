package edge

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/console"
	"github.com/keytether/keytether/internal/oauth"
)

// permissions: no page of ours needs any device.
const permissions = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), hid=(), microphone=(), payment=(), serial=(), usb=()"

// page registers an endpoint for people. Without methods it is a place where
// there is nothing.
func (h *Handler) page(path string, m methods) http.Handler {
	allow := m.allowed()
	out := h.serve(func(w *answer, r *http.Request) error {
		h.guardPage(w.Header())
		if m == nil {
			return oauth.Fail(oauth.NotFound)
		}
		do := m[r.Method]
		if do == nil {
			return &methodError{allow}
		}
		return do(w, r)
	}, h.pageError)
	h.mux.Handle(h.base+path, out)
	return out
}

// guardPage sets what every page has. Its own policy replaces the one here.
func (h *Handler) guardPage(head http.Header) {
	head["X-Frame-Options"] = []string{"DENY"}
	head["Cross-Origin-Opener-Policy"] = sameOrigin
	head["Cross-Origin-Resource-Policy"] = sameOrigin
	head["Permissions-Policy"] = []string{permissions}
	head["Content-Security-Policy"] = []string{policy("", "")}
}

// policy is a page's content security policy. formTo is the origin, beside our
// own, that a form of the page ends at: Chromium holds redirects against
// form-action too. script is the source of the page's script.
func policy(formTo, script string) string {
	var b strings.Builder
	b.WriteString("default-src 'none'; style-src 'self'; img-src 'self'; ")
	if script != "" {
		b.WriteString("script-src " + script + "; ")
	}
	b.WriteString("form-action 'self'")
	if formTo != "" {
		b.WriteString(" " + formTo)
	}
	b.WriteString("; frame-ancestors 'none'; base-uri 'none'")
	return b.String()
}

// formTarget is the CSP source of a redirect URI: its origin with the port, or,
// of a private-use scheme, the scheme. A policy has no way to name an IPv6
// literal; there any host at that port is the closest.
func formTarget(redirect string) string {
	u, err := url.Parse(redirect)
	switch {
	case err != nil || strings.ContainsAny(u.Host, " ;,'\""):
		return ""
	case u.Host == "":
		return u.Scheme + ":"
	case strings.HasPrefix(u.Host, "["):
		if u.Port() == "" {
			return u.Scheme + "://*"
		}
		return u.Scheme + "://*:" + u.Port()
	}
	return oauth.Origin(redirect)
}

// html writes a page.
func (a *answer) html(status int, render func(io.Writer) error) error {
	var b bytes.Buffer
	if err := render(&b); err != nil {
		return oauth.Fail(oauth.ServerError).Because(err)
	}
	a.body(status, typeHTML, b.Bytes())
	return nil
}

var typeHTML = []string{"text/html; charset=utf-8"}

// seeOther is the one redirect there is: never 307, which would repeat a form
// with its password elsewhere (RFC 9700 §4.12).
func (a *answer) seeOther(target string) error {
	a.Header().Set("Location", target)
	a.Header().Set("Content-Length", "0")
	a.WriteHeader(http.StatusSeeOther)
	return nil
}

// pageError shows a failure to the person, or tells the client of it, where it
// is certain whose redirect URI it is.
func (h *Handler) pageError(a *answer, r *http.Request, err error) {
	var client *authserver.AuthorizeError
	if errors.As(err, &client) {
		_, doc := oauth.ResponseOf(err)
		a.code = doc.Code
		if err = h.respond(a, client.Response); err == nil {
			return
		}
	}
	status, doc := a.errorHead(err)
	if status == http.StatusUnauthorized {
		status = http.StatusForbidden // 401 is for what a browser could authenticate itself
	}
	problem, detail := oauth.ProblemOf(err)
	p := console.Error{
		What: problem.What, Why: detail.Detail, Do: problem.Do, Code: doc.Code,
		Warn: doc.Code == oauth.HandshakeFailed || doc.Code == oauth.OtherBrowser,
	}
	if e := a.html(status, func(w io.Writer) error { return h.site.Error(w, p) }); e != nil {
		a.WriteHeader(http.StatusInternalServerError)
	}
}

// respond tells the client, through the browser, how its request ended (RFC
// 6749 §4.1.2; OAuth 2.0 Form Post Response Mode).
func (h *Handler) respond(w *answer, res authserver.Response) error {
	if res.Handshake {
		h.bind(w, res.BindingName, res.Binding)
	} else if res.BindingName != "" {
		h.unbind(w, res.BindingName)
	}
	if res.Mode == "query" && !res.Handshake {
		target, err := withParams(res.RedirectURI, res.Params)
		if err != nil {
			return err
		}
		return w.seeOther(target)
	}
	head := w.Header()
	head["Content-Security-Policy"] = []string{policy(formTarget(res.RedirectURI), h.site.ScriptSource())}
	// The listener checks Origin, which no-referrer would make null.
	head["Referrer-Policy"] = originPolicy
	return w.html(http.StatusOK, func(out io.Writer) error {
		return h.site.Post(out, console.Post{Response: res})
	})
}

var originPolicy = []string{"origin"}

// withParams adds to a redirect URI, whose own query is kept (RFC 6749 §3.1.2).
func withParams(redirect string, params []authserver.Param) (string, error) {
	u, err := url.Parse(redirect)
	if err != nil {
		return "", oauth.Fail(oauth.ServerError).Because(err)
	}
	q := u.RawQuery
	for _, p := range params {
		if q != "" {
			q += "&"
		}
		q += url.QueryEscape(p.Name) + "=" + url.QueryEscape(p.Value.Reveal())
	}
	u.RawQuery = q
	return u.String(), nil
}

// submitted reads a form of ours: its parameters, and the proof that it comes
// from a page which this browser was given. purpose says what for; it may need
// the form's own fields.
func (h *Handler) submitted(w *answer, r *http.Request, purpose func(oauth.Params) string, binding func(oauth.Params) string) (oauth.Params, authserver.Browser, error) {
	var none authserver.Browser
	if h.crossSite(r) {
		return oauth.Params{}, none, oauth.Fail(oauth.CrossSite)
	}
	p, err := form(w, r)
	if err != nil {
		return p, none, err
	}
	name := ""
	if binding != nil {
		name = binding(p)
	}
	b := h.visitor(r, name)
	if !h.server.CheckForm(b, purpose(p), p.Get("csrf")) {
		return p, none, oauth.Fail(oauth.CrossSite)
	}
	return p, b, nil
}
