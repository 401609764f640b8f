//go:build linux

package headless

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

var agePattern = regexp.MustCompile(`When\s+(just now|\d+ seconds? ago)`)

// TestHonest plays the login that all of this is for: from their desk a person
// works by ssh on a computer in another network, logs in there, and types the
// code in the browser of their desk. The page shows what they know to be true,
// warns that the networks differ, and asks twice; the tool has its token at once,
// after at most three requests.
//
// Invariant: DF-13a, DF-17, DF-21
func TestHonest(t *testing.T) {
	w := get(t)
	far := w.machine(t, device, "build7")
	server := w.sshd(t, far)
	b := w.browser(t, victim)
	before := w.tokenRequests()

	login := startLogin(t, server.keytether(t, loginArgs("confirm")...))
	contains(t, "the tool", login.shown, "this is an SSH session", issuer+"/device")
	page := b.typeCode(strings.ToLower(strings.ReplaceAll(login.code, "-", " ")))
	contains(t, "the page", page, "Tool", victim, "Computer build7", "User there root", "Address "+addresses[device], "Read reports",
		"This browser is on another network: "+addresses[person], "Did you not start this login yourself")
	if !agePattern.MatchString(page) {
		t.Errorf("the page does not say how long ago it was started:\n%s", page)
	}
	if b.buttons("Deny") != 1 {
		t.Error("the page has no Deny")
	}
	b.click("Allow")
	b.waitText("Look again.")
	select {
	case <-login.done:
		t.Fatal("the tool was let in by one Allow, over a boundary between networks")
	default:
	}
	b.waitText("it asks from " + addresses[device] + ", and you are at " + addresses[person])
	b.click("Allow")
	b.waitText("The tool goes on by itself")
	contains(t, "the tool", login.end(t, 0), "Logged in", victim, issuer)
	if n := w.tokenRequests() - before; n < 1 || n > 3 {
		t.Errorf("the login took %d token requests", n)
	}

	out, code := finish(t, server.keytether(t, "token", "--proof", "GET", reports))
	if code != 0 {
		t.Fatalf("token: %s", out)
	}
	if got := w.call(t, http.MethodGet, headers(out)); got != http.StatusOK {
		t.Errorf("the API answered %d", got)
	}
}

// TestSameNetwork: where browser and device are on one network, as a server can
// see it, nobody is warned of what is not so, and one Allow suffices.
//
// Invariant: DF-13c
func TestSameNetwork(t *testing.T) {
	w := get(t)
	m := w.machine(t, person, "desk")
	b := w.browser(t, victim)
	login := startLogin(t, m.command(t.Context(), loginArgs("confirm", "--flow", "device")...))
	page := b.typeCode(login.code)
	contains(t, "the page", page, "desk", addresses[person])
	if strings.Contains(page, "another network") {
		t.Errorf("the page warns of another network:\n%s", page)
	}
	b.click("Allow")
	b.waitText("The tool goes on by itself")
	contains(t, "the tool", login.end(t, 0), "Logged in", victim)
}
