//go:build linux

package day

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit/leak"
)

// Four processes make a hundred calls, over more than one life of the token.
const (
	processes = 4
	calls     = 25
	every     = "1.35"
)

// TestDay plays the day and looks for what it left.
//
// Invariant: SC-8
func TestDay(t *testing.T) {
	began := time.Now()
	watch := &leak.Watch{Asked: "DAY_TOKEN"}
	watch.Start()
	w := newWorld(t)
	w.logIn(t)

	scripts := w.callAPI(t)
	w.exec(t)
	w.git(t, "morning", "git clone -q "+w.url["git"]+"/reports.git")
	w.pip(t)
	ask := w.proxy(t)
	ask("before")
	time.Sleep(tokenLife/2 - time.Since(began)%time.Second) // some calls, before the agent dies
	w.agent.Kill()
	ask("after the agent was killed")
	w.git(t, "afternoon", "")
	if out, _ := w.sh(t, "keytether status --json"); strings.Count(out, `"keychain"`) < 3 {
		t.Errorf("after the agent was killed: %s", out)
	}
	for i, c := range scripts {
		if err := c.Wait(); err != nil {
			t.Errorf("process %d: %v", i, err)
		}
		if got := strings.TrimSpace(c.Stdout.(fmt.Stringer).String()); got != fmt.Sprint(calls) {
			t.Errorf("process %d made %s calls of %d\n%s", i, got, calls, c.Stderr)
		}
	}
	careless := w.careless(t)
	w.sh(t, "keytether logout --all")
	if out, _ := w.sh(t, "keytether whoami || test $? = 3"); out != "" {
		t.Errorf("after the logout: %s", out)
	}
	w.keep(t, "agent-1.log", w.agent.Stderr())
	w.keep(t, "server.log", w.st.Server.Stdout()+w.st.Server.Stderr())
	w.search(t, watch, careless, began)
}

// callAPI starts the processes: half use requests, half httpx.
func (w *world) callAPI(t *testing.T) []*exec.Cmd {
	t.Helper()
	var out []*exec.Cmd
	for i := range processes {
		c := w.script(t, "calls.py", []string{"requests", "httpx"}[i%2], w.url["api"], fmt.Sprint(calls), every, filepath.Join(w.logs, fmt.Sprintf("python-%d.log", i)))
		c.Stdout, c.Stderr = &strings.Builder{}, &strings.Builder{}
		do(t, c.Start())
		out = append(out, c)
	}
	return out
}

func (w *world) script(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	do(t, err)
	return w.command(t.Context(), py.Python, append([]string{path}, args...)...)
}

// exec runs a child that says its token wherever it can.
func (w *world) exec(t *testing.T) {
	t.Helper()
	c := w.script(t, "child.py", w.url["api"], filepath.Join(w.logs, "child.log"))
	c.Args = append([]string{"keytether", "exec", "--env", "DAY_TOKEN", "--"}, c.Args...)
	c.Path = filepath.Join(bin, "keytether")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("exec: %v\n%s", err, out)
	}
	if n := strings.Count(string(out), "[redacted]"); n < 3 || !strings.Contains(string(out), "two reports") {
		t.Errorf("exec masked %d tokens:\n%s", n, out)
	}
	w.keep(t, "exec.log", string(out))
}

// git commits and pushes, and traces all that git can trace.
func (w *world) git(t *testing.T, message, clone string) {
	t.Helper()
	at := "credential." + w.url["git"] + ".helper"
	var env []string
	for _, name := range []string{"GIT_TRACE", "GIT_TRACE_CURL", "GIT_TRACE_PACKET", "GIT_TRACE_SETUP"} {
		env = append(env, name+"="+filepath.Join(w.logs, strings.ToLower(name)+".log"))
	}
	if clone != "" {
		w.sh(t, "git config --global "+at+" ''\ngit config --global --add "+at+" '!keytether helper git'")
	}
	_, errs := w.sh(t, strings.Join([]string{
		clone, "cd reports", "git checkout -q -B main", "git -c user.name=Person -c user.email=person@example.test commit -q --allow-empty -m " + message,
		"git push -v origin main",
	}, "\n"), env...)
	w.keep(t, "git-"+message+".log", errs)
	trace, err := os.ReadFile(filepath.Join(w.logs, "git_trace_curl.log"))
	if err != nil || !strings.Contains(string(trace), "Authorization: Basic <redacted>") {
		t.Errorf("git's trace shows no credential that it left out: %v", err)
	}
	if out, _ := w.sh(t, "git -C "+filepath.Join(w.st.Dir, "repositories", "reports.git")+" log --format=%s main"); !strings.Contains(out, message) {
		t.Errorf("pushed: %s", out)
	}
}

// pip downloads a package, with the token that the keyring backend gives.
func (w *world) pip(t *testing.T) {
	t.Helper()
	out, errs := w.sh(t, "python -m pip download -vvv --no-deps --log "+w.logs+"/pip.log --dest packages --index-url "+
		strings.Replace(w.url["pypi"], "//", "//keytether@", 1)+"/simple reports && ls packages")
	if !strings.Contains(out, "reports-1.0-py3-none-any.whl") {
		t.Errorf("pip: %s%s", out, errs)
	}
	w.keep(t, "pip-output.log", out+errs)
}

// proxy starts both kinds of proxy. What it gives has curl and urllib ask by them.
func (w *world) proxy(t *testing.T) func(when string) {
	t.Helper()
	type ready struct{ URL, Socket, Secret string }
	start := func(args ...string) (r ready) {
		c := w.command(t.Context(), filepath.Join(bin, "keytether"), append([]string{"proxy", "--json", "--resource", w.url["api"]}, args...)...)
		out, err := c.StdoutPipe()
		do(t, err)
		c.Stderr = &strings.Builder{}
		do(t, c.Start())
		t.Cleanup(func() {
			_ = c.Process.Signal(os.Interrupt)
			_ = c.Wait()
		})
		line, err := bufio.NewReader(out).ReadBytes('\n')
		if err != nil {
			t.Fatalf("proxy: %v %s", err, c.Stderr)
		}
		do(t, json.Unmarshal(line, &r))
		return r
	}
	socket, port := start(), start("--listen", "127.0.0.1:0")
	w.rec.Add("proxy's secret", port.Secret)
	return func(when string) {
		t.Helper()
		out, errs := w.sh(t, "curl -sSfv --unix-socket "+socket.Socket+" http://api/reports")
		c := w.command(t.Context(), py.Python, "-c", "import sys, urllib.request as u\n"+
			"print(u.urlopen(u.Request(sys.argv[1] + '/reports', headers={'Authorization': 'Bearer ' + input()})).read().decode())", port.URL)
		c.Stdin = strings.NewReader(port.Secret + "\n")
		more, err := c.CombinedOutput()
		if err != nil || strings.Count(out+string(more), "two reports") != 2 {
			t.Errorf("proxy %s: %v %s%s%s", when, err, out, errs, more)
		}
		w.keep(t, "curl-"+strings.ReplaceAll(when, " ", "-")+".log", out+errs+string(more))
	}
}

// careless makes one call without the filter, with a log in a folder of its own, to
// show that both searches find what is left.
func (w *world) careless(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(w.st.Dir, "careless")
	do(t, os.Mkdir(dir, 0o700))
	if out, err := w.script(t, "calls.py", "requests", w.url["api"], "1", "0", filepath.Join(dir, "python.log"), "--careless").CombinedOutput(); err != nil {
		t.Fatalf("careless: %v\n%s", err, out)
	}
	return dir
}
