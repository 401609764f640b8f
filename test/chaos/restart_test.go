//go:build linux

package chaos

import (
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// TestRestartKeepsWhatAPersonBegan: a restart ends the requests that nobody has
// opened, and the log says so; a person who has signed in goes on where she was:
// her session, her form and her request are still good.
//
// Invariant: GR-11
func TestRestartKeepsWhatAPersonBegan(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*testing.T, *stage.Stage)
	}{
		{"stopped", stop},
		{"killed", func(_ *testing.T, s *stage.Stage) { s.Server.Kill() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, "info")
			p := meet(t, s)
			unopened, opened := p.push(t), p.push(t)
			page, err := p.person.Get(t.Context(), opened.url)
			if err != nil {
				t.Fatal(err)
			}
			page, err = p.person.Submit(t.Context(), form(t, page, "Sign in"), "Sign in",
				map[string]string{"Email": stage.Email, "Password": stage.Password})
			if err != nil {
				t.Fatal(err)
			}
			consent := form(t, page, "Allow")
			if _, err := p.person.Get(t.Context(), unopened.url); err != nil { // looking at it opens nothing
				t.Fatal(err)
			}

			c.end(t, s)
			start(t, s)

			page, err = p.person.Submit(t.Context(), consent, "Allow", nil)
			if err != nil || page.Back == nil {
				t.Fatalf("Allow after the restart: %v: %+v", err, page)
			}
			out := opened.redeem(t, page.Back)
			if _, err := refresh(t.Context(), opened.tool, out.RefreshToken); err != nil {
				t.Errorf("the grant of that login: %v", err)
			}
			page, err = p.person.Get(t.Context(), unopened.url)
			if err != nil || page.Back != nil || !strings.Contains(page.Text, "login link is not known") {
				t.Errorf("a link from before the restart: %v: %+v", err, page)
			}
			if _, err := p.tool(t).Login(t.Context(), p.person, redirect, "read", resource); err != nil {
				t.Errorf("a new login after the restart: %v", err)
			}
			stop(t, s)
			log := readLog(t, s.Data(), s.Issuer)
			if n := log.count(func(r event.Record) bool {
				return r.Name == event.ServerStarted && r.Reason == event.ReasonVolatile
			}); n != 2 {
				t.Errorf("%d of 2 starts say that they ended what is volatile", n)
			}
			if n := log.report.Events[event.SignInSucceeded]; n != 1 {
				t.Errorf("the person signed in %d times", n)
			}
		})
	}
}
