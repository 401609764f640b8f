//go:build linux

package tools

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/keytether/keytether/internal/testkit/leak"
)

// recorder stands between everybody and the server, and knows every secret that it gave out, and
// those that the test's own servers saw.
type recorder struct {
	mu   sync.Mutex
	seen map[string]string // value -> kind
}

// least is how many of each kind must have gone by for the search to mean anything.
var least = map[string]int{"access_token": 9, "refresh_token": 8, "device_code": 6, "proof": 14, "proxy's secret": 1, "key": 2}

func (r *recorder) add(kind, v string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]string{}
	}
	if v != "" {
		r.seen[v] = kind
	}
}

func (r *recorder) between(server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.add("proof", q.Header.Get("DPoP"))
		if q.Method != http.MethodPost {
			server.ServeHTTP(w, q)
			return
		}
		t := &tee{ResponseWriter: w}
		server.ServeHTTP(t, q)
		var doc map[string]any
		if json.Unmarshal(t.body.Bytes(), &doc) != nil {
			return
		}
		for _, kind := range []string{"access_token", "refresh_token", "id_token", "device_code"} {
			if v, ok := doc[kind].(string); ok {
				r.add(kind, v)
			}
		}
	})
}

// tee keeps a copy of the answer.
type tee struct {
	http.ResponseWriter
	body bytes.Buffer
}

// Write writes to both.
func (t *tee) Write(p []byte) (int, error) {
	t.body.Write(p)
	return t.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController.
func (t *tee) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// nothingLeft looks for every secret of the run in all that the person's programs wrote, the
// server's data, and what everybody logged.
func nothingLeft(t *testing.T, w *world) {
	t.Helper()
	w.rec.mu.Lock()
	values, n := map[string][]byte{}, map[string]int{}
	for v, kind := range w.rec.seen {
		n[kind]++
		values[fmt.Sprintf("%s %d", kind, n[kind])] = []byte(v)
	}
	w.rec.mu.Unlock()
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
