//go:build linux

package tools

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keytether/keytether/internal/testkit/leak"
)

// least is how many of each kind must have gone by for the search to mean anything.
var least = map[string]int{"access_token": 9, "refresh_token": 8, "device_code": 6, "proof": 14, "proxy's secret": 1, "key": 2}

// nothingLeft looks for every secret of the run in all that the person's programs wrote, the
// server's data, and what everybody logged.
func nothingLeft(t *testing.T, w *world) {
	t.Helper()
	secrets, n := w.rec.Secrets()
	values := map[string][]byte{}
	for name, v := range secrets[leak.Nobody] {
		values[name] = []byte(v)
	}
	for kind, want := range least {
		if n[kind] < want {
			t.Errorf("%d of the kind %s went by, want at least %d: %v", n[kind], kind, want, n)
		}
	}
	s, err := leak.New(values)
	do(t, err)
	hits, files, err := s.Files(w.st.Home.Dir, w.st.Data())
	do(t, err)
	if files < 30 {
		t.Errorf("only %d files were looked at", files)
	}
	for what, text := range map[string]string{"the agent's log": w.agent.Stderr(), "the server's log": w.st.Server.Stderr() + w.st.Server.Stdout()} {
		hits = append(hits, s.Bytes(what, []byte(text))...)
	}
	for _, hit := range hits {
		t.Errorf("found %s", hit)
	}
	// It would have been found.
	planted := filepath.Join(w.work, "planted")
	for _, v := range values {
		do(t, os.WriteFile(planted, append([]byte("machine x password "), v...), 0o600))
		hits, _, err := s.Files(w.work)
		do(t, err)
		if len(hits) != 1 || hits[0].Where != planted {
			t.Errorf("planted, and found in %v", hits)
		}
		break
	}
	do(t, os.Remove(planted))
}
