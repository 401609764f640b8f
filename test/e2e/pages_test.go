package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// TestPages logs in with the keyboard alone in a window of 320 pixels, and looks
// on every page whether it fits, whether each control can be reached and has a
// name, and whether anything came from elsewhere.
func TestPages(t *testing.T) {
	st := secure.get(t)
	m := machine(t, st)
	b := chromium(t, st, browser.Options{})
	ctx := t.Context()
	do(t, b.Resize(ctx, 320, 640))

	do(t, b.Open(ctx, st.Issuer+"/"))
	checkPage(t, b, "landing")
	do(t, b.Open(ctx, st.Issuer+"/nothing/here"))
	checkPage(t, b, "error")

	res := attempt(t, m, func(link string) error {
		do(t, b.Open(ctx, link))
		checkPage(t, b, "sign-in", "Email", "Password", "Sign in")
		typeInto(t, b, "Email", stage.Email)
		typeInto(t, b, "Password", "wrong")
		do(t, b.Press(ctx, "\r"))
		do(t, b.WaitText(ctx, "Email or password is wrong"))
		checkPage(t, b, "sign-in again", "Email", "Password", "Sign in")
		typeInto(t, b, "Password", stage.Password)
		do(t, b.Press(ctx, "\r"))

		do(t, b.WaitText(ctx, "Did you not start this login yourself"))
		if on := focused(t, b); on != "" {
			t.Errorf("the consent page opens with the focus on %q", on)
		}
		checkPage(t, b, "consent", "Deny", "Allow")
		if look := eval(t, b, alike); look != "alike" {
			t.Errorf("Deny and Allow do not look alike: %s", look)
		}
		tabTo(t, b, "Allow")
		do(t, b.Press(ctx, "\r"))
		return b.WaitURL(ctx, stage.Done)
	}, "--resource", st.Resource, "--scope", "read")
	if res.Code != 0 {
		t.Fatalf("exit code %d\n%s", res.Code, res.Stderr)
	}
	checkFits(t, b, "done")

	do(t, b.Open(ctx, st.Issuer+"/me"))
	checkPage(t, b, "me", "Revoke", "This wasn't me", "Sign out")
	tabTo(t, b, "Sign out")
	do(t, b.Press(ctx, "\r"))
	do(t, b.WaitText(ctx, "Signed out"))
	checkPage(t, b, "signed out", "Sign in again")
	do(t, b.Open(ctx, st.Issuer+"/me"))
	checkPage(t, b, "sign-in for me", "Email", "Password", "Sign in")
}

// alike compares how the two buttons look.
const alike = `(() => {
	const [deny, allow] = ["deny", "allow"].map(v => document.querySelector("button[value=" + v + "]"));
	const look = e => { const r = e.getBoundingClientRect(), s = getComputedStyle(e);
		return [Math.round(r.width), Math.round(r.height), s.color, s.backgroundColor, s.borderColor, s.fontWeight, s.fontSize, s.visibility, s.opacity].join(" "); };
	return look(deny) == look(allow) ? "alike" : look(deny) + " | " + look(allow);
})()`

// checkFits wants no need to scroll sideways, and the server alone in all that
// the page loaded.
func checkFits(t *testing.T, b *browser.Browser, page string) {
	t.Helper()
	if wide := eval(t, b, `document.documentElement.scrollWidth > innerWidth ? document.documentElement.scrollWidth + " > " + innerWidth : ""`); wide != "" {
		t.Errorf("%s: the page is too wide: %s", page, wide)
	}
	if w := eval(t, b, `String(innerWidth)`); w != "320" {
		t.Errorf("%s: the window is %s wide", page, w)
	}
	for name := range strings.FieldsSeq(eval(t, b, `performance.getEntriesByType("resource").map(r => r.name).join(" ")`)) {
		if !strings.HasPrefix(name, eval(t, b, `location.origin`)+"/") {
			t.Errorf("%s: the page loads %s", page, name)
		}
	}
	if lang := eval(t, b, `document.documentElement.lang + "|" + document.title`); !strings.HasPrefix(lang, "en|") || lang == "en|" {
		t.Errorf("%s: language and title are %q", page, lang)
	}
}

// checkPage also presses Tab all through the page, and wants to meet every
// control with a name, in the order of the page, the wanted ones among them.
func checkPage(t *testing.T, b *browser.Browser, page string, want ...string) {
	t.Helper()
	checkFits(t, b, page)
	var all []string
	do(t, json.Unmarshal([]byte(eval(t, b, `JSON.stringify([...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea")].map(`+nameOf+`))`)), &all))
	eval(t, b, `(document.activeElement.blur(), window.getSelection().removeAllRanges(), "")`)
	var met []string
	for range 2*len(all) + 2 {
		do(t, b.Press(t.Context(), "\t"))
		if on := focused(t, b); on != "" { // else the focus has left the page
			met = append(met, on)
		}
	}
	// Where the walk begins depends on where the focus was; twice round is enough.
	if len(all) > 0 && !strings.Contains(strings.Join(met, "\n"), strings.Join(all, "\n")) {
		t.Errorf("%s: Tab meets %q, the controls are %q", page, met, all)
	}
	for _, name := range append(want, all...) {
		if name == "" || !slices.Contains(all, name) {
			t.Errorf("%s: a control has no name, or %q is missing, in %q", page, name, all)
		}
	}
}

// nameOf is how a control is called: its label, or its text.
const nameOf = `(e => (e.labels && e.labels.length ? e.labels[0].textContent : e.textContent).trim())`

// focused is the name of what has the focus; empty if nothing has.
func focused(t *testing.T, b *browser.Browser) string {
	t.Helper()
	return eval(t, b, `document.activeElement == document.body ? "" : `+nameOf+`(document.activeElement)`)
}

// tabTo presses Tab until a control has the focus.
func tabTo(t *testing.T, b *browser.Browser, name string) {
	t.Helper()
	for range 40 {
		if focused(t, b) == name {
			return
		}
		do(t, b.Press(t.Context(), "\t"))
	}
	t.Fatalf("Tab never meets %q", name)
}

// typeInto goes to a field with Tab and types, in place of what it holds.
func typeInto(t *testing.T, b *browser.Browser, name, text string) {
	t.Helper()
	tabTo(t, b, name)
	eval(t, b, `(document.activeElement.select(), "")`)
	do(t, b.Press(t.Context(), text))
}
