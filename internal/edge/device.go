package edge

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/console"
	"github.com/keytether/keytether/internal/oauth"
)

const (
	pathDeviceDecide = "/device/decide"

	typePurpose = "type a user code"
)

func deviceBinding(p oauth.Params) string { return authserver.DeviceBindingName(p.Get("device")) }

// decidePurpose is that of a form for one login, one step, and the scopes that its
// page shows.
func decidePurpose(handle string, confirm bool, scope string) string {
	if confirm {
		return "confirm device " + handle + " " + scope
	}
	return "decide device " + handle + " " + scope
}

// deviceAuthorization is the device authorization endpoint (RFC 8628 §3.1).
func (h *Handler) deviceAuthorization(w *answer, r *http.Request) error {
	w.Header()[headerDPoPNonce] = []string{h.server.Nonce()}
	if err := h.limited(h.limits.device, h.address(r)); err != nil {
		return err
	}
	c, err := h.call(w, r, h.issuer+oauth.PathDevice)
	if err != nil {
		return err
	}
	c.Address = h.place(r)
	out, err := h.server.StartDevice(r.Context(), c)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, out)
}

// wanted reads how long a client is ready to wait (RFC 7240 §4.3): Prefer: wait=N.
func wanted(head http.Header) time.Duration {
	for _, line := range head["Prefer"] {
		for pref := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(pref), "=")
			if !strings.EqualFold(name, "wait") {
				continue
			}
			n, err := strconv.Atoi(strings.Trim(value, `"`))
			if err != nil || n < 0 {
				return 0
			}
			return time.Duration(min(n, 60)) * time.Second
		}
	}
	return 0
}

// device shows the page where a person types a user code, or, once it is typed,
// asks to sign in or to decide. A user code in the query is not taken: one that
// is typed is looked at (RFC 10027).
func (h *Handler) device(w *answer, r *http.Request) error {
	p, err := oauth.ParseParams(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if p.Get("device") == "" {
		return h.showCode(w, http.StatusOK, h.browser(w, r, ""), console.Code{})
	}
	b := h.browser(w, r, deviceBinding(p))
	v, err := h.server.ViewDevice(r.Context(), p.Get("device"), b)
	if err != nil {
		return err
	}
	if v.Person == nil {
		return h.showSignIn(w, http.StatusOK, b, console.SignIn{ClientName: v.Client.Name, Device: v.Handle})
	}
	return h.showDevice(w, b, v, false)
}

func (h *Handler) showCode(w *answer, status int, b authserver.Browser, page console.Code) error {
	page.Token = h.server.FormToken(b, typePurpose)
	return w.html(status, func(out io.Writer) error { return h.site.Code(out, page) })
}

// showDevice asks the person to decide; confirm is the second step.
func (h *Handler) showDevice(w *answer, b authserver.Browser, v authserver.DeviceView, confirm bool) error {
	var shown []string
	for _, sc := range v.Scopes {
		shown = append(shown, sc.Name)
	}
	scope := strings.Join(shown, " ")
	page := console.Consent{
		View: v.View, Device: v.Handle, Confirm: confirm, Wanting: v.Wanting, Apart: v.Elsewhere, Less: v.Less, Token: h.server.FormToken(b, decidePurpose(v.Handle, confirm, scope)), Asked: scope, Address: b.Address, Now: h.server.Now(),
	}
	return w.html(http.StatusOK, func(out io.Writer) error { return h.site.Consent(out, page) })
}

// typeCode takes a user code.
func (h *Handler) typeCode(w *answer, r *http.Request) error {
	if err := h.limited(h.limits.open, h.address(r)); err != nil {
		return err
	}
	p, b, err := h.submitted(w, r, func(oauth.Params) string { return typePurpose }, nil)
	if err != nil {
		return err
	}
	b.Binding = h.cookie.read(r, h.cookie.request+h.server.TypedBindingName(p.Get("user_code")))
	out, err := h.server.TypeDevice(r.Context(), p.Get("user_code"), b)
	var limit *authserver.CodeLimitError
	if errors.As(err, &limit) || errors.Is(err, oauth.Fail(oauth.UserCodeWrong)) {
		status, doc := w.errorHead(err)
		return h.showCode(w, status, b, console.Code{Problem: doc.Description, SignIn: limit != nil && limit.SignIn})
	}
	if err != nil {
		return err
	}
	if !out.Session.IsZero() {
		h.cookie.set(w, h.cookie.session, out.Session, 0)
	}
	h.bind(w, out.BindingName, out.Binding)
	return w.seeOther(h.deviceURL(out.Handle))
}

func (h *Handler) deviceURL(handle string) string {
	return h.issuer + oauth.PathVerify + "?device=" + handle
}

// decideDevice takes Allow or Deny. Elsewhere than the device, Allow takes a
// second, deliberate step.
func (h *Handler) decideDevice(w *answer, r *http.Request) error {
	confirmed := false
	p, b, err := h.submitted(w, r, func(p oauth.Params) string {
		confirmed = p.Get("confirm") == "yes"
		return decidePurpose(p.Get("device"), confirmed, p.Get("scope"))
	}, deviceBinding)
	if err != nil {
		return err
	}
	d := authserver.DeviceDecision{Handle: p.Get("device"), Confirmed: confirmed, Shown: strings.Fields(p.Get("scope"))}
	switch p.Get("decision") {
	case "allow":
		d.Allow = true
	case "deny":
	default:
		return oauth.FailParam(oauth.BadRequest, "decision")
	}
	err = h.server.DecideDevice(r.Context(), d, b)
	if errors.Is(err, authserver.ErrConfirm) {
		v, err := h.server.ViewDevice(r.Context(), d.Handle, b)
		if err != nil {
			return err
		}
		return h.showDevice(w, b, v, true)
	}
	if errors.Is(err, authserver.ErrSignInAgain) {
		v, err := h.server.ViewDevice(r.Context(), d.Handle, b)
		if err != nil {
			return err
		}
		return h.showSignIn(w, http.StatusOK, b, console.SignIn{ClientName: v.Client.Name, Device: v.Handle, Email: v.Person.Account.Email})
	}
	if err != nil {
		return err
	}
	return w.html(http.StatusOK, func(out io.Writer) error { return h.site.DeviceDone(out, console.DeviceDone{Allowed: d.Allow}) })
}
