package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

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
	rec := &recorder{}
	st := ownStage(t, stage.Options{TLS: tls, LogLevel: "debug", Between: rec.between})
	m := machine(t, st)
	agent, err := m.StartAgent(t.Context())
	do(t, err)
	b := chromium(t, st, browser.Options{})
	seen := watchProcesses(t)

	logIn(t, m, b, "--resource", st.Resource, "--scope", "read", "--scope", "write")
	u := reports(st)
	h := headers(t, m, http.MethodGet, u)
	rec.add("proof for the API", h.Get("Dpop"))
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

	secrets := rec.all(t)
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
	for kept, roots := range map[keeper][]string{
		nobody:  {m.Home.Dir, st.Data(), b.Profile()},
		chrome:  {m.Home.Dir, st.Data()},
		storage: {m.Home.Dir, b.Profile()},
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
	findsPlanted(t, m, secrets[nobody], scan, &logged)
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
	seen := watchProcesses(t)
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

// keeper is who may write something down.
type keeper int

const (
	nobody keeper = iota
	// chrome: a browser has to keep cookies, and remembers where it was and what
	// form it sent there last: a request's handle, the listener's signed answer, a
	// form's token. Without the cookies beside them they are worth nothing.
	chrome
	// storage: the server gives state and the ID token's nonce back to who sent
	// them. They grant nothing.
	storage
)

// kinds are what is looked for, who may keep it, and how many must have gone by
// for the search to mean anything.
var kinds = map[string]struct {
	keeper keeper
	least  int
}{
	"access_token": {nobody, 3}, "refresh_token": {nobody, 3}, "id_token": {nobody, 2}, "code": {nobody, 2},
	"code_verifier": {nobody, 2}, "handshake_nonce": {nobody, 2}, "password": {nobody, 1},
	"proof": {nobody, 6}, "proof for the API": {nobody, 1}, "DPoP-Nonce": {nobody, 1}, "token": {nobody, 0}, "client_assertion": {nobody, 1},
	"csrf": {chrome, 4}, "cookie": {chrome, 3}, "request_uri": {chrome, 3}, "handshake": {chrome, 2},
	"state": {storage, 3}, "nonce": {storage, 2},
}

// recorder stands between everybody and the server, and knows every secret: the
// agent's and the browser's requests go through it, and what they are answered.
type recorder struct {
	mu   sync.Mutex
	seen map[string]string // value -> kind
}

func (r *recorder) add(kind, v string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]string{}
	}
	if v != "" && r.seen[v] == "" {
		r.seen[v] = kind
	}
}

// all gives what was collected, by who may keep it and under a name, and wants
// enough of every kind.
func (r *recorder) all(t *testing.T) map[keeper]map[string]string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	out, n := map[keeper]map[string]string{nobody: {}, chrome: {}, storage: {}}, map[string]int{}
	for v, kind := range r.seen {
		n[kind]++
		out[kinds[kind].keeper][fmt.Sprintf("%s %d", kind, n[kind])] = v
	}
	for kind, k := range kinds {
		if n[kind] < k.least {
			t.Errorf("%d secrets of the kind %s went by, want at least %d; all: %v", n[kind], kind, k.least, n)
		}
	}
	return out
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([a-z_]+)" value="([^"]*)"`)

func (r *recorder) between(server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, err := io.ReadAll(q.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		q.Body = io.NopCloser(bytes.NewReader(body))
		r.add("proof", q.Header.Get("DPoP"))
		if _, token, ok := strings.Cut(q.Header.Get("Authorization"), " "); ok {
			r.add("access_token", token)
		}
		form, _ := url.ParseQuery(string(body))
		r.form(form)
		r.form(q.URL.Query())
		if q.URL.Path == "/oauth/revocations" { // a stream without secrets
			server.ServeHTTP(w, q)
			return
		}
		t := &tee{ResponseWriter: w}
		server.ServeHTTP(t, q)
		r.add("DPoP-Nonce", w.Header().Get("DPoP-Nonce"))
		for _, c := range (&http.Response{Header: w.Header()}).Cookies() {
			r.add("cookie", c.Value)
		}
		r.answer(t.body.Bytes())
	})
}

func (r *recorder) form(f url.Values) {
	for name := range f {
		if _, ok := kinds[name]; ok {
			r.add(name, f.Get(name))
		}
	}
}

func (r *recorder) answer(body []byte) {
	var doc map[string]any
	if json.Unmarshal(body, &doc) == nil {
		for name, v := range doc {
			if text, ok := v.(string); ok && kinds[name].least > 0 {
				r.add(name, text)
			}
		}
		return
	}
	for _, m := range hidden.FindAllSubmatch(body, -1) {
		r.form(url.Values{string(m[1]): {string(m[2])}})
	}
}

// tee keeps a copy of the answer.
type tee struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (t *tee) Write(p []byte) (int, error) {
	t.body.Write(p)
	return t.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (t *tee) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// watchProcesses reads arguments and environment of every process of this
// machine, over and over. The function that it returns ends that, wants some
// processes to have been seen, and gives all that was read.
func watchProcesses(t *testing.T) func(*testing.T, []int) []byte {
	ctx, stop := context.WithCancel(t.Context())
	pids, texts := map[int]bool{}, map[string]bool{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			entries, _ := os.ReadDir("/proc")
			for _, e := range entries {
				pid, err := strconv.Atoi(e.Name())
				if err != nil {
					continue
				}
				for _, what := range []string{"cmdline", "environ"} {
					data, err := os.ReadFile(filepath.Join("/proc", e.Name(), what))
					if err == nil && len(data) > 0 {
						texts[string(data)] = true
						pids[pid] = true
					}
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return func(t *testing.T, want []int) []byte {
		t.Helper()
		stop()
		<-done
		for _, pid := range want {
			if !pids[pid] {
				t.Errorf("process %d was never looked at", pid)
			}
		}
		return []byte(strings.Join(slices.Collect(maps.Keys(texts)), "\n"))
	}
}
