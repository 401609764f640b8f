//go:build linux

package headless

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// phish starts a login on the attacker's computer, whose code the victim gets by
// a message.
func (w *world) phish(t *testing.T, client string) (*machine, *waiting) {
	t.Helper()
	m := w.machine(t, attacker, "helpdesk-4")
	return m, startLogin(t, m.command(t.Context(), loginArgs(client, "--flow", "device")...))
}

// warned wants what every page about the attacker's login says.
func warned(t *testing.T, page string) {
	t.Helper()
	contains(t, "the page", page, "helpdesk-4", addresses[attacker], "This browser is on another network: "+addresses[person],
		"Did you not start this login yourself")
}

// TestPhished: a person types the attacker's code and does not heed what the page
// says of where the login was started. By the default rule that takes two steps;
// then the person is told, at the computer where they are logged in and at /me,
// and one click ends it: within a second the attacker's token is refused, and it
// is not renewed.
//
// Invariant: DF-13a, DF-16a, RV-1
func TestPhished(t *testing.T) {
	w := get(t)
	desk := w.machine(t, person, "desk")
	b := w.browser(t, victim)
	b.browserLogin(desk, loginArgs("confirm")...)
	m, login := w.phish(t, "confirm")
	warned(t, b.typeCode(login.code))
	b.allowTwice()
	b.waitText("The tool goes on by itself")
	login.end(t, 0)
	stolen := func() int {
		out, code := finish(t, m.command(t.Context(), "token", "--proof", "GET", reports))
		if code != 0 {
			t.Fatalf("the attacker's tool: %s", out)
		}
		return w.call(t, http.MethodGet, headers(out))
	}
	if got := stolen(); got != http.StatusOK {
		t.Fatalf("the attack did not even begin: %d", got)
	}

	if s := desk.run(t, 0, "status"); strings.Contains(s, "helpdesk-4") {
		t.Errorf("told before anything was asked of the server:\n%s", s)
	}
	desk.run(t, 0, "token", "--scope", "read") // not in hand: it renews
	contains(t, "status", desk.run(t, 0, "status"), "logged in with a code", "helpdesk-4 ("+addresses[attacker]+")", issuer+"/me")

	b.must(b.Open(t.Context(), issuer+"/me"))
	b.waitText("Was this you?")
	b.waitText("Tool on helpdesk-4 at " + addresses[attacker])
	// The first of the page is the banner's.
	b.must(b.ClickNth(t.Context(), "This wasn't me", 0))
	b.waitText("has ended")
	begun := time.Now()
	for {
		late := time.Since(begun) > time.Second
		got := stolen()
		if got == http.StatusUnauthorized {
			break
		}
		if late || got != http.StatusOK {
			t.Fatalf("%v after the click the API answers the attacker %d", time.Since(begun), got)
		}
	}
	out, code := finish(t, m.command(t.Context(), "token", "--scope", "read"))
	if code != 3 {
		t.Errorf("a renewal by the attacker ended with %d: %s", code, out)
	}
	desk.run(t, 0, "token", "--scope", "write") // the person's own login goes on
}

// TestPhishedByRule: what an attacker on another network gets, and what it takes,
// is what the config says of the client.
//
// Invariant: DF-13c
func TestPhishedByRule(t *testing.T) {
	w := get(t)
	b := w.browser(t, victim)

	t.Run("narrow", func(t *testing.T) {
		m, login := w.phish(t, "narrow")
		page := b.typeCode(login.code)
		warned(t, page)
		contains(t, "the page", page, "It asked for more.")
		if strings.Contains(page, "Change reports") {
			t.Error("the page offers what is not to be had")
		}
		b.allowTwice()
		b.waitText("The tool goes on by itself")
		login.end(t, 0)
		for method, want := range map[string]int{http.MethodGet: http.StatusOK, http.MethodPost: http.StatusForbidden} {
			if got := w.call(t, method, headers(m.run(t, 0, "token", "--proof", method, reports))); got != want {
				t.Errorf("%s by the attacker: %d, want %d", method, got, want)
			}
		}
	})
	t.Run("sign in again", func(t *testing.T) {
		_, login := w.phish(t, "sign-in-again")
		warned(t, b.typeCode(login.code)) // signed in since the case before
		b.click("Allow")
		b.waitText("Password")
		if b.buttons("Allow") != 0 {
			t.Error("Allow is there before the person has signed in again")
		}
		b.must(b.Fill(t.Context(), "Password", password))
		b.click("Sign in")
		b.waitText("Where this login was started")
		b.allowTwice()
		b.waitText("The tool goes on by itself")
		login.end(t, 0)
	})
	t.Run("refuse", func(t *testing.T) {
		_, login := w.phish(t, "refuse")
		page := b.typeCode(login.code)
		warned(t, page)
		contains(t, "the page", page, "Nobody can allow it here")
		if b.buttons("Allow") != 0 {
			t.Error("there is an Allow")
		}
		b.click("Deny")
		b.waitText("Denied")
		login.end(t, 4)
	})
	t.Run("heeded", func(t *testing.T) {
		_, login := w.phish(t, "confirm")
		warned(t, b.typeCode(login.code))
		b.click("Allow")
		b.waitText("Look again.")
		b.click("Deny")
		b.waitText("Denied")
		login.end(t, 4)
	})
}

