//go:build linux

package tools

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/verify"
)

// sampleAPI is guarded by package verify, which wants a proof with a nonce at every request.
type sampleAPI struct {
	mu     sync.Mutex
	tokens map[string]bool // that were good
	last   string
	steps  chan bool // lets the stream go on
	away   string
}

// api serves the sample API.
func (w *world) api(t *testing.T) *sampleAPI {
	t.Helper()
	a := &sampleAPI{tokens: map[string]bool{}, steps: make(chan bool)}
	v := w.guard(t, plain, verify.New)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /reports", func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "a report\n") })
	mux.HandleFunc("PUT /upload", func(rw http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		if n, err := io.Copy(h, r.Body); err != nil {
			http.Error(rw, fmt.Sprintf("after %d bytes: %v", n, err), http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(rw, hex.EncodeToString(h.Sum(nil)))
	})
	mux.HandleFunc("GET /stream", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Length", "21") // of a known length too it comes in pieces
		for range 3 {
			_, _ = io.WriteString(rw, "a line\n")
			_ = http.NewResponseController(rw).Flush()
			select {
			case <-a.steps:
			case <-r.Context().Done():
				return
			}
		}
	})
	mux.HandleFunc("GET /away", func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, a.away, http.StatusFound) })
	mux.HandleFunc("GET /within", func(rw http.ResponseWriter, r *http.Request) {
		http.Redirect(rw, r, w.url[plain]+"/reports", http.StatusFound)
	})
	guarded := v.Require("use")(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		a.mu.Lock()
		a.tokens[token], a.last = true, token
		a.mu.Unlock()
		mux.ServeHTTP(rw, r)
	}))
	w.serve(t, plain, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.rec.Add("proof", r.Header.Get("DPoP"))
		guarded.ServeHTTP(rw, r)
	}))
	return a
}

// proxyReady is what a proxy says when it answers.
type proxyReady struct{ URL, Socket, Secret string }

// startProxy starts the command line of the guide, with --json and what is more.
func (w *world) startProxy(t *testing.T, line string, more ...string) proxyReady {
	t.Helper()
	args := append(strings.Fields(w.replaced(t, line, plain, "https://api.example.com"))[1:], more...)
	p, err := testkit.StartProcess(testkit.Command{Path: filepath.Join(w.links, "keytether"), Args: append(args, "--json", "--profile", plain), Env: w.env(), Dir: w.work})
	do(t, err)
	t.Cleanup(func() { _ = p.Stop(context.Background()) })
	for begun := time.Now(); !strings.Contains(p.Stdout(), "\n"); {
		if time.Since(begun) > 10*time.Second {
			t.Fatalf("the proxy does not start: %s", p.Stderr())
		}
		do(t, sleep(t, 5*time.Millisecond))
	}
	var ready proxyReady
	do(t, json.Unmarshal([]byte(p.Stdout()), &ready))
	w.rec.Add("proxy's secret", ready.Secret)
	return ready
}

