package edge

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/oauth"
)

// Header values that many answers share. They are never written to.
var (
	noStore    = []string{"no-store"}
	noCache    = []string{"no-cache"}
	noSniff    = []string{"nosniff"}
	noReferrer = []string{"no-referrer"}
	sameOrigin = []string{"same-origin"}
	hsts       = []string{"max-age=31536000"}
	typeJSON   = []string{"application/json"}
)

// guard sets what every answer has.
func (h *Handler) guard(head http.Header) {
	head["Cache-Control"] = noStore
	head["Pragma"] = noCache
	head["X-Content-Type-Options"] = noSniff
	head["Referrer-Policy"] = noReferrer
	if h.tls {
		head["Strict-Transport-Security"] = hsts
	}
}

// tooManyError is RateLimited with the time to wait.
type tooManyError struct{ after time.Duration }

// Error says so.
func (e *tooManyError) Error() string { return string(oauth.RateLimited) }

// Unwrap gives its code.
func (e *tooManyError) Unwrap() error { return oauth.Fail(oauth.RateLimited) }

// retryAfter says how many seconds to wait after an error; 0: it does not help.
func retryAfter(err error, status int) int {
	var tooMany *tooManyError
	var signIn *authserver.LimitedError
	var codes *authserver.CodeLimitError
	switch {
	case errors.As(err, &tooMany):
		return ceilSeconds(tooMany.after)
	case errors.As(err, &signIn):
		return ceilSeconds(signIn.After)
	case errors.As(err, &codes):
		return ceilSeconds(codes.After)
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return 1
	}
	return 0
}

func ceilSeconds(d time.Duration) int { return max(1, int((d+time.Second-1)/time.Second)) }

// methodError is BadMethod with the methods that are answered.
type methodError struct{ allow string }

// Error says so.
func (e *methodError) Error() string { return string(oauth.BadMethod) }

// Unwrap gives its code.
func (e *methodError) Unwrap() error { return oauth.Fail(oauth.BadMethod) }

// errorHead sets the headers that an error brings along, and gives its status
// and document.
func (a *answer) errorHead(err error) (int, oauth.Response) {
	status, doc := oauth.ResponseOf(err)
	a.code = doc.Code
	if n := retryAfter(err, status); n > 0 {
		a.Header().Set("Retry-After", strconv.Itoa(n))
	}
	var method *methodError
	if errors.As(err, &method) {
		a.Header().Set("Allow", method.allow)
	}
	return status, doc
}

// json writes a document.
func (a *answer) json(status int, doc any) error {
	body, err := json.Marshal(doc)
	if err != nil {
		return oauth.Fail(oauth.ServerError).Because(err)
	}
	a.body(status, typeJSON, body)
	return nil
}

func (a *answer) body(status int, contentType []string, body []byte) {
	head := a.Header()
	head["Content-Type"] = contentType
	head["Content-Length"] = []string{strconv.Itoa(len(body))}
	a.WriteHeader(status)
	_, _ = a.Write(body) // a client that has gone is its own affair
}

// directError answers a program (RFC 6749 §5.2). A 401 names the way to
// authenticate that was tried, or ours.
func (h *Handler) directError(a *answer, r *http.Request, err error) {
	status, doc := a.errorHead(err)
	if status == http.StatusUnauthorized {
		a.Header().Set("Www-Authenticate", h.clientChallenge(r, doc))
	}
	_ = a.json(status, doc)
}

func (h *Handler) clientChallenge(r *http.Request, doc oauth.Response) string {
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Basic") {
		return `Basic realm="` + h.issuer + `"`
	}
	return oauth.DPoPChallenge(doc.Error, doc.Description, "", algorithms)
}

// algorithms are those of proofs (RFC 9449 §7.1).
const algorithms = "ES256 EdDSA"

// direct registers an endpoint that programs post to.
func (h *Handler) direct(path string, do endpoint) {
	h.mux.Handle(h.base+path, h.serve(func(w *answer, r *http.Request) error {
		if r.Method != http.MethodPost {
			return &methodError{"POST"}
		}
		return do(w, r)
	}, h.directError))
}

// allowed lists methods for the Allow header.
func (m methods) allowed() string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