// TestTrusted: where the config wants it, the page allows nothing from another
// network. `keytether approve` does, at the computer where the person logged in
// with a browser; it shows where the login was started, an attacker's as an
// honest one.
//
// Invariant: DF-13c, DF-13d
func TestTrusted(t *testing.T) {
	w := get(t)
	desk := w.machine(t, person, "desk")
	b := w.browser(t, victim)
	b.browserLogin(desk, "login", "--issuer", issuer, "--profile", "me", "--resource", issuer+"/api/v1", "--scope", "account")

	m, login := w.phish(t, "trusted")
	page := b.typeCode(login.code)
	warned(t, page)
	contains(t, "the page", page, "keytether approve")
	if b.buttons("Allow") != 0 {
		t.Error("the page has an Allow")
	}
	said := desk.answer(t, 0, "y", "approve", login.code, "--deny")
	contains(t, "approve", said, "helpdesk-4", addresses[attacker], "It was started on another network than yours", "Denied")
	login.end(t, 4)
	m.run(t, 3, "whoami")

	honest := w.machine(t, device, "build7")
	login = startLogin(t, honest.command(t.Context(), loginArgs("trusted", "--flow", "device")...))
	said = desk.answer(t, 0, "y", "approve", login.code)
	contains(t, "approve", said, "build7", addresses[device], "Allowed")
	contains(t, "the tool", login.end(t, 0), "Logged in", victim)
}

// answer runs a command on a terminal where somebody types a line when asked, wants its exit
// code and gives what the terminal showed.
func (m *machine) answer(t *testing.T, code int, line string, args ...string) string {
	t.Helper()
	c := m.command(t.Context(), args...)
	tty, err := pty.Start(c)
	do(t, err)
	defer tty.Close()
	var shown strings.Builder
	asked := false
	for buf := make([]byte, 4096); ; {
		n, err := tty.Read(buf)
		shown.Write(buf[:n])
		if err != nil { // EIO when the last program has closed it
			break
		}
		if !asked && strings.Contains(shown.String(), "[y/N] ") { // before, nothing counts
			asked = true
			_, err := tty.WriteString(line + "\n")
			do(t, err)
		}
	}
	_ = c.Wait()
	if got := c.ProcessState.ExitCode(); got != code {
		t.Fatalf("keytether %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, shown.String())
	}
	return shown.String()
}

// TestReverse: the attacker has seen the victim's code and allows it with an
// account of his own, so that what the victim's tool does lands there. A tool that
// was told whose login it is refuses, and revokes what it got; one that was not
// shows the account and the issuer.
//
// Invariant: DF-14, DF-21
func TestReverse(t *testing.T) {
	w := get(t)
	m := w.machine(t, device, "build7")
	b := w.browser(t, thief)
	start := func(more ...string) *waiting {
		login := startLogin(t, m.command(t.Context(), loginArgs("confirm", append(more, "--flow", "device")...)...))
		b.typeCode(login.code)
		b.allowTwice()
		b.waitText("The tool goes on by itself")
		return login
	}
	contains(t, "the tool", start("--login-hint", victim).end(t, 4), victim+" was asked for", thief)
	m.run(t, 3, "whoami")
	b.must(b.Open(t.Context(), issuer+"/me"))
	b.waitText("No tool can act for you")

	contains(t, "the tool", start().end(t, 0), "Account", thief, "Issuer", issuer)
	m.run(t, 0, "logout")
}
