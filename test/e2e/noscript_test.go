package e2e

import (
	"net/http"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// TestWithoutScripts presses every "Continue" by hand: first so late that the
// nonce has expired, then, after "Try again", in time.
func TestWithoutScripts(t *testing.T) {
	st := secure.get(t)
	m := machine(t, st)
	b := chromium(t, st, browser.Options{NoScript: true})
	ctx := t.Context()
	res := attempt(t, m, func(url string) error {
		steps := []func() error{
			func() error { return stage.Ask(ctx, b, url) },
			func() error { return b.Click(ctx, "Allow") },
			func() error { return b.WaitText(ctx, "One moment") },
			func() error { time.Sleep(3200 * time.Millisecond); return nil }, // the server's clock, not ours
			func() error { return b.Click(ctx, "Continue") },
			func() error { return b.WaitText(ctx, "That took too long") },
			func() error { return b.Click(ctx, "Try again") },
			func() error { return b.WaitText(ctx, "One moment") },
			func() error { return b.Click(ctx, "Continue") },
			func() error { return b.WaitText(ctx, "Allowed") },
			func() error { return b.Click(ctx, "Continue") },
			func() error { return b.WaitURL(ctx, stage.Done) },
		}
		for _, step := range steps {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}, "--resource", st.Resource, "--scope", "read")
	if res.Code != 0 {
		t.Fatalf("exit code %d\n%s", res.Code, res.Stderr)
	}
	checkAddressBar(t, b)
	wantCall(t, st, "a call", reports(st), headers(t, m, http.MethodGet, reports(st)), http.StatusOK)
}
