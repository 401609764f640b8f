package edge

import (
	"net/http"
	"time"

	"github.com/keytether/keytether/internal/oauth"
)

// push is the pushed authorization request endpoint (RFC 9126 §2).
func (h *Handler) push(w *answer, r *http.Request) error {
	w.Header()[headerDPoPNonce] = []string{h.server.Nonce()} // RFC 9449 §8.2: on every answer
	from := h.address(r)
	if err := h.limited(h.limits.push, from); err != nil {
		return err
	}
	c, err := h.call(w, r, h.issuer+oauth.PathPAR)
	if err != nil {
		return err
	}
	c.Address = from.String()
	out, err := h.server.Push(r.Context(), c)
	if err != nil {
		return err
	}
	return w.json(http.StatusCreated, out)
}

// token is the token endpoint (RFC 6749 §3.2).
func (h *Handler) token(w *answer, r *http.Request) error {
	w.Header()[headerDPoPNonce] = []string{h.server.Nonce()}
	c, err := h.call(w, r, h.tokenURL)
	if err != nil {
		return err
	}
	c.Wait = wanted(r.Header)
	if c.Wait > 0 { // the answer may come later than others'
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(c.Wait + writeTime))
		c.Release = h.stopping
	}
	out, err := h.server.Token(r.Context(), c)
	if err != nil {
		return err
	}
	h.server.SeenAt(out.GrantID, h.address(r))
	return w.json(http.StatusOK, out)
}

// revoke is the revocation endpoint (RFC 7009 §2): 200 says that the token is
// not valid any more, whether or not it ever was.
func (h *Handler) revoke(w *answer, r *http.Request) error {
	w.Header()[headerDPoPNonce] = []string{h.server.Nonce()} // a device code is proved
	c, err := h.call(w, r, h.issuer+oauth.PathRevoke)
	if err != nil {
		return err
	}
	if err := h.server.Revoke(r.Context(), c); err != nil {
		return err
	}
	w.Header().Set("Content-Length", "0")
	w.WriteHeader(http.StatusOK)
	return nil
}

// introspect is the introspection endpoint (RFC 7662 §2), for resource servers.
func (h *Handler) introspect(w *answer, r *http.Request) error {
	c, err := h.call(w, r, h.issuer+oauth.PathIntrospect)
	if err != nil {
		return err
	}
	out, err := h.server.Introspect(r.Context(), c)
	if err != nil {
		return err
	}
	return w.json(http.StatusOK, out)
}
