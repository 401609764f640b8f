package edge

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/console"
	"github.com/keytether/keytether/internal/oauth"
)

// metadataAge is how long a copy of the metadata may be used.
const metadataAge = 5 * time.Minute

// public registers what anybody may read.
func (h *Handler) public() {
	// An issuer with a path has both documents at both places: inserted as RFC
	// 8414 §3 says and appended as OIDC Discovery §4 says.
	for _, name := range []string{oauth.WellKnownOAuth, oauth.WellKnownOIDC} {
		h.mux.Handle(h.base+name, h.readable(h.metadata))
		if h.base != "" {
			h.mux.Handle(name+h.base, h.readable(h.metadata))
		}
	}
	h.mux.Handle(h.base+oauth.PathJWKS, h.readable(h.jwks))
	h.mux.Handle(h.base+"/healthz", h.readable(h.healthy))
	h.mux.Handle(h.base+"/readyz", h.readable(h.ready))
	for _, a := range h.site.Assets() {
		h.mux.Handle(h.base+console.StaticPath+a.Name, h.readable(func(w *answer, _ *http.Request) error {
			w.Header()["Cache-Control"] = []string{"public, max-age=31536000, immutable"}
			delete(w.Header(), "Pragma")
			w.body(http.StatusOK, []string{a.Type}, a.Body)
			return nil
		}))
	}
}

// readable wraps an endpoint that is read with GET.
func (h *Handler) readable(do endpoint) http.Handler {
	return h.serve(func(w *answer, r *http.Request) error {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return &methodError{"GET, HEAD"}
		}
		return do(w, r)
	}, h.directError)
}

// published writes a document that everybody may read, web pages of other sites
// among them, and keep for a while.
func published(w *answer, doc []byte, age time.Duration) error {
	head := w.Header()
	head["Cache-Control"] = []string{"public, max-age=" + strconv.Itoa(int(age/time.Second))}
	delete(head, "Pragma")
	head["Access-Control-Allow-Origin"] = []string{"*"}
	w.body(http.StatusOK, typeJSON, doc)
	return nil
}

func (h *Handler) metadata(w *answer, _ *http.Request) error {
	doc, err := json.Marshal(h.server.Metadata())
	if err != nil {
		return oauth.Fail(oauth.ServerError).Because(err)
	}
	return published(w, doc, metadataAge)
}

func (h *Handler) jwks(w *answer, _ *http.Request) error {
	doc, err := h.server.JWKS()
	if err != nil {
		return err
	}
	return published(w, doc, authserver.JWKSMaxAge)
}

func (h *Handler) healthy(w *answer, _ *http.Request) error {
	return w.json(http.StatusOK, map[string]string{"status": "ok"})
}

func (h *Handler) ready(w *answer, r *http.Request) error {
	select {
	case <-h.stopping:
		return oauth.Fail(oauth.Unavailable)
	default:
	}
	if err := h.server.Ready(r.Context()); err != nil {
		return oauth.Fail(oauth.Unavailable).Because(err)
	}
	return w.json(http.StatusOK, map[string]string{"status": "ready"})
}

func (h *Handler) landing(w *answer, _ *http.Request) error {
	return w.html(http.StatusOK, h.site.Landing)
}