// testProxy puts curl and Python's urllib in front of an API that wants a proof with a nonce at each
// request, through a socket and through a port.
func testProxy(t *testing.T, w *world) {
	a := w.api(t)
	other := a.elsewhere(t)
	socket := w.startProxy(t, lineWith(t, guide(t, "sh", "--unix-socket"), "keytether proxy"), "--socket", filepath.Join(w.work, "p.sock"))
	port := w.startProxy(t, strings.Replace(lineWith(t, guide(t, "sh", "--listen"), "--listen"), ":8080", ":0", 1))
	curl := func(t *testing.T, args ...string) result {
		t.Helper()
		r := runs(t, w.command(t, w.work, "curl", append([]string{"-sS", "--max-time", "50"}, args...)...))
		return r
	}
	want := func(t *testing.T, r result, out string) {
		t.Helper()
		if r.code != 0 || r.out != out {
			t.Errorf("code %d, %.300q, want %.300q\n%s", r.code, r.out, out, r.errs)
		}
	}
	both := map[string][]string{
		"socket": {"--unix-socket", socket.Socket, "http://api"},
		"port":   {"-u", "x:" + port.Secret, port.URL},
	}
	at := func(way, path string) []string {
		args := append([]string{}, both[way]...)
		args[len(args)-1] += path
		return args
	}
	// The first requests of all are large: no nonce is known yet, and a body can be sent once.
	big := filepath.Join(w.work, "big")
	sum := random(t, big, 64<<20)
	want(t, curl(t, append(at("socket", "/upload"), "-T", big)...), sum)
	chunked := w.command(t, w.work, "/bin/sh", "-c", `exec curl -sS --max-time 50 -T - "$@" <`+big, "sh")
	chunked.Args = append(chunked.Args, at("port", "/upload")...)
	want(t, runs(t, chunked), sum)
	do(t, os.Remove(big))
	t.Run("a token that expires", func(t *testing.T) {
		t.Parallel()
		want(t, curl(t, at("port", "/reports")...), "a report\n")
		before := a.good()
		for begun := time.Now(); time.Since(begun) < 31*time.Second; { // tokens live 30 seconds here
			want(t, curl(t, at("port", "/reports")...), "a report\n")
			do(t, sleep(t, time.Second))
		}
		if n := len(a.good()) - len(before); before[a.token()] || n < 2 {
			t.Errorf("%d other tokens in 31 seconds", n)
		}
	})
	t.Run("meanwhile", func(t *testing.T) {
		t.Parallel()
		for way := range both {
			t.Run(way, func(t *testing.T) {
				want(t, curl(t, at(way, "/reports")...), "a report\n")
				want(t, curl(t, append(at(way, "/within"), "-L")...), "a report\n")
				want(t, curl(t, append(at(way, "/away"), "-o", os.DevNull, "-w", "%{redirect_url}")...), a.away)
				a.stream(t, w.command(t, w.work, "curl", append(at(way, "/stream"), "-sSN", "--max-time", "10")...))
			})
		}
		// By a socket curl goes to no other host; by a port it does, and takes nothing along.
		want(t, curl(t, append(at("port", "/away"), "-L")...), "elsewhere\n")
		if n := other(); n != 1 {
			t.Errorf("%d requests came to the other host, want 1", n)
		}
		t.Run("who may ask", func(t *testing.T) {
			for _, args := range [][]string{{port.URL + "/reports"}, {"-u", "x:y", port.URL + "/reports"}} {
				want(t, curl(t, append(args, "-o", os.DevNull, "-w", "%{http_code}")...), "401")
			}
		})
		t.Run("urllib", func(t *testing.T) {
			c := w.command(t, w.work, "/usr/bin/python3", "-c", `import json, sys, urllib.request
p = json.load(sys.stdin)
q = urllib.request.Request(p["URL"] + "/reports", headers={"Authorization": "Bearer " + p["Secret"]})
sys.stdout.write(urllib.request.urlopen(q).read().decode())`)
			text, err := json.Marshal(port)
			do(t, err)
			c.Stdin = strings.NewReader(string(text))
			want(t, runs(t, c), "a report\n")
		})
		t.Run("a token that was ended", func(t *testing.T) {
			do(t, sleep(t, 2*time.Second)) // so long an agent does not take a caller's word again
			w.revoke(t, "proving", a.token())
			for ended := time.Now(); time.Since(ended) < time.Second; {
				want(t, curl(t, at("socket", "/reports")...), "a report\n")
			}
		})
	})
}

// stream reads a line, and only then lets the API send the next one.
func (a *sampleAPI) stream(t *testing.T, c *exec.Cmd) {
	t.Helper()
	out, err := c.StdoutPipe()
	do(t, err)
	do(t, c.Start())
	lines := bufio.NewScanner(out)
	n := 0
	for lines.Scan() {
		n++
		select {
		case a.steps <- true:
		case <-time.After(10 * time.Second):
			t.Error("the API waits for nothing") // it has sent all, and we have seen less
			return
		}
	}
	if err := c.Wait(); err != nil || n != 3 {
		t.Errorf("%d lines were streamed: %v", n, err)
	}
}

// elsewhere is another host, to which the API redirects. It wants no credential, and no trace of
// one.
func (a *sampleAPI) elsewhere(t *testing.T) (asked func() int) {
	t.Helper()
	var mu sync.Mutex
	n := 0
	url := newServer(t, func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		mu.Unlock()
		for name, values := range r.Header {
			if text := strings.Join(values, " "); name == "Authorization" || name == "Dpop" || name == "Cookie" || strings.Contains(text, "eyJ") || strings.Contains(text, "kt") {
				t.Errorf("another host was sent %s", name)
			}
		}
		_, _ = io.WriteString(rw, "elsewhere\n")
	})
	a.away = url + "/landing"
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// token is the last that was good, and good are all of them.
func (a *sampleAPI) token() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

func (a *sampleAPI) good() map[string]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.tokens)
}

// random writes a file and gives its SHA-256.
func random(t *testing.T, path string, size int64) string {
	t.Helper()
	f, err := os.Create(path)
	do(t, err)
	h := sha256.New()
	_, err = io.CopyN(io.MultiWriter(f, h), rand.New(rand.NewSource(1)), size)
	do(t, errors.Join(err, f.Close()))
	return hex.EncodeToString(h.Sum(nil))
}
