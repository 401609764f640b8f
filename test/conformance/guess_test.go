package conformance

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/testkit/stage"
)

// try signs in from a new browser and gives the answer.
func (w *world) try(email, password string) (answer, error) {
	b := w.browser()
	page, err := b.get(w.Issuer + "/me")
	if err != nil {
		return page, err
	}
	return b.signIn(page, email, password)
}

func guessRows() []row {
	alone := func(f func(x *world) error) func(*world) error {
		return func(w *world) error {
			x, err := w.another(stage.Options{LogLevel: "warn"})
			if err != nil {
				return err
			}
			err = f(x)
			return all(err, x.end())
		}
	}
	return []row{
		{"OWASP ASVS 2.2.2; 9700 §4.7", "same-words", "A wrong password and an unknown address are refused with the same status and the same words.", alone(func(x *world) error {
			known, err := x.try(stage.Email, "wrong")
			unknown, err2 := x.try("nobody@example.test", "wrong")
			if err := all(err, err2); err != nil {
				return err
			}
			a := strings.ReplaceAll(known.body, stage.Email, "X")
			b := strings.ReplaceAll(unknown.body, "nobody@example.test", "X")
			if known.status != unknown.status || stripCSRF(a) != stripCSRF(b) {
				return wrong("%s\nand %s", known, unknown)
			}
			if known.status < 400 || !known.asksPassword() {
				return wrong("%s", known)
			}
			return nil
		})},
		{"OWASP ASVS 2.2.2", "same-time", "An unknown address takes as long as a wrong password.", alone(func(x *world) error {
			// In turns, so that both meet the same machine; a hash that is left out
			// makes a difference of fifty times, a busy machine none of eight.
			var known, unknown []time.Duration
			for range 5 {
				k, err := median(1, func() error { _, err := x.try(stage.Email, "wrong"); return err })
				u, err2 := median(1, func() error { _, err := x.try("nobody@example.test", "wrong"); return err })
				if err := all(err, err2); err != nil {
					return err
				}
				known, unknown = append(known, k), append(unknown, u)
			}
			slices.Sort(known)
			slices.Sort(unknown)
			if unknown[2] < known[2]/8 || known[2] < unknown[2]/8 {
				return wrong("%v and %v", known, unknown)
			}
			return nil
		})},
		{"OWASP ASVS 2.2.1; 9700", "limit", "Guessing is stopped: of forty guesses at one account the last are refused with 429, whether the password is right or not, and other accounts and addresses are still heard or limited, never let in.", alone(func(x *world) error {
			stopped := 0
			for range 40 {
				a, err := x.try(stage.Email, "wrong")
				if err := all(err, a.notCrashed()); err != nil {
					return err
				}
				if a.status == 429 {
					if stopped++; stopped == 3 {
						break
					}
				}
			}
			if stopped == 0 {
				return wrong("forty guesses and no end")
			}
			a, err := x.try(stage.Email, stage.Password)
			if err := all(err, a.is(429)); err != nil {
				return err
			}
			if a.header.Get("Retry-After") == "" {
				return wrong("429 without Retry-After")
			}
			return nil
		})},
		{"OWASP ASVS 2.2.1", "spray", "One password for many addresses from one address is stopped too.", alone(func(x *world) error {
			start := time.Now()
			for i := range 120 {
				a, err := x.try(strings.Repeat("a", i+1)+"@example.test", "Winter2026!")
				if err := all(err, a.notCrashed()); err != nil {
					return err
				}
				if a.status == 429 {
					return nil
				}
				if time.Since(start) > 15*time.Second {
					break
				}
			}
			return wrong("no end to it")
		})},
		{"OWASP ASVS 2.2.1", "forwarded-for", "A client cannot pass for another address by X-Forwarded-For to go on guessing.", alone(func(x *world) error {
			for i := range 120 {
				b := x.browser()
				page, err := b.get(x.Issuer + "/me")
				if err != nil {
					return err
				}
				f, err := page.formWith("Password")
				if err != nil {
					return err
				}
				a, err := b.submit(f.Action, values(f, "Sign in", "Email", fmt.Sprintf("p%d@example.test", i), "Password", "wrong"), "X-Forwarded-For", fmt.Sprintf("198.51.100.%d", i))
				if err := all(err, a.notCrashed()); err != nil {
					return err
				}
				if a.status == 429 {
					return nil
				}
			}
			return wrong("no end to it")
		})},
	}
}

// stripCSRF takes out what differs by browser.
func stripCSRF(page string) string {
	var out []string
	for line := range strings.Lines(page) {
		if !strings.Contains(line, `name="csrf"`) {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}
