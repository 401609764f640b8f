package e2e

import (
	"net/http"
	"testing"

	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// TestTwoLoginsAtOnce starts two logins, goes half the way of the first, all of
// the second, and comes back to the first. Who has signed in once is asked for
// consent at once.
func TestTwoLoginsAtOnce(t *testing.T) {
	for _, place := range places {
		t.Run(place.name, func(t *testing.T) {
			st := place.at.get(t)
			m := machine(t, st)
			b := chromium(t, st, browser.Options{})
			ctx := t.Context()
			second := func() {
				res := attempt(t, m, func(link string) error {
					if err := b.Open(ctx, link); err != nil {
						return err
					}
					if n, err := b.Count(ctx, "Allow"); err != nil || n != 1 {
						t.Errorf("somebody who is signed in sees %d buttons Allow at once (%v)", n, err)
					}
					return stage.Decide(ctx, b, "Allow")
				}, "--profile", "second", "--resource", st.Resource, "--scope", "read")
				if res.Code != 0 {
					t.Errorf("the second login ended with code %d\n%s", res.Code, res.Stderr)
				}
			}
			res := attempt(t, m, func(link string) error {
				if err := stage.Ask(ctx, b, link); err != nil {
					return err
				}
				page, err := b.URL(ctx)
				if err != nil {
					return err
				}
				second()
				if err := b.Open(ctx, page); err != nil {
					return err
				}
				return stage.Decide(ctx, b, "Allow")
			}, "--profile", "first", "--resource", st.Resource, "--scope", "read")
			if res.Code != 0 {
				t.Fatalf("the first login ended with code %d\n%s", res.Code, res.Stderr)
			}
			for _, profile := range []string{"first", "second"} {
				wantCall(t, st, profile, reports(st), headers(t, m, http.MethodGet, reports(st), "--profile", profile), http.StatusOK)
			}
		})
	}
}
