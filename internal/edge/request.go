package edge

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/oauth"
)

// Header names in their canonical form.
const (
	headerDPoP      = "Dpop"
	headerDPoPNonce = "Dpop-Nonce"
)

// form reads the parameters of a body. A query is not looked at, so that a
// token or code in one is ignored (OAuth 2.1 §5.1). Errors: BadContentType,
// TooLarge, BadRequest, DuplicateParameter.
func form(w http.ResponseWriter, r *http.Request) (oauth.Params, error) {
	text, err := formText(w, r)
	if err != nil {
		return oauth.Params{}, err
	}
	return oauth.ParseParams(text)
}

func formText(w http.ResponseWriter, r *http.Request) (string, error) {
	if !isForm(r.Header["Content-Type"]) {
		return "", oauth.Fail(oauth.BadContentType)
	}
	if r.ContentLength > oauth.MaxBody {
		w.Header()["Connection"] = closeConnection
		return "", oauth.Fail(oauth.TooLarge)
	}
	return readBody(w, r)
}

var closeConnection = []string{"close"}

func readBody(w http.ResponseWriter, r *http.Request) (string, error) {
	if r.ContentLength >= 0 { // known, and small
		buf := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, buf); err != nil {
			return "", oauth.Fail(oauth.BadRequest)
		}
		return string(buf), nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, oauth.MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return "", oauth.Fail(oauth.TooLarge)
	case err != nil:
		return "", oauth.Fail(oauth.BadRequest)
	}
	return string(body), nil
}

func isForm(values []string) bool {
	if len(values) != 1 {
		return false
	}
	kind, _, _ := strings.Cut(values[0], ";")
	return strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded")
}

// call is a direct request to the endpoint at path.
func (h *Handler) call(w http.ResponseWriter, r *http.Request, url string) (authserver.Call, error) {
	p, err := form(w, r)
	if err != nil {
		return authserver.Call{}, err
	}
	return authserver.Call{
		Params: p, Proofs: r.Header[headerDPoP], Authorization: r.Header["Authorization"],
		Method: r.Method, URL: url, From: h.address(r),
	}, nil
}

// address is where a request came from: the connection's other end, or, if
// that is a proxy of ours, the last one in X-Forwarded-For that is not.
func (h *Handler) address(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	a := plain(peer.Addr())
	if !h.trusts(a) {
		return a
	}
	list := r.Header["X-Forwarded-For"]
	for i := len(list) - 1; i >= 0; i-- {
		rest := list[i]
		for rest != "" {
			cut := strings.LastIndexByte(rest, ',')
			next, ok := forwarded(strings.TrimSpace(rest[cut+1:]))
			if !ok { // whoever wrote this is the last that is known
				return a
			}
			a = plain(next)
			if !h.trusts(a) {
				return a
			}
			rest = rest[:max(cut, 0)]
		}
	}
	return a
}

// forwarded reads one address of X-Forwarded-For. Some proxies write the port
// beside it, or brackets around it.
func forwarded(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a, true
	}
	if p, err := netip.ParseAddrPort(s); err == nil {
		return p.Addr(), true
	}
	if in, ok := strings.CutPrefix(s, "["); ok {
		if in, ok = strings.CutSuffix(in, "]"); ok {
			a, err := netip.ParseAddr(in)
			return a, err == nil
		}
	}
	return netip.Addr{}, false
}

// translated is where a translator puts all of IPv4 (RFC 6052 §2.1).
var translated = netip.MustParsePrefix("64:ff9b::/96")

// plain is an address in its one form. An IPv4 address that was mapped or
// translated into IPv6 is that IPv4 address: else a server that has IPv6 alone
// would take everybody with IPv4 for neighbours in one /64.
func plain(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if translated.Contains(a) {
		b := a.As16()
		return netip.AddrFrom4([4]byte(b[12:]))
	}
	return a
}

// place is the address in words, or nothing where it can only be a proxy's that is
// not trusted: then everybody would seem to be on one network, and no device login
// would take the second step.
func (h *Handler) place(r *http.Request) string {
	if h.tls && r.TLS == nil && len(h.trusted) == 0 {
		return ""
	}
	if a := h.address(r); a.IsValid() {
		return a.String()
	}
	return ""
}

func (h *Handler) trusts(a netip.Addr) bool {
	for _, p := range h.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// limited takes a token of the address's bucket.
func (h *Handler) limited(l *limiter, a netip.Addr) error {
	if d := l.wait(a, h.server.Now()); d > 0 {
		return &tooManyError{after: d}
	}
	return nil
}
