package edge

import (
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/console"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// Purposes of form tokens: a token for one thing is none for another.
func signInPurpose(requestURI string) string  { return "sign-in " + requestURI }
func consentPurpose(requestURI string) string { return "consent " + requestURI }

func requestBinding(p oauth.Params) string { return authserver.BindingName(p.Get("request_uri")) }

// authorize is the authorization endpoint (RFC 6749 §3.1, RFC 9126 §4). It
// changes nothing but to remember a plain request, as PAR would.
func (h *Handler) authorize(w *answer, r *http.Request) error {
	return h.authorizeBy(w, r, r.URL.RawQuery)
}

// authorizePost is the same with the parameters in the body, which OIDC Core
// §3.1.2.1 wants.
func (h *Handler) authorizePost(w *answer, r *http.Request) error {
	text, err := formText(w, r)
	if err != nil {
		return err
	}
	return h.authorizeBy(w, r, text)
}

func (h *Handler) authorizeBy(w *answer, r *http.Request, text string) error {
	from := h.address(r)
	if err := h.limited(h.limits.open, from); err != nil {
		return err
	}
	p, err := oauth.ParseParams(text)
	if err != nil {
		return err
	}
	if p.Get("request_uri") == "" {
		uri, err := h.server.BeginPlain(r.Context(), p, from.String())
		if err != nil {
			return err
		}
		return w.seeOther(h.requestURL(p.Get("client_id"), uri))
	}
	if r.Method == http.MethodPost {
		return w.seeOther(h.requestURL(p.Get("client_id"), p.Get("request_uri")))
	}
	return h.ask(w, r, p.Get("client_id"), p.Get("request_uri"))
}

// requestURL is the page of a request: client_id and request_uri alone.
func (h *Handler) requestURL(clientID, requestURI string) string {
	return h.issuer + oauth.PathAuthorize + "?client_id=" + url.QueryEscape(clientID) + "&request_uri=" + url.QueryEscape(requestURI)
}

// ask shows the sign-in or the consent page.
func (h *Handler) ask(w *answer, r *http.Request, clientID, requestURI string) error {
	b := h.browser(w, r, authserver.BindingName(requestURI))
	v, err := h.server.Begin(r.Context(), clientID, requestURI, b)
	if err != nil {
		return err
	}
	if v.Person == nil {
		return h.showSignIn(w, http.StatusOK, b, console.SignIn{
			ClientID: v.Client.ID, ClientName: v.Client.Name, RequestURI: requestURI, Email: v.LoginHint,
		})
	}
	w.Header()["Content-Security-Policy"] = []string{policy(formTarget(v.RedirectURI), "")}
	c := console.Consent{
		View: v, Token: h.server.FormToken(b, consentPurpose(requestURI)), Address: b.Address, Now: h.server.Now(),
	}
	return w.html(http.StatusOK, func(out io.Writer) error { return h.site.Consent(out, c) })
}

func (h *Handler) showSignIn(w *answer, status int, b authserver.Browser, p console.SignIn) error {
	p.Token = h.server.FormToken(b, signInPurpose(p.RequestURI+p.Device))
	return w.html(status, func(out io.Writer) error { return h.site.SignIn(out, p) })
}

// signIn takes the sign-in form.
func (h *Handler) signIn(w *answer, r *http.Request) error {
	if err := h.limited(h.limits.signIn, h.address(r)); err != nil {
		return err
	}
	p, b, err := h.submitted(w, r, func(p oauth.Params) string { return signInPurpose(p.Get("request_uri") + p.Get("device")) }, requestBinding)
	if err != nil {
		return err
	}
	in := authserver.SignIn{
		ClientID: p.Get("client_id"), RequestURI: p.Get("request_uri"),
		Email: p.Get("email"), Password: secret.New(p.Get("password")),
	}
	out, err := h.server.SignIn(r.Context(), in, b)
	h.remember(w, out)
	if !out.Session.IsZero() {
		b.Session = out.Session
	}
	if err != nil {
		return h.signInAgain(w, in, p.Get("device"), b, err)
	}
	switch {
	case p.Get("device") != "":
		return w.seeOther(h.deviceURL(p.Get("device")))
	case in.RequestURI == "":
		return w.seeOther(h.issuer + pathMe)
	}
	return w.seeOther(h.requestURL(in.ClientID, in.RequestURI))
}

// signInAgain shows the form again after a wrong password or too many of them.
func (h *Handler) signInAgain(w *answer, in authserver.SignIn, device string, b authserver.Browser, err error) error {
	if !errors.Is(err, oauth.Fail(oauth.SignInFailed)) && !errors.Is(err, oauth.Fail(oauth.SignInLimited)) {
		return err
	}
	status, doc := w.errorHead(err)
	if status == http.StatusUnauthorized {
		status = http.StatusForbidden
	}
	page := console.SignIn{ClientID: in.ClientID, RequestURI: in.RequestURI, Email: in.Email, Problem: doc.Description, Device: device}
	if in.RequestURI != "" {
		c, err := h.server.Registry().Client(in.ClientID)
		if err != nil {
			return err
		}
		page.ClientName = c.Name
	}
	return h.showSignIn(w, status, b, page)
}

// consent takes Allow or Deny.
func (h *Handler) consent(w *answer, r *http.Request) error {
	p, b, err := h.submitted(w, r, func(p oauth.Params) string { return consentPurpose(p.Get("request_uri")) }, requestBinding)
	if err != nil {
		return err
	}
	d := authserver.Decision{ClientID: p.Get("client_id"), RequestURI: p.Get("request_uri")}
	switch p.Get("decision") {
	case "allow":
		d.Allow = true
	case "deny":
	default:
		return oauth.FailParam(oauth.BadRequest, "decision")
	}
	res, err := h.server.Decide(r.Context(), d, b)
	if err != nil {
		return err
	}
	return h.respond(w, res)
}
