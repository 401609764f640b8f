//go:build linux

package headless

import (
	"bufio"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// chromium is somebody's browser, in the person's network.
type chromium struct {
	*browser.Browser
	t     *testing.T
	email string
}

func (w *world) browser(t *testing.T, email string) *chromium {
	t.Helper()
	return &chromium{browser.Start(t, browser.Options{CA: w.ca.PEM(), Hosts: map[string]string{"auth.test": addresses[hub] + ":443"}}), t, email}
}

// must fails the test with what the page says.
func (b *chromium) must(err error) {
	b.t.Helper()
	if err != nil {
		text, _ := b.Text(b.t.Context())
		b.t.Fatalf("%v\nthe page says: %s", err, text)
	}
}

func (b *chromium) click(button string) {
	b.t.Helper()
	b.must(b.Click(b.t.Context(), button))
}

func (b *chromium) waitText(text string) {
	b.t.Helper()
	b.must(b.WaitText(b.t.Context(), text))
}

// signIn fills the sign-in page in, if it is shown.
func (b *chromium) signIn() {
	b.t.Helper()
	n, err := b.Count(b.t.Context(), "Password")
	b.must(err)
	if n == 0 {
		return
	}
	b.must(b.Fill(b.t.Context(), "Email", b.email))
	b.must(b.Fill(b.t.Context(), "Password", password))
	b.click("Sign in")
}

// typeCode types a user code, as a person does who was told where, and gives
// what the page says that asks for a decision.
func (b *chromium) typeCode(code string) string {
	b.t.Helper()
	ctx := b.t.Context()
	b.must(b.Open(ctx, issuer+"/device"))
	b.must(b.Fill(ctx, "Code", code))
	b.click("Continue")
	b.must(b.WaitURL(ctx, func(u *url.URL) bool { return u.Query().Get("device") != "" }))
	b.signIn()
	b.waitText("Where this login was started")
	text, err := b.Text(ctx)
	b.must(err)
	return text
}

// allowTwice presses Allow at both steps.
func (b *chromium) allowTwice() {
	b.t.Helper()
	b.click("Allow")
	b.waitText("Look again.")
	b.click("Allow")
}

// buttons counts the buttons and fields of a name.
func (b *chromium) buttons(name string) int {
	b.t.Helper()
	n, err := b.Count(b.t.Context(), name)
	b.must(err)
	return n
}

var linkPattern = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+/start/\S+`)

// browserLogin logs in at a machine of the person's own network with the browser
// that runs there: the kind of login that may approve others.
func (b *chromium) browserLogin(m *machine, args ...string) {
	b.t.Helper()
	c := m.command(b.t.Context(), append(args, "--flow", "browser", "--no-browser")...)
	errs, err := c.StderrPipe()
	b.must(err)
	b.must(c.Start())
	var said strings.Builder
	opened := false
	lines := bufio.NewScanner(errs)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if link := linkPattern.FindString(lines.Text()); link != "" && !opened {
			opened = true
			b.must(b.Open(b.t.Context(), link))
			b.signIn()
			b.must(stage.Decide(b.t.Context(), b.Browser, "Allow"))
		}
	}
	if err := c.Wait(); err != nil {
		b.t.Fatalf("the login with a browser: %v\n%s", err, said.String())
	}
}
