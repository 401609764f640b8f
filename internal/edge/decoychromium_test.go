package edge_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/testkit/browser"
)

// TestDecoyChromium is the person's side in a real browser: the banner at /me, Unlock
// with the sign-in that it asks for, Revoke all the second time, and the page for
// leaked tokens, by their names, at 320 pixels too.
//
// Invariant: DC-4, BN-1
func TestDecoyChromium(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{HTTPS: true})
	laptop := baited{Server: s, api: s.NewTool(edgetest.Handshake)}
	laptop.api.Resource, laptop.api.Scope = s.Issuer+oauth.PathAPI, "account"
	laptop.api.Extra.Set("keytether_host", "mara-laptop")
	laptop.api.Login()
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
	signIn := func() {
		t.Helper()
		do(b.Fill(ctx, "Email", edgetest.Email))
		do(b.Fill(ctx, "Password", edgetest.Password))
		do(b.Click(ctx, "Sign in"))
	}
	do(b.Open(ctx, s.Issuer+"/me"))
	signIn()
	do(b.WaitText(ctx, "Signed in as"))
	first, second := laptop.plant(t), laptop.plant(t)
	s.Clock.Advance(time.Second)
	laptop.present(first.Decoy)
	s.Clock.Advance(time.Second)
	do(b.Open(ctx, s.Issuer+"/me"))
	do(b.WaitText(ctx, "mara-laptop is locked"))
	fits("me")
	do(b.Click(ctx, "Unlock"))
	do(b.WaitText(ctx, "Password"))
	do(b.Fill(ctx, "Password", edgetest.Password)) // the address stands there
	do(b.Click(ctx, "Sign in"))
	do(b.WaitText(ctx, "mara-laptop is locked"))
	do(b.Click(ctx, "Unlock"))
	do(b.WaitText(ctx, "Its tools go on by themselves"))
	renew(laptop.api)
	laptop.present(second.Decoy)
	do(b.Open(ctx, s.Issuer+"/me"))
	do(b.WaitText(ctx, "mara-laptop is locked"))
	do(b.Click(ctx, "Revoke all"))
	do(b.WaitText(ctx, "has ended"))
	refused(t, laptop.api.Post(oauth.PathToken, laptop.api.RefreshParams()), oauth.GrantEnded)

	leaked := s.NewTool(edgetest.Handshake)
	leaked.Login()
	do(b.Open(ctx, s.Issuer+"/burn"))
	fits("burn")
	do(b.Fill(ctx, "Token", leaked.Token.RefreshToken))
	do(b.Click(ctx, "Burn"))
	do(b.WaitText(ctx, "works no more"))
	fits("burned")
	if res := leaked.Post(oauth.PathToken, leaked.RefreshParams()); res.Status == http.StatusOK {
		t.Error("what was burned still works")
	}
	if c := b.Console(); len(c) > 0 {
		t.Errorf("the browser complains: %q", c)
	}
}
