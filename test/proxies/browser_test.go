//go:build linux

package proxies

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/realproxy"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// TestPortal has a network that shows everybody its sign-in page, in place of the metadata and of
// the token endpoint: the failure says so, with exit code 6, and the login that is there is there
// afterwards, and works.
//
// Invariant: OB-4
func TestPortal(t *testing.T) {
	w := theWorld
	m := w.machine(t)
	dir := filepath.Join(w.folder("mitm-portal"))
	do(t, os.Mkdir(dir, 0o700))
	mitm, err := realproxy.StartMitm(dir, realproxy.MitmOptions{UpstreamCA: w.caFile})
	do(t, err)
	t.Cleanup(func() { do(t, mitm.Close()) })
	env := []string{"HTTPS_PROXY=http://" + mitm.Addr, "SSL_CERT_FILE=" + mitm.CA}
	m.logIn(t, env...)
	words := map[string]string{
		realproxy.PortalPage:     "a web page where JSON was expected",
		realproxy.PortalRedirect: "redirects to " + realproxy.SignInPage + ",",
	}
	scopes := map[string]string{realproxy.PortalPage: "read", realproxy.PortalRedirect: "write"} // each needs a token of its own
	for mode, want := range words {
		do(t, mitm.Portal(mode))
		renewal := m.run(t, 6, nil, "token", "--scope", scopes[mode], "--json")
		says(t, "the renewal", renewal, want, "sign")
		_, code, said := w.machine(t).reach(t, env...)
		if code != 6 {
			t.Errorf("%s: a new login ends with exit code %d", mode, code)
		}
		says(t, "a new login", said, want, "sign")
		if strings.Contains(renewal+said, "from=abc") {
			t.Errorf("a query of the network's page is printed:\n%s%s", renewal, said)
		}
		says(t, "whoami behind the portal", m.run(t, 0, nil, "whoami"), issuer)
		do(t, mitm.Portal(realproxy.PortalOff))
		says(t, "the token afterwards", m.run(t, 0, nil, "token", "--scope", scopes[mode], "--json"), `"token_type":"DPoP"`)
	}
}

var (
	linkPattern = regexp.MustCompile(`http://127\.0\.0\.1:[0-9]+/start/\S+`)
	codePattern = regexp.MustCompile(`enter the code\s+((?:[A-Z] ){4}-(?: [A-Z]){4})\s`)
)

// TestSwallowedLoopback has a browser that sends even 127.0.0.1 to a proxy, which refuses it: the
// browser never comes back, and the login is finished with a code.
//
// Invariant: OB-5
func TestSwallowedLoopback(t *testing.T) {
	w := theWorld
	m := w.machine(t)
	b := w.browser(t, browser.Options{Proxy: w.squid.Open})
	link := filepath.Join(m.home.Dir, "link")
	script := filepath.Join(m.home.Dir, "open.sh")
	do(t, os.WriteFile(script, []byte("printf %s \"$1\" >"+link+"\n"), 0o600))
	c := m.command(t.Context(), []string{"SSL_CERT_FILE=" + w.caFile, "TERM=xterm", "NO_COLOR=1", "BROWSER=sh " + script}, "login", "--issuer", issuer, "--client", "tool")
	var shown testkit.Buffer
	tty, err := pty.Start(c)
	do(t, err)
	defer tty.Close()
	ended := make(chan error, 1)
	go func() {
		piece := make([]byte, 4096)
		for {
			n, err := tty.Read(piece)
			_, _ = shown.Write(piece[:n])
			if err != nil {
				ended <- c.Wait()
				return
			}
		}
	}()
	opened := await(t, &shown, func() string {
		b, _ := os.ReadFile(link)
		return linkPattern.FindString(string(b))
	})
	ctx := t.Context()
	do(t, b.Open(ctx, opened))
	text, err := b.Text(ctx)
	do(t, err)
	says(t, "the browser", text, "Access Denied.")

	_, err = tty.WriteString("\n") // else the code is offered after a minute
	do(t, err)
	code := await(t, &shown, func() string {
		if found := codePattern.FindStringSubmatch(shown.String()); found != nil {
			return strings.ReplaceAll(found[1], " ", "")
		}
		return ""
	})
	do(t, b.Open(ctx, issuer+"/device"))
	do(t, b.Fill(ctx, "Code", code))
	do(t, b.Click(ctx, "Continue"))
	do(t, b.WaitURL(ctx, func(u *url.URL) bool { return u.Query().Get("device") != "" }))
	do(t, stage.SignIn(ctx, b))
	do(t, b.WaitText(ctx, "Where this login was started"))
	do(t, b.Click(ctx, "Allow"))
	if text, err := b.Text(ctx); err == nil && strings.Contains(text, "Look again.") { // the browser came by the proxy's address
		do(t, b.Click(ctx, "Allow"))
	}
	select {
	case err := <-ended:
		if _, ok := err.(*exec.ExitError); ok || err != nil {
			t.Fatalf("the login: %v\n%s", err, shown.String())
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("the login does not end:\n%s", shown.String())
	}
	says(t, "the login", shown.String(), "Logged in", "device")
}

// await asks until there is an answer.
func await(t *testing.T, shown *testkit.Buffer, ask func() string) string {
	t.Helper()
	for begun := time.Now(); time.Since(begun) < 20*time.Second; time.Sleep(10 * time.Millisecond) {
		if s := ask(); s != "" {
			return s
		}
	}
	t.Fatalf("it does not come; shown was:\n%s", shown.String())
	return ""
}
