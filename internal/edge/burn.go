package edge

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/console"
	"github.com/keytether/keytether/internal/oauth"
)

// maxBurnBody holds MaxBurned access tokens of a common size.
const maxBurnBody = 256 << 10

func (h *Handler) showBurn(w *answer, _ *http.Request) error {
	return w.html(http.StatusOK, func(out io.Writer) error { return h.site.Burn(out, console.Burn{}) })
}

// burn ends what the strings in the form's fields "token" are secrets of; the
// query is not looked at. Every form is answered alike, whatever stands in it. It
// has no token against forgery: whoever can make a browser send a form holds the
// string, and could send it himself.
func (h *Handler) burn(w *answer, r *http.Request) error {
	if err := h.limited(h.limits.burn, h.address(r)); err != nil {
		return err
	}
	texts, err := burned(w, r)
	if err != nil {
		return err
	}
	h.server.Burn(r.Context(), texts, h.address(r))
	return w.html(http.StatusOK, func(out io.Writer) error { return h.site.Burn(out, console.Burn{Done: true}) })
}

// burned reads the strings of a form.
func burned(w http.ResponseWriter, r *http.Request) ([]string, error) {
	if !isForm(r.Header["Content-Type"]) {
		return nil, oauth.Fail(oauth.BadContentType)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBurnBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, oauth.Fail(oauth.TooLarge)
	}
	if err != nil {
		return nil, oauth.Fail(oauth.BadRequest)
	}
	var texts []string
	for pair := range strings.SplitSeq(string(body), "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name != "token" || value == "" {
			continue
		}
		text, err := url.QueryUnescape(value)
		if err != nil {
			return nil, oauth.Fail(oauth.BadRequest)
		}
		texts = append(texts, text)
	}
	switch {
	case len(texts) == 0:
		return nil, oauth.FailParam(oauth.MissingParameter, "token")
	case len(texts) > authserver.MaxBurned:
		return nil, oauth.Fail(oauth.TooLarge)
	}
	return texts, nil
}
