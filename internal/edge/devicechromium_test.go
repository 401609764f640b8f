package edge_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/testkit/browser"
)

// TestDeviceChromium decides a device login that was started on another network,
// in a real browser: the warning, the second step, the tool's tokens, the banner
// at /me and "This wasn't me". No code ever stands in the address bar, and at 320
// pixels nothing sticks out.
//
// Invariant: DF-13a
func TestDeviceChromium(t *testing.T) {
	o := behindProxy
	o.HTTPS = true
	s := edgetest.NewServer(t, o)
	tool := s.NewTool(edgetest.Handshake)
	tool.From = elsewhere
	d := startDeviceBy(t, s, tool, "read write")
	b := browser.Start(t, browser.Options{Hosts: map[string]string{"auth.test": s.Addr}, CA: s.CA.PEM()})
	ctx := t.Context()
	do := func(err error) {
		t.Helper()
		if err != nil {
			text, _ := b.Text(ctx)
			t.Fatalf("%v\nat %v: %s\nconsole %q", err, b.URLs(), text, b.Console())
		}
	}
	fits := func(page string) {
		t.Helper()
		do(b.Screenshot(ctx, filepath.Join(t.TempDir(), "page.png"), 320, 900)) // it sets the window's size
		if got, err := b.Eval(ctx, "String(document.documentElement.scrollWidth <= innerWidth)"); err != nil || got != "true" {
			t.Errorf("%s sticks out at 320 pixels (%s, %v)", page, got, err)
		}
	}
	do(b.Open(ctx, d.VerificationURI))
	fits("code")
	do(b.Fill(ctx, "Code", strings.ToLower(strings.ReplaceAll(d.UserCode, "-", " "))))
	do(b.Click(ctx, "Continue"))
	do(b.Fill(ctx, "Email", edgetest.Email))
	do(b.Fill(ctx, "Password", edgetest.Password))
	do(b.Click(ctx, "Sign in"))
	do(b.WaitText(ctx, "This browser is on another network"))
	fits("consent")
	do(b.Click(ctx, "Allow"))
	do(b.WaitText(ctx, "Look again."))
	fits("again")
	do(b.Click(ctx, "Allow"))
	do(b.WaitText(ctx, "The tool goes on by itself"))
	if got := d.poll(t); got != "" {
		t.Fatal(got)
	}
	s.Clock.Advance(time.Minute)
	do(b.Open(ctx, s.Issuer+"/me"))
	do(b.WaitText(ctx, "Was this you?"))
	fits("me")
	do(b.Click(ctx, "This wasn't me"))
	do(b.WaitText(ctx, "has ended"))
	if got := rfcError(t, tool.Post("/oauth/token", tool.RefreshParams())); got != "invalid_grant" {
		t.Errorf("after This wasn't me: %s", got)
	}
	for _, u := range b.Shown() {
		if strings.Contains(u, d.UserCode) || strings.Contains(u, d.DeviceCode) {
			t.Errorf("a code stood in the address bar: %s", u)
		}
	}
	if c := b.Console(); len(c) > 0 {
		t.Errorf("the browser complains: %q", c)
	}
}
