package edge

import (
	"net/http"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/secret"
)

// bindingLife is how long a request's own cookie lives: as long as a person may
// take to sign in and decide.
const bindingLife = 15 * time.Minute

// cookieNames are the names of one tenant's cookies. On an https issuer they
// have the prefix __Host-, so that no other host of the domain can set them.
type cookieNames struct {
	session string
	request string // followed by authserver.BindingName
	secure  bool
}

func newCookieNames(tenant string, secure bool) cookieNames {
	prefix := "kt-" + tenant + "-"
	if secure {
		prefix = "__Host-" + prefix
	}
	return cookieNames{session: prefix + "session", request: prefix + "r-", secure: secure}
}

// read gives a cookie's value if it is one of ours; anything else, or two of
// them, counts as none.
func (c cookieNames) read(r *http.Request, name string) secret.Value {
	found := r.CookiesNamed(name)
	if len(found) != 1 {
		return secret.Value{}
	}
	if _, err := secret.Parse(secret.Session, found[0].Value); err != nil {
		return secret.Value{}
	}
	return secret.New(found[0].Value)
}

// set writes a cookie. Without a life it ends with the browser.
func (c cookieNames) set(w http.ResponseWriter, name string, v secret.Value, life time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: v.Reveal(), Path: "/", MaxAge: int(life / time.Second),
		HttpOnly: true, Secure: c.secure, SameSite: http.SameSiteLaxMode,
	})
}

// browser is who comes, with the cookie of the request named binding, if any. A
// browser without a session gets a fresh one, so that its forms can be told
// from another's.
func (h *Handler) browser(w http.ResponseWriter, r *http.Request, binding string) authserver.Browser {
	b := h.visitor(r, binding)
	if b.Session.IsZero() {
		b.Session = h.server.NewSessionSecret()
		h.cookie.set(w, h.cookie.session, b.Session, 0)
	}
	return b
}

// visitor is who sends a form: what has no session is none of ours.
func (h *Handler) visitor(r *http.Request, binding string) authserver.Browser {
	b := authserver.Browser{
		Session: h.cookie.read(r, h.cookie.session), Address: h.place(r), UserAgent: r.UserAgent(),
	}
	if binding != "" {
		b.Binding = h.cookie.read(r, h.cookie.request+binding)
	}
	return b
}

// remember sets the cookies of a sign-in.
func (h *Handler) remember(w http.ResponseWriter, s authserver.SignedIn) {
	if !s.Session.IsZero() {
		h.cookie.set(w, h.cookie.session, s.Session, s.Left)
	}
	h.bind(w, s.BindingName, s.Binding)
}

// unbind takes a request's own cookie away: the request is decided, and a browser
// that logs in a hundred times must not bring a hundred of them along.
func (h *Handler) unbind(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{
		Name: h.cookie.request + name, Path: "/", MaxAge: -1,
		HttpOnly: true, Secure: h.cookie.secure, SameSite: http.SameSiteLaxMode,
	})
}

// bind sets a request's own cookie, if there is a new one.
func (h *Handler) bind(w http.ResponseWriter, name string, v secret.Value) {
	if !v.IsZero() {
		h.cookie.set(w, h.cookie.request+name, v, bindingLife)
	}
}

// crossSite reports whether a form was sent from elsewhere, as far as the
// browser says: Sec-Fetch-Site where it is sent, else Origin. Our pages have
// the referrer policy no-referrer, with which some browsers send the Origin
// "null"; then the form's token alone decides, which it does in any case.
func (h *Handler) crossSite(r *http.Request) bool {
	switch site := r.Header.Get("Sec-Fetch-Site"); site {
	case "":
		origin := r.Header.Get("Origin")
		return origin != "" && origin != "null" && !strings.EqualFold(origin, h.origin)
	default:
		return site != "same-origin" && site != "none"
	}
}
