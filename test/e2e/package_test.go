package e2e

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/stage"
	"github.com/keytether/keytether/login"
)

// TestGoPackage logs in from a Go program by package login: first for an account
// that then does not sign in, which leaves no login and no grant, then for the
// one that does; and calls the API by the RoundTripper.
func TestGoPackage(t *testing.T) {
	st := ownStage(t, stage.Options{})
	m := machine(t, st)
	b := chromium(t, st, browser.Options{})
	_, err := m.StartAgent(t.Context())
	do(t, err)
	c, err := login.New(login.Options{Resource: st.Resource, Scope: "read", Socket: filepath.Join(m.Home.Dir, "run", "keytether", "agent.sock")})
	do(t, err)
	attempt := func(hint string) (login.Account, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		return c.Login(ctx, login.LoginOptions{Issuer: st.Issuer, LoginHint: hint, Flow: login.FlowBrowser, Opener: func(ctx context.Context, link string) error {
			err := b.Open(ctx, link)
			if n, _ := b.Count(ctx, "Sign in"); err == nil && n > 0 {
				err = stage.SignIn(ctx, b)
			}
			if err == nil {
				err = stage.Decide(ctx, b, "Allow")
			}
			return err
		}}, nil)
	}

	_, err = attempt("other@example.test")
	if !errors.Is(err, login.ErrDenied) || !strings.Contains(err.Error(), "account") {
		t.Errorf("another account than was asked for: %v", err)
	}
	if _, err := c.RoundTripper(nil).RoundTrip(get(t, reports(st))); !errors.Is(err, login.ErrNotLoggedIn) {
		t.Errorf("a call without a login: %v", err)
	}
	do(t, b.Open(t.Context(), st.Issuer+"/me"))
	do(t, b.WaitText(t.Context(), "No tool can act for you at the moment"))

	who, err := attempt(stage.Email)
	do(t, err)
	if who.Subject == "" {
		t.Errorf("logged in as %+v", who)
	}
	resp, err := c.RoundTripper(nil).RoundTrip(get(t, reports(st)))
	do(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	do(t, err)
	if resp.StatusCode != http.StatusOK || !strings.Contains(string(body), who.Subject) {
		t.Errorf("the API answered %d: %s", resp.StatusCode, body)
	}
	if out := quickstart(t, st, m); !strings.Contains(out, who.Subject) {
		t.Errorf("the quickstart printed %s", out)
	}
}

// quickstart runs the example that README.md shows, at the stage's API.
func quickstart(t *testing.T, st *stage.Stage, m *stage.Machine) string {
	t.Helper()
	text, err := os.ReadFile("../../examples/go/quickstart/main.go")
	do(t, err)
	dir := t.TempDir()
	file, program := filepath.Join(dir, "main.go"), filepath.Join(dir, "quickstart")
	do(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(text), "http://127.0.0.1:8431", st.Resource)), 0o600))
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, file).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := exec.CommandContext(t.Context(), program)
	c.Env = m.Home.Env
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("the quickstart: %v", err)
	}
	return string(out)
}

func get(t *testing.T, u string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
	do(t, err)
	return req
}
