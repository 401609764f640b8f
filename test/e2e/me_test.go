package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// TestMe revokes at /me: one grant, then all of one installation. The API
// refuses within a second, and what was not meant goes on. Other sites can
// neither press the buttons nor frame the page.
//
// Invariant: RV-1, CF-2b
func TestMe(t *testing.T) {
	for _, place := range places {
		t.Run(place.name, func(t *testing.T) {
			st := place.at.get(t)
			m := machine(t, st)
			evil := evilSite(t)
			opt := browser.Options{}
			if place.at.tls {
				opt.Hosts = map[string]string{"evil.test": evil.addr}
				evil.url = "http://evil.test"
			}
			b := chromium(t, st, opt)
			other := logIn(t, m, b, "--resource", st.Resource, "--scope", "read") // an installation of its own

			// One installation with two grants.
			server, err := driver.Discover(t.Context(), st.Issuer, st.Client())
			do(t, err)
			tool, err := driver.NewTool(server, "proving")
			do(t, err)
			person, err := driver.NewPerson(stage.Email, stage.Password, st.Client())
			do(t, err)
			var grants [2]oauth.TokenResponse
			for i := range grants {
				grants[i], err = tool.Login(t.Context(), person, "http://127.0.0.1:9/callback", "read", st.Resource)
				do(t, err)
			}
			refused := func(i int) bool {
				status, err := tool.Call(t.Context(), reports(st), grants[i].AccessToken)
				do(t, err)
				return status == http.StatusUnauthorized
			}
			otherWorks := func() {
				t.Helper()
				wantCall(t, st, "the other installation", reports(st), headers(t, m, http.MethodGet, reports(st)), http.StatusOK)
			}

			evil.try(t, b, st.Issuer+"/me/revoke", "grant="+grants[0].GrantID)
			evil.try(t, b, st.Issuer+"/me/disown", "grant="+grants[0].GrantID)
			evil.frame(t, b, st.Issuer+"/me")
			if refused(0) || refused(1) {
				t.Fatal("another site revoked a grant")
			}

			press(t, b, st, "Revoke", "/me/revoke", "grant", grants[0].GrantID)
			refusedSoon(t, func() bool { return refused(0) }, time.Now())
			do(t, b.WaitText(t.Context(), "Revoked. The tool is refused"))
			if refused(1) {
				t.Error("revoking one grant revoked another")
			}
			otherWorks()

			installation := eval(t, b, fmt.Sprintf(`[...document.querySelectorAll(".card")].find(c => c.querySelector("input[name=grant][value='%s']")).querySelector("input[name=installation]").value`, grants[1].GrantID))
			press(t, b, st, "This wasn't me", "/me/disown", "installation", installation)
			refusedSoon(t, func() bool { return refused(1) }, time.Now())
			do(t, b.WaitText(t.Context(), "Everything that this computer could do for you has ended"))
			var e *driver.Error
			err = tool.Post(t.Context(), server.Metadata.TokenEndpoint, map[string][]string{
				"grant_type": {"refresh_token"}, "client_id": {"proving"}, "refresh_token": {grants[1].RefreshToken},
			}, nil)
			if !asDriverError(err, &e) || e.Response.Error != "invalid_grant" {
				t.Errorf("a refresh after that is answered %v", err)
			}
			otherWorks()

			text, err := b.Text(t.Context())
			do(t, err)
			if strings.Contains(text, "Proving Tool") || !strings.Contains(text, "Keytether") {
				t.Errorf("the page says %q", text)
			}
			press(t, b, st, "Revoke", "/me/revoke", "grant", other.GrantID)
			do(t, b.WaitText(t.Context(), "Revoked. The tool is refused"))
		})
	}
}

func asDriverError(err error, e **driver.Error) bool {
	var ok bool
	*e, ok = err.(*driver.Error)
	return ok
}

// press opens /me and presses the button of the form with a hidden field's value.
func press(t *testing.T, b *browser.Browser, st *stage.Stage, button, action, field, value string) {
	t.Helper()
	do(t, b.Open(t.Context(), st.Issuer+"/me"))
	n, err := strconv.Atoi(eval(t, b, fmt.Sprintf(
		`String([...document.querySelectorAll("form")].filter(f => f.querySelector("button").textContent == %q).findIndex(f => f.action.endsWith(%q) && f.querySelector("input[name=%s]")?.value == %q))`,
		button, action, field, value)))
	if err != nil || n < 0 {
		t.Fatalf("no form with the button %q has %s=%s (%v)", button, field, value, err)
	}
	do(t, b.ClickNth(t.Context(), button, n))
}

// evil is another site.
type evil struct {
	addr, url string
	page      string
}

func evilSite(t *testing.T) *evil {
	e := &evil{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<!doctype html><title>a prize</title><link rel=icon href=data:,>` + e.page))
	}))
	t.Cleanup(srv.Close)
	e.addr, e.url = srv.Listener.Addr().String(), srv.URL
	return e
}

// try has the browser post a form to the server by a click on the other site.
func (e *evil) try(t *testing.T, b *browser.Browser, action, body string) {
	t.Helper()
	e.page = fmt.Sprintf(`<form method=post action=%q>`, action)
	for pair := range strings.SplitSeq(body, "&") {
		name, value, _ := strings.Cut(pair, "=")
		e.page += fmt.Sprintf(`<input type=hidden name=%q value=%q>`, name, value)
	}
	e.page += `<input type=hidden name=csrf value=guessed><button>Prize</button></form>`
	do(t, b.Open(t.Context(), e.url))
	do(t, b.Click(t.Context(), "Prize"))
	do(t, b.WaitText(t.Context(), "another site"))
}

// frame has the browser show a page of the server in a frame of the other site.
func (e *evil) frame(t *testing.T, b *browser.Browser, page string) {
	t.Helper()
	e.page = fmt.Sprintf(`<iframe src=%q></iframe>`, page)
	before := len(b.Console())
	do(t, b.Open(t.Context(), e.url))
	eventually(t, "the browser refuses the frame", func() bool {
		return strings.Contains(strings.Join(b.Console()[before:], "\n"), "frame-ancestors")
	})
}
