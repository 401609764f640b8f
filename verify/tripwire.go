package verify

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

// copied is a token that was used by somebody without its key.
type copied struct {
	token   secret.Value
	id      string // its jti
	proof   string // by another key, verified but for that; empty: sent as Bearer
	address netip.Addr
}

// reports are on their way to the issuer's tripwire. Each token is told of once.
// A report that finds no room, or does not arrive, is forgotten: the next use of
// the copy makes another.
type reports struct {
	url   string
	queue chan copied

	mu         sync.Mutex
	young, old map[string]struct{} // by jti, of those that were told
}

func newReports(to string) *reports {
	return &reports{url: to, queue: make(chan copied, maxReports), young: make(map[string]struct{})}
}

// first reports whether a token was not told of yet, and remembers it.
func (r *reports) first(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, young := r.young[id]
	_, old := r.old[id]
	if young || old {
		return false
	}
	if len(r.young) >= maxReported {
		r.young, r.old = make(map[string]struct{}), r.young
	}
	r.young[id] = struct{}{}
	return true
}

func (r *reports) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.young, id)
	delete(r.old, id)
}

// add never waits.
func (r *reports) add(c copied) {
	if !r.first(c.id) {
		return
	}
	select {
	case r.queue <- c:
	default:
		r.forget(c.id)
	}
}

// suspect says that a token was used by somebody without its key: it was copied,
// or a client is mixed up.
func (v *Verifier) suspect(r *http.Request, compact, proof string, c *Caller, why error) {
	v.log.Warn("a bound access token came without its own key's proof",
		"grant_id", c.GrantID, "token_id", c.TokenID, "client_id", c.ClientID, "error", why)
	if v.reports == nil || c.TokenID == "" {
		return
	}
	e := copied{token: secret.New(compact), id: c.TokenID, proof: proof}
	if v.address != nil {
		e.address = v.address(r)
	}
	v.reports.add(e)
}

// bare looks whether what was sent as Bearer, and is refused for that, is a bound
// token of ours.
func (v *Verifier) bare(r *http.Request, compact string, now time.Time) {
	if v.reports == nil {
		return
	}
	c, err := v.token(compact, now)
	if err != nil || c.Thumbprint == "" || v.revoked.check(c.GrantID, c.TokenID, c.IssuedAt) {
		return
	}
	v.suspect(r, compact, "", c, errBearer)
}

// tell sends the reports, one after the other, until the context ends.
func (v *Verifier) tell(ctx context.Context) {
	pause := minPause
	for {
		var c copied
		select {
		case <-ctx.Done():
			return
		case c = <-v.reports.queue:
		}
		again, err := v.send(ctx, c)
		if err == nil {
			pause = minPause
			continue
		}
		if ctx.Err() != nil {
			return
		}
		v.log.Warn("a copied token could not be reported", "token_id", c.id, "error", err)
		if !again {
			continue
		}
		v.reports.forget(c.id)
		pause = min(2*pause, maxPause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// send makes one report. Again means that another try may succeed.
func (v *Verifier) send(ctx context.Context, c copied) (again bool, err error) {
	now := time.Now()
	assertion, err := v.assertion(now)
	if err != nil {
		return false, err
	}
	form := url.Values{
		"client_assertion_type": {assertionType}, "client_assertion": {assertion.Reveal()},
		"token": {c.token.Reveal()}, "kind": {"bearer"},
	}
	if c.proof != "" {
		m, err := jws.ParseEmbedded(c.proof, v.headers)
		if err != nil {
			return false, err
		}
		form.Set("kind", "wrong_key")
		form.Set("proof_jkt", m.Header.Key.Thumbprint())
	}
	if c.address.IsValid() {
		form.Set("address", c.address.Unmap().WithZone("").String())
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.reports.url, strings.NewReader(form.Encode()))
	if err != nil {
		return false, fmt.Errorf("%w: the tripwire's address is not a URL", ErrIssuer)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := v.client.Do(req)
	if err != nil {
		return true, err
	}
	if res.Status == http.StatusNoContent || res.Status == http.StatusOK {
		return false, nil
	}
	return res.Status >= 500 || res.Status == http.StatusTooManyRequests,
		fmt.Errorf("%w: %s answered %d to a report", ErrIssuer, oauth.Origin(v.reports.url), res.Status)
}
