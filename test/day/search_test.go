//go:build linux

package day

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/scan"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/testkit/leak"
)

// least is how many of each kind must have gone by for the search to mean anything.
var least = map[string]int{
	"access_token": 8, "refresh_token": 6, "code": 1, "code_verifier": 1, "device_code": 2, "handshake_nonce": 1, "password": 1,
	"proof": processes*calls + 10, "DPoP-Nonce": 1, "proxy's secret": 1, "csrf": 2, "cookie": 2, "request_uri": 1, "handshake": 1, "state": 1,
}

// search looks in all places, by a plain search and by scan.
func (w *world) search(t *testing.T, watch *leak.Watch, careless string, began time.Time) {
	t.Helper()
	home := w.st.Home.Dir
	pids := []int{w.agent.PID(), w.st.Server.PID(), w.browser.PID()}
	do(t, w.browser.Close())
	seen := watch.Stop()
	for _, pid := range pids {
		if !watch.Seen(pid) {
			t.Errorf("process %d was never looked at", pid)
		}
	}
	if watch.AskedFor() == 0 {
		t.Error("the token in the environment that --env asked for was never seen: then another one would not have been either")
	}
	secrets, n := w.rec.Secrets()
	for kind, want := range least {
		if n[kind] < want {
			t.Errorf("%d of the kind %s went by, want at least %d: %v", n[kind], kind, want, n)
		}
	}
	roots := []string{home, w.st.Data(), filepath.Join(w.st.Dir, "repositories"), w.bus.Home.Dir}
	profile := w.browser.Profile()
	for kept, roots := range map[leak.Keeper][]string{
		leak.Nobody: append([]string{profile}, roots...), leak.Chrome: roots, leak.Storage: {home, profile, w.bus.Home.Dir},
	} {
		s := scanner(t, secrets[kept])
		hits, files, err := s.Files(roots...)
		do(t, err)
		if files < 50 {
			t.Errorf("only %d files were looked at in %q", files, roots)
		}
		hits = append(hits, s.Bytes("arguments and environments", seen)...)
		hits = append(hits, s.Bytes("the journal", journal(t, began))...)
		for _, hit := range hits {
			t.Errorf("found %s", hit)
		}
	}
	noCores(t, w.st.Dir)

	// The browser remembers where it was, so only the handle of a request is there.
	report := w.scan(t, 0, roots...)
	if report.Files < 50 || len(report.Unread) > 0 {
		t.Errorf("scan looked at %d files, and not at %v", report.Files, report.Unread)
	}
	for _, f := range w.scan(t, -1, profile).Findings {
		if f.Kind != scan.RequestURI {
			t.Errorf("scan found %s in %s", f.Kind, f.Source)
		}
	}
	w.scanMachine(t, secrets)

	// Both would have found it.
	hits, _, err := scanner(t, secrets[leak.Nobody]).Files(careless)
	do(t, err)
	found := map[string]bool{}
	for _, hit := range hits {
		kind, _, _ := strings.Cut(hit.Secret, " ")
		found[kind] = true
	}
	if !found["access_token"] || !found["proof"] {
		t.Errorf("a careless program logged its token, and the search found %v", hits)
	}
	if got := w.scan(t, 1, careless).Findings; len(got) == 0 || got[0].Kind != scan.AccessToken {
		t.Errorf("a careless program logged its token, and scan found %v", got)
	}
}

func scanner(t *testing.T, secrets map[string]string) *leak.Scanner {
	t.Helper()
	values := map[string][]byte{}
	for name, v := range secrets {
		values[name] = []byte(v)
	}
	s, err := leak.New(values)
	do(t, err)
	return s
}

// scan runs `keytether scan`. A code of -1 is any.
func (w *world) scan(t *testing.T, code int, paths ...string) scan.Report {
	t.Helper()
	r, err := w.st.Run(t.Context(), append([]string{"scan", "--json"}, paths...)...)
	if err != nil || code >= 0 && r.Code != code {
		t.Errorf("scan %q: %v, code %d, want %d\n%s%s", paths, err, r.Code, code, r.Stdout, r.Stderr)
	}
	var report scan.Report
	do(t, json.Unmarshal([]byte(r.Stdout), &report))
	return report
}

// scanMachine scans what scan takes for a person's places. Among them are folders for
// temporary files that others use as well, so only what is of this run counts.
func (w *world) scanMachine(t *testing.T, secrets map[leak.Keeper]map[string]string) {
	t.Helper()
	of := map[string]string{}
	for _, some := range secrets {
		for name, v := range some {
			of[scan.Fingerprint(secret.New(v))] = name
		}
	}
	report := w.scan(t, -1)
	for _, f := range report.Findings {
		// The careless program's log, and the browser's history, lie in /tmp in this test.
		own := !strings.HasPrefix(f.Source, w.st.Dir) || strings.HasPrefix(f.Source, w.st.Home.Dir)
		if name := of[f.Fingerprint]; name != "" && own {
			t.Errorf("scan without a path found %s in %s", name, f.Source)
		}
	}
	if report.Files == 0 {
		t.Error("scan without a path looked at no file")
	}
}

// journal is what the system's journal took down meanwhile, where there is one.
func journal(t *testing.T, since time.Time) []byte {
	t.Helper()
	path, err := exec.LookPath("journalctl")
	if err != nil {
		return nil
	}
	out, err := exec.CommandContext(t.Context(), path, "--quiet", "--no-pager", "--output", "export", "--since", fmt.Sprintf("@%d", since.Unix())).Output()
	if err != nil {
		return nil
	}
	return bytes.TrimSpace(out)
}

// noCores wants no core dump below a folder.
func noCores(t *testing.T, root string) {
	t.Helper()
	do(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		head := make([]byte, 18)
		if n, _ := f.Read(head); n == len(head) && string(head[:4]) == "\x7fELF" && head[16] == 4 { // ET_CORE
			t.Errorf("%s is a core dump", path)
		}
		return nil
	}))
}
