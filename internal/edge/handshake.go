package edge

import (
	"errors"
	"io"
	"net/http"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/console"
	"github.com/keytether/keytether/internal/oauth"
)

func retryPurpose(request string) string { return "try again " + request }

// handshake takes the listener's answer, which the browser brings from another
// site by design: the signature and the request's own cookie are what counts.
// It answers GET alone, not HEAD: an answer is good once.
func (h *Handler) handshake(w *answer, r *http.Request) error {
	if err := h.limited(h.limits.open, h.address(r)); err != nil {
		return err
	}
	p, err := oauth.ParseParams(r.URL.RawQuery)
	if err != nil {
		return err
	}
	text, err := p.Need("handshake")
	if err != nil {
		return err
	}
	a, err := authserver.ReadHandshake(text)
	if err != nil {
		return err
	}
	b := h.visitor(r, a.BindingName())
	res, err := h.server.Handshake(r.Context(), a, b)
	if errors.Is(err, oauth.Fail(oauth.HandshakeLate)) {
		return h.offerRetry(w, a, b, err)
	}
	if err != nil {
		return err
	}
	return h.respond(w, res)
}

func (h *Handler) offerRetry(w *answer, a authserver.HandshakeAnswer, b authserver.Browser, late error) error {
	_, doc := oauth.ResponseOf(late)
	w.code = doc.Code
	page := console.Retry{Request: a.RetryToken(), Token: h.server.FormToken(b, retryPurpose(a.RetryToken()))}
	return w.html(http.StatusOK, func(out io.Writer) error { return h.site.Retry(out, page) })
}

// tryAgain sends a new nonce.
func (h *Handler) tryAgain(w *answer, r *http.Request) error {
	p, b, err := h.submitted(w, r,
		func(p oauth.Params) string { return retryPurpose(p.Get("request")) },
		func(p oauth.Params) string { return authserver.RetryBindingName(p.Get("request")) })
	if err != nil {
		return err
	}
	res, err := h.server.TryAgain(r.Context(), p.Get("request"), b)
	if err != nil {
		return err
	}
	return h.respond(w, res)
}
