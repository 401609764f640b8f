package edge

import (
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/console"
	"github.com/keytether/keytether/internal/oauth"
)

const signOutPurpose = "sign out"

func revokePurpose(grant string) string        { return "revoke " + grant }
func disownPurpose(installation string) string { return "disown " + installation }
func seenPurpose(until string) string          { return "seen until " + until }
func unlockPurpose(installation string) string { return "unlock " + installation }
func disownGrantPurpose(grant string) string   { return "disown grant " + grant }

// done says what the last form did. The query only chooses among these.
func done(word string) string {
	switch word {
	case "revoked":
		return "Revoked. The tool is refused from now on."
	case "unlocked":
		return "Unlocked. Its tools go on by themselves. Plant new decoys: the one that was used has done its work."
	case "disowned":
		return "Everything that this computer could do for you has ended. If you did not use it, change your password and tell your administrator."
	}
	return ""
}

// me shows a person's grants by installation.
func (h *Handler) me(w *answer, r *http.Request) error {
	b := h.browser(w, r, "")
	who, ok, err := h.server.Person(r.Context(), b)
	if err != nil {
		return err
	}
	if !ok {
		return h.showSignIn(w, http.StatusOK, b, console.SignIn{})
	}
	held, err := h.server.Mine(r.Context(), who.Account.ID)
	if err != nil {
		return err
	}
	page := console.Me{
		Alarms: alarms(h.server.Alarms(who.Account.ID), h.server.Now()),
		Email:  who.Account.Email, SignOutToken: h.server.FormToken(b, signOutPurpose), Now: h.server.Now(),
	}
	if p, err := oauth.ParseParams(r.URL.RawQuery); err == nil {
		page.Done = done(p.Get("done"))
	}
	h.banner(b, who, held, &page)
	if page.Locks, err = h.locks(r, b, who, page.Now); err != nil {
		return err
	}
	for _, in := range held {
		page.Cards = append(page.Cards, h.card(b, in, page))
	}
	return w.html(http.StatusOK, func(out io.Writer) error { return h.site.Me(out, page) })
}

// banner tells of device logins that the person has not yet said to know.
func (h *Handler) banner(b authserver.Browser, who authserver.Person, held []authserver.Held, page *console.Me) {
	var newest time.Time
	for _, n := range h.server.NewLogins(who.Account, held) {
		row := console.NewLogin{NewLogin: n, Now: page.Now, Disown: h.server.FormToken(b, disownGrantPurpose(n.ID))}
		if n.Installation.ID != "" {
			row.Disown = h.server.FormToken(b, disownPurpose(n.Installation.ID))
		}
		page.New = append(page.New, row)
		if n.Since.After(newest) {
			newest = n.Since
		}
	}
	page.SeenUntil = newest.UTC().Format(time.RFC3339Nano)
	page.SeenToken = h.server.FormToken(b, seenPurpose(page.SeenUntil))
}

// seen takes the person's word that the logins of the banner are theirs. One that
// came since the page was shown stays.
func (h *Handler) seen(w *answer, r *http.Request) error {
	p, who, _, err := h.person(w, r, func(p oauth.Params) string { return seenPurpose(p.Get("until")) })
	if err != nil {
		return err
	}
	until, err := time.Parse(time.RFC3339Nano, p.Get("until"))
	if err != nil {
		return oauth.FailParam(oauth.BadRequest, "until")
	}
	if err := h.server.SeeLogins(r.Context(), who.Account.ID, until); err != nil {
		return err
	}
	return w.seeOther(h.issuer + pathMe)
}

func (h *Handler) card(b authserver.Browser, in authserver.Held, page console.Me) console.Card {
	c := console.Card{
		ID: in.Installation.ID, Facts: in.Installation.Facts,
		First: in.Installation.FirstSeen, Last: in.Installation.LastSeen, Now: page.Now,
	}
	asked := func(l console.NewLogin) bool { return l.Installation.ID == c.ID && c.ID != "" }
	c.Locked = slices.ContainsFunc(page.Locks, func(l console.Lock) bool { return l.Installation == c.ID })
	if c.ID != "" && !c.Locked && !slices.ContainsFunc(page.New, asked) { // else the banner has the button
		c.Token = h.server.FormToken(b, disownPurpose(c.ID))
	}
	for _, g := range in.Grants {
		row := console.Grant{HeldGrant: g, Revoke: h.server.FormToken(b, revokePurpose(g.ID)), Now: page.Now}
		if c.ID == "" && !slices.ContainsFunc(page.New, func(l console.NewLogin) bool { return l.ID == g.ID }) {
			row.Disown = h.server.FormToken(b, disownGrantPurpose(g.ID))
		}
		c.Grants = append(c.Grants, row)
	}
	return c
}

// person is who sends a form at /me.
func (h *Handler) person(w *answer, r *http.Request, purpose func(oauth.Params) string) (oauth.Params, authserver.Person, authserver.Browser, error) {
	var none authserver.Person
	p, b, err := h.submitted(w, r, purpose, nil)
	if err != nil {
		return p, none, b, err
	}
	who, ok, err := h.server.Person(r.Context(), b)
	if err == nil && !ok {
		err = oauth.Fail(oauth.LoginRequired)
	}
	return p, who, b, err
}

func (h *Handler) meRevoke(w *answer, r *http.Request) error {
	p, who, _, err := h.person(w, r, func(p oauth.Params) string { return revokePurpose(p.Get("grant")) })
	if err != nil {
		return err
	}
	if err := h.server.RevokeMine(r.Context(), who.Account.ID, p.Get("grant")); err != nil {
		return err
	}
	return w.seeOther(h.issuer + pathMe + "?done=revoked")
}

func (h *Handler) meDisown(w *answer, r *http.Request) error {
	p, who, _, err := h.person(w, r, func(p oauth.Params) string {
		if id := p.Get("installation"); id != "" {
			return disownPurpose(id)
		}
		return disownGrantPurpose(p.Get("grant"))
	})
	if err != nil {
		return err
	}
	if id := p.Get("installation"); id != "" {
		_, err = h.server.Disown(r.Context(), who.Account.ID, id)
	} else {
		err = h.server.DisownGrant(r.Context(), who.Account.ID, p.Get("grant"))
	}
	if err != nil {
		return err
	}
	return w.seeOther(h.issuer + pathMe + "?done=disowned")
}

// signOut ends the browser's session and takes its cookie back.
func (h *Handler) signOut(w *answer, r *http.Request) error {
	_, b, err := h.submitted(w, r, func(oauth.Params) string { return signOutPurpose }, nil)
	if err != nil {
		return err
	}
	if err := h.server.SignOut(r.Context(), b); err != nil {
		return err
	}
	h.cookie.set(w, h.cookie.session, h.server.NewSessionSecret(), 0)
	return w.html(http.StatusOK, h.site.SignedOut)
}
