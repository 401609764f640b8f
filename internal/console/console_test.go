package console

import (
	"bytes"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/policy"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
)

const hostile = `"><script>alert(1)</script><b x='`

// every renders all pages with text from outside that tries to be markup.
func every(t *testing.T) map[string]string {
	t.Helper()
	s := New("https://auth.example.test/t/lab", "/t/lab")
	now := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	facts := event.Facts{Host: hostile, OSUser: hostile, Platform: hostile, Address: hostile}
	scopes := []authserver.Scope{{Name: "read", Words: hostile}}
	view := authserver.View{
		Client: authserver.Client{ID: "cli", Name: hostile}, Resource: authserver.Resource{ID: hostile, Name: hostile}, Scopes: scopes,
		Facts: facts, StartedAt: now, Ends: time.Hour, RequestURI: hostile, Person: &authserver.Person{Account: store.Account{Email: hostile}},
	}
	held := authserver.HeldGrant{ID: "grt_1", Client: hostile, Resource: hostile, Scopes: scopes, Since: now, Ends: now, Used: now}
	out := map[string]string{}
	for name, page := range map[string]func(io.Writer) error{
		"sign in": func(w io.Writer) error {
			return s.SignIn(w, SignIn{ClientID: hostile, ClientName: hostile, RequestURI: hostile, Email: hostile, Problem: hostile})
		},
		"consent": func(w io.Writer) error { return s.Consent(w, Consent{View: view, Address: "203.0.113.7", Now: now}) },
		"device": func(w io.Writer) error {
			return s.Consent(w, Consent{View: view, Device: hostile, Apart: true, Less: true, Wanting: policy.Confirm, Address: hostile, Now: now})
		},
		"second step": func(w io.Writer) error {
			return s.Consent(w, Consent{View: view, Device: hostile, Apart: true, Confirm: true, Wanting: policy.Confirm, Address: hostile, Now: now})
		},
		"trusted": func(w io.Writer) error {
			return s.Consent(w, Consent{View: view, Device: hostile, Wanting: policy.Trusted, Address: hostile, Now: now})
		},
		"refuse": func(w io.Writer) error {
			return s.Consent(w, Consent{View: view, Device: hostile, Wanting: policy.Refuse, Address: hostile, Now: now})
		},
		"code":   func(w io.Writer) error { return s.Code(w, Code{Token: hostile, Problem: hostile, SignIn: true}) },
		"done":   func(w io.Writer) error { return s.DeviceDone(w, DeviceDone{Allowed: true}) },
		"denied": func(w io.Writer) error { return s.DeviceDone(w, DeviceDone{}) },
		"post": func(w io.Writer) error {
			return s.Post(w, Post{Response: authserver.Response{
				RedirectURI: "http://127.0.0.1:1/callback", Params: []authserver.Param{{Name: "state", Value: secret.New(hostile)}},
			}})
		},
		"retry":      func(w io.Writer) error { return s.Retry(w, Retry{Request: hostile, Token: hostile}) },
		"error":      func(w io.Writer) error { return s.Error(w, Error{What: hostile, Why: hostile, Do: hostile}) },
		"signed out": s.SignedOut,
		"landing":    s.Landing,
		"me": func(w io.Writer) error {
			login := authserver.NewLogin{HeldGrant: held, Installation: store.Installation{ID: "ins_1", Facts: facts}}
			return s.Me(w, Me{Email: hostile, Done: hostile, Now: now, New: []NewLogin{{NewLogin: login, Now: now}}, SeenUntil: hostile, Cards: []Card{
				{ID: "ins_1", Token: hostile, Facts: facts, First: now, Last: now, Now: now, Grants: []Grant{{HeldGrant: held, Now: now}}},
				{Grants: []Grant{{HeldGrant: held, Disown: hostile, Now: now}}},
			}})
		},
	} {
		var b bytes.Buffer
		if err := page(&b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = b.String()
	}
	return out
}

// TestPagesEscape renders text from outside that tries to be markup.
func TestPagesEscape(t *testing.T) {
	for name, page := range every(t) {
		if strings.Contains(page, "alert(1)</script>") || strings.Contains(page, "<b x=") {
			t.Errorf("%s: text from outside is markup:\n%s", name, page)
		}
		if n := strings.Count(page, "<script"); n != strings.Count(page, "<script>"+submit+"</script>") || n > 0 && name != "post" {
			t.Errorf("%s: another script than the one", name)
		}
		if strings.Contains(page, "ZgotmplZ") || strings.Contains(page, " style=") || regexp.MustCompile(` on[a-z]+=`).MatchString(page) {
			t.Errorf("%s: what the policy would refuse:\n%s", name, page)
		}
	}
}

// TestPagesAreAccessible looks for what a screen reader needs.
func TestPagesAreAccessible(t *testing.T) {
	input := regexp.MustCompile(`<input id="([^"]*)"`)
	for name, page := range every(t) {
		for _, want := range []string{`<html lang="en">`, "<title>", "<h1>", "<main>", `name="viewport"`} {
			if strings.Count(page, want) != 1 {
				t.Errorf("%s: %d of %s", name, strings.Count(page, want), want)
			}
		}
		for _, m := range input.FindAllStringSubmatch(page, -1) {
			if !strings.Contains(page, `<label for="`+m[1]+`">`) {
				t.Errorf("%s: no label for %s", name, m[1])
			}
		}
	}
}

// TestBothButtonsAreAlike compares Allow and Deny, on the second step of a device
// login too.
//
// Invariant: DF-13a
func TestBothButtonsAreAlike(t *testing.T) {
	pages := every(t)
	const deny, allow = `<button name="decision" value="deny">Deny</button>`, `<button name="decision" value="allow">Allow</button>`
	for name, n := range map[string]int{"consent": 1, "device": 1, "second step": 1, "trusted": 0, "refuse": 0} {
		if strings.Count(pages[name], deny) != 1 || strings.Count(pages[name], allow) != n {
			t.Errorf("%s: not both buttons, or not alike", name)
		}
	}
	page := pages["second step"]
	if strings.Contains(page, "autofocus") || regexp.MustCompile(`value=.?(allow|deny)`).Match(style) {
		t.Error("one of the two has the focus or a look of its own")
	}
}

// TestContrast computes the contrast of every pair of colours that text stands
// in (WCAG 2.2, 1.4.3: at least 4.5), in light and dark.
func TestContrast(t *testing.T) {
	blocks := regexp.MustCompile(`(?s):root \{(.*?)\}`).FindAllStringSubmatch(string(style), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d themes", len(blocks))
	}
	for _, b := range blocks {
		colour := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6})`).FindAllStringSubmatch(b[1], -1) {
			colour[m[1]] = luminance(t, m[2])
		}
		for _, pair := range [][2]string{
			{"ink", "paper"},
			{"ink", "ground"},
			{"soft", "paper"},
			{"soft", "ground"},
			{"accent", "paper"},
			{"on-accent", "accent"},
			{"warn", "paper"},
			{"warn", "warn-ground"},
			{"ink", "done-ground"},
		} {
			hi, lo := max(colour[pair[0]], colour[pair[1]]), min(colour[pair[0]], colour[pair[1]])
			if c := (hi + 0.05) / (lo + 0.05); c < 4.5 {
				t.Errorf("%s on %s: %.2f", pair[0], pair[1], c)
			}
		}
	}
	if strings.Contains(string(style), "url(") || strings.Contains(string(style), "@import") {
		t.Error("the style loads something")
	}
}

func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(hex[1:], 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	channel := func(shift uint) float64 {
		v := float64(n>>shift&0xff) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*channel(16) + 0.7152*channel(8) + 0.0722*channel(0)
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 seconds", time.Second: "1 second", 59 * time.Second: "59 seconds", time.Minute: "1 minute",
		5 * time.Minute: "5 minutes", 90 * time.Minute: "90 minutes", 8 * time.Hour: "8 hours", 24 * time.Hour: "24 hours",
		72 * time.Hour: "3 days",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
	now := time.Unix(1000, 0)
	if got := ago(now, now.Add(time.Minute)); got != "just now" { // a clock that went back
		t.Errorf("ago = %q", got)
	}
}
