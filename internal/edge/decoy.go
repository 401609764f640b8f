package edge

import (
	"errors"
	"net/http"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/console"
	"github.com/keytether/keytether/internal/oauth"
)

// decoyDoc is one decoy of a person's (docs/api.md). Times are RFC 3339 in UTC.
type decoyDoc struct {
	ID           string     `json:"id"`
	Installation string     `json:"installation"`
	Host         string     `json:"host,omitempty"` // as the installation reported it
	Here         bool       `json:"here"`           // it is the caller's installation
	Kind         string     `json:"kind"`
	Ending       string     `json:"ends_with"` // the last characters of the string
	PlantedAt    time.Time  `json:"planted_at"`
	FiredAt      *time.Time `json:"fired_at,omitempty"`
	FiredFrom    string     `json:"fired_from,omitempty"` // address
	UnlockedAt   *time.Time `json:"unlocked_at,omitempty"`
	Locks        bool       `json:"locked"`          // it keeps its installation locked
	Decoy        string     `json:"decoy,omitempty"` // the string; when it is planted, and never again
}

func newDecoyDoc(p authserver.Planted) decoyDoc {
	return decoyDoc{
		ID: p.ID, Installation: p.Installation, Host: p.Host, Here: p.Here, Kind: p.Kind, Ending: p.Ending, PlantedAt: p.PlantedAt.UTC(),
		FiredAt: moment(p.FiredAt), FiredFrom: p.FiredFrom, UnlockedAt: moment(p.UnlockedAt), Locks: p.Locks(),
	}
}

// moment is nil for the zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (h *Handler) decoys(w *answer, r *http.Request, who authserver.Caller) error {
	list, err := h.server.Decoys(r.Context(), who)
	if err != nil {
		return err
	}
	out := struct {
		Decoys []decoyDoc `json:"decoys"`
	}{make([]decoyDoc, 0, len(list))}
	for _, d := range list {
		out.Decoys = append(out.Decoys, newDecoyDoc(d))
	}
	return w.json(http.StatusOK, out)
}

func (h *Handler) plant(w *answer, r *http.Request, who authserver.Caller) error {
	var in struct {
		Kind string `json:"kind"`
	}
	if err := object(w, r, &in); err != nil {
		return err
	}
	d, text, err := h.server.Plant(r.Context(), who, in.Kind)
	if err != nil {
		return err
	}
	doc := newDecoyDoc(authserver.Planted{Decoy: d, Here: true})
	doc.Decoy = text.Reveal()
	return w.json(http.StatusOK, doc)
}

// unlockFrom lifts the lock of another installation of the caller's person. The
// proof beside the call names the path, and so which.
func (h *Handler) unlockFrom(w *answer, r *http.Request, who authserver.Caller) error {
	if err := h.server.UnlockFrom(r.Context(), who, r.PathValue("id"), h.address(r).String()); err != nil {
		return err
	}
	return w.json(http.StatusOK, struct {
		Unlocked string `json:"unlocked"`
	}{r.PathValue("id")})
}

// locks are the installations that /me asks about.
func (h *Handler) locks(r *http.Request, b authserver.Browser, who authserver.Person, now time.Time) ([]console.Lock, error) {
	list, err := h.server.Locks(r.Context(), who.Account.ID)
	if err != nil {
		return nil, err
	}
	var out []console.Lock
	for _, l := range list {
		out = append(out, console.Lock{
			Lock: l, Now: now,
			Unlock: h.server.FormToken(b, unlockPurpose(l.Installation)), Revoke: h.server.FormToken(b, disownPurpose(l.Installation)),
		})
	}
	return out, nil
}

// unlock is the button at /me. Whoever has not signed in since the decoy was used
// does so first, and presses it again.
func (h *Handler) unlock(w *answer, r *http.Request) error {
	p, who, b, err := h.person(w, r, func(p oauth.Params) string { return unlockPurpose(p.Get("installation")) })
	if err != nil {
		return err
	}
	err = h.server.UnlockHere(r.Context(), who, p.Get("installation"), b.Address)
	if errors.Is(err, authserver.ErrUnlockSignIn) {
		return h.showSignIn(w, http.StatusOK, b, console.SignIn{Email: who.Account.Email})
	}
	if err != nil {
		return err
	}
	return w.seeOther(h.issuer + pathMe + "?done=unlocked")
}
