package edge

import (
	"net/http"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/console"
	"github.com/keytether/keytether/internal/oauth"
)

// tripwire is where a resource server reports an access token for it that was
// used by somebody without the token's key:
//
//	token       the whole access token
//	kind        wrong_key (with a valid proof by another key) or bearer
//	proof_jkt   the other key's thumbprint (RFC 7638); with wrong_key only
//	address     where the token was used from; may be left out
//
// It authenticates as for introspection. The answer is 204, whether or not
// anything had to be ended.
func (h *Handler) tripwire(w *answer, r *http.Request) error {
	if err := h.limited(h.limits.report, h.address(r)); err != nil {
		return err
	}
	c, err := h.call(w, r, h.issuer+oauth.PathTripwire)
	if err != nil {
		return err
	}
	if err := h.server.Tripwire(r.Context(), c); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// alarms are what /me warns of.
func alarms(list []authserver.Alarm, now time.Time) []console.Alarm {
	out := make([]console.Alarm, len(list))
	for i, a := range list {
		out[i] = console.Alarm{Alarm: a, Now: now}
	}
	return out
}
