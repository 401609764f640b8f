package edge

import (
	"net/http"
	"strings"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/oauth"
)

// register is the client registration endpoint (RFC 7591 §3). Where nobody may
// register there is none.
func (h *Handler) register(w *answer, r *http.Request) error {
	switch {
	case !h.server.RegistrationOpen():
		return oauth.Fail(oauth.NotFound)
	case r.Method != http.MethodPost:
		return &methodError{"POST"}
	}
	from := h.address(r)
	if err := h.limited(h.limits.push, from); err != nil {
		return err
	}
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(kind), "application/json") {
		return oauth.FailParam(oauth.MetadataUnfit, "Content-Type")
	}
	if r.ContentLength > oauth.MaxBody {
		w.Header()["Connection"] = closeConnection
		return oauth.Fail(oauth.TooLarge)
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	out, err := h.server.Register(r.Context(), authserver.RegisterCall{
		Authorization: r.Header["Authorization"], Body: []byte(body), Address: from.String(),
	})
	if err != nil {
		return err
	}
	return w.json(http.StatusCreated, out)
}

// registerError answers as the endpoint's document says (RFC 7591 §3.2.2), with a
// Bearer challenge where the initial access token is at fault (RFC 6750 §3).
func (h *Handler) registerError(a *answer, _ *http.Request, err error) {
	status, doc := a.errorHead(err)
	if status == http.StatusUnauthorized {
		challenge := oauth.BearerChallenge(doc.Error, doc.Description, "")
		if doc.Code == oauth.TokenMissing { // RFC 6750 §3.1: no error for who sent nothing
			challenge = oauth.BearerChallenge("", "", "")
		}
		a.Header().Set("Www-Authenticate", challenge)
	}
	_ = a.json(status, doc)
}
