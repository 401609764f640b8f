package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/keytether/keytether/internal/testkit/browser"
	"github.com/keytether/keytether/internal/testkit/leak"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// TestNothingLeaks logs in, calls, renews, exports the log and logs out, while
// everything logs all it can, and then looks for every secret that went by.
//
// Invariant: SC-1, AU-3
func TestNothingLeaks(t *testing.T) {
	for _, tls := range []bool{false, true} {
		t.Run(map[bool]string{false: "http", true: "https"}[tls], func(t *testing.T) { nothingLeaks(t, tls) })
	}
}

func nothingLeaks(t *testing.T, tls bool) {
	rec := &leak.Recorder{}
	st := ownStage(t, stage.Options{TLS: tls, LogLevel: "debug", Between: rec.Between})
	m := machine(t, st)
	agent, err := m.StartAgent(t.Context())
	do(t, err)
	b := chromium(t, st, browser.Options{})
	seen := watchProcesses()

	logIn(t, m, b, "--resource", st.Resource, "--scope", "read", "--scope", "write")
	u := reports(st)
	h := headers(t, m, http.MethodGet, u)
	rec.Add("proof for the API", h.Get("Dpop"))
	wantCall(t, st, "a call", u, h, http.StatusOK)
	wantCall(t, st, "a replay", u, h, http.StatusUnauthorized)
	keytether(t, m, 0, "token", "--scope", "read")
	do(t, b.Open(t.Context(), st.Issuer+"/me"))
	logIn(t, m, b, "--profile", "security", "--resource", st.Issuer+"/api/v1", "--scope", "admin")
	export := filepath.Join(m.Home.Dir, "audit.ndjson")
	keytether(t, m, 0, "audit", "export", "--profile", "security", "--out", export)
	shown := keytether(t, m, 0, "audit", "show", export)
	logged := [][]byte{[]byte(shown.Stdout)}
	keytether(t, m, 0, "status")
	keytether(t, m, 0, "logout", "--all")
	// A login that fails has as much to say.
	res := attempt(t, m, func(link string) error {
		return errors.Join(stage.Ask(t.Context(), b, link), stage.Decide(t.Context(), b, "Deny"))
	})
	logged = append(logged, []byte(res.Stderr), []byte(fmt.Sprint(res.Events)))
	do(t, b.Close())

	secrets := all(t, rec)
	processes := seen(t, []int{agent.PID(), st.Server.PID(), st.API.PID(), b.PID()})
	logged = append(logged, processes, []byte(agent.Stderr()), []byte(st.Server.Stdout()), []byte(st.Server.Stderr()), []byte(st.API.Stderr()))
	scan := func(what map[string]string, roots ...string) []leak.Hit {
		t.Helper()
		values := map[string][]byte{}
		for name, v := range what {
			values[name] = []byte(v)
		}
		s, err := leak.New(values)
		do(t, err)
		hits, files, err := s.Files(roots...)
		do(t, err)
		if files < 3*len(roots) {
			t.Errorf("only %d files were looked at in %q", files, roots)
		}
		for i, data := range logged {
			hits = append(hits, s.Bytes(fmt.Sprintf("log %d", i), data)...)
		}
		return hits
	}
	for kept, roots := range map[leak.Keeper][]string{
		leak.Nobody:  {m.Home.Dir, st.Data(), b.Profile()},
		leak.Chrome:  {m.Home.Dir, st.Data()},
		leak.Storage: {m.Home.Dir, b.Profile()},
	} {
		for _, hit := range scan(secrets[kept], roots...) {
			t.Errorf("found %s", hit)
		}
	}
	for _, root := range []string{m.Home.Dir, st.Data()} {
		for _, path := range holding(t, root, "PRIVATE KEY-----") {
			t.Errorf("a private key lies in %s", path)
		}
	}
	findsPlanted(t, m, secrets[leak.Nobody], scan, &logged)
}

// findsPlanted shows that a secret would have been found in each kind of place.
func findsPlanted(t *testing.T, m *stage.Machine, secrets map[string]string, scan func(map[string]string, ...string) []leak.Hit, logged *[][]byte) {
	t.Helper()
	for name, v := range secrets {
		path := filepath.Join(m.Home.Dir, "planted")
		do(t, os.WriteFile(path, []byte("x"+v+"y"), 0o600))
		if hits := scan(map[string]string{name: v}, m.Home.Dir); len(hits) != 1 || hits[0].Where != path {
			t.Errorf("%s was planted in a file, and found in %v", name, hits)
		}
		do(t, os.Remove(path))
	}
	name := slices.Sorted(maps.Keys(secrets))[0]
	seen := watchProcesses()
	c := exec.CommandContext(t.Context(), "sleep", "0.3")
	c.Env = []string{"TOKEN=" + secrets[name]}
	do(t, c.Start())
	pid := c.Process.Pid
	do(t, c.Wait())
	*logged = append(*logged, seen(t, []int{pid}))
	if hits := scan(map[string]string{name: secrets[name]}, m.Home.Dir); len(hits) != 1 {
		t.Errorf("%s was put into an environment, and found in %v", name, hits)
	}
}

// holding lists the files below root that hold some text.
func holding(t *testing.T, root, text string) (paths []string) {
	t.Helper()
	do(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(text)) {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}

// least is how many of each kind must have gone by for the search to mean anything.
var least = map[string]int{
	"access_token": 3, "refresh_token": 3, "id_token": 2, "code": 2, "code_verifier": 2, "handshake_nonce": 2, "password": 1,
	"proof": 6, "proof for the API": 1, "DPoP-Nonce": 1, "client_assertion": 1, "csrf": 4, "cookie": 3, "request_uri": 3, "handshake": 2,
	"state": 3, "nonce": 2,
}

// all gives what was collected, and wants enough of every kind.
func all(t *testing.T, rec *leak.Recorder) map[leak.Keeper]map[string]string {
	t.Helper()
	secrets, n := rec.Secrets()
	for kind, want := range least {
		if n[kind] < want {
			t.Errorf("%d secrets of the kind %s went by, want at least %d; all: %v", n[kind], kind, want, n)
		}
	}
	return secrets
}

// watchProcesses watches all processes. The function that it returns ends that,
// wants some processes to have been seen, and gives all that was read.
func watchProcesses() func(*testing.T, []int) []byte {
	w := &leak.Watch{}
	w.Start()
	return func(t *testing.T, want []int) []byte {
		t.Helper()
		text := w.Stop()
		for _, pid := range want {
			if !w.Seen(pid) {
				t.Errorf("process %d was never looked at", pid)
			}
		}
		return text
	}
}
