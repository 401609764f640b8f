package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit/browser"
)

// TestWhoAsks holds a login to a list in the config that lies beside it, and then has the person
// asked: real programs, the built command, and a config that changes while the agent runs.
//
// Invariant: WA-2, WA-5
func TestWhoAsks(t *testing.T) {
	st := plain.get(t)
	m := machine(t, st)
	logIn(t, m, chromium(t, st, browser.Options{}), "--resource", st.Resource, "--scope", "read")
	config := filepath.Join(m.Home.Dir, "home", ".config", "keytether", "config.yaml")
	remembered, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	write := func(rules string) {
		t.Helper()
		if err := os.WriteFile(config, append(bytes.Clone(remembered), rules...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const python = "/usr/bin/python3" // Debian's own: a link, where others put a script
	// token is keytether token, run by Python through a shell; how it ended, and what it said.
	token := func() (int, string) {
		t.Helper()
		c := exec.CommandContext(t.Context(), python, "-c", `
import subprocess, sys
sys.exit(subprocess.run("exec 3>&1; \"$0\" token >/dev/null; exit $?".replace("$0", sys.argv[1]), shell=True).returncode)`, filepath.Join(bin, "keytether"))
		c.Env, c.Dir = m.Home.Env, m.Home.Dir
		var errs bytes.Buffer
		c.Stderr = &errs
		if err := c.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
			t.Fatal(err)
		}
		return c.ProcessState.ExitCode(), errs.String()
	}
	keytether(t, m, 0, "token")
	write("    allow:\n      - executable: " + python + "\n")
	if code, said := token(); code != 0 {
		t.Errorf("Python is in the list, and got %d\n%s", code, said)
	}
	if r := keytether(t, m, 4, "token"); !strings.Contains(r.Stderr, "e2e.test through keytether may not use profile default") {
		t.Errorf("the refusal does not name who asked: %s", r.Stderr)
	}
	write("    allow:\n      - executable: /usr/bin/git\n      - executble: /usr/bin/env\n")
	if code, said := token(); code != 4 || !strings.Contains(said, "config.yaml:") {
		t.Errorf("with a config that is wrong: %d\n%s", code, said)
	}
	write("    confirm: true\n")
	asked := make(chan string, 1)
	go func() {
		code, said := token()
		asked <- strings.Repeat("!", code) + said
	}()
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(keytether(t, m, 0, "agent", "confirm", "--json").Stdout, `"waiting":true`) {
		if time.Now().After(deadline) {
			t.Fatal("nobody is asked")
		}
		time.Sleep(20 * time.Millisecond)
	}
	// The person's terminal.
	c := exec.CommandContext(t.Context(), "script", "-qec", filepath.Join(bin, "keytether")+" agent confirm", "/dev/null")
	c.Env, c.Dir = m.Home.Env, m.Home.Dir
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	// What is typed before the question answers nothing.
	var shown []byte
	piece := make([]byte, 4096)
	for n, err := 0, error(nil); err == nil; n, err = out.Read(piece) {
		shown = append(shown, piece[:n]...)
		if in != nil && bytes.Contains(shown, []byte("[y/N]")) {
			_, _ = in.Write([]byte("y\n"))
			in = nil
		}
	}
	if err := c.Wait(); err != nil || !bytes.Contains(shown, []byte("Allowed.")) || !bytes.Contains(shown, []byte("python3")) {
		t.Errorf("%v\n%s", err, shown)
	}
	if said := <-asked; said != "" {
		t.Errorf("after the person's yes: %s", said)
	}
	if s := keytether(t, m, 0, "status").Stdout; !strings.Contains(s, "python3") || !strings.Contains(s, "through keytether") || !strings.Contains(s, "1 refused") {
		t.Errorf("status: %s", s)
	}
	keytether(t, m, 0, "logout")
}
