//go:build linux

package stores

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/store/sqlite"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// world is a server, what went by in front of it, and its person.
type world struct {
	*stage.Stage
	person *driver.Person

	signing sync.Mutex // one login at a time in the person's browser
	mu      sync.Mutex
	secrets map[string]map[string]string // by client: tokens that the server gave
	before  map[string]func()            // by client: called once, when a token request has come
}

// newWorld starts a server with clients of these names. Tokens of a client whose
// name begins with "brief" live as short as a config allows.
func newWorld(t *testing.T, clients ...string) *world {
	t.Helper()
	w := &world{secrets: map[string]map[string]string{}, before: map[string]func(){}}
	var conf bytes.Buffer
	for _, c := range clients {
		fmt.Fprintf(&conf, "- id: %s\n  name: Tool\n  redirect_uris: [\"http://127.0.0.1/callback\"]\n  grants: [authorization_code, refresh_token]\n"+
			"  dpop: required\n  handshake: none\n", c)
		if len(c) > 5 && c[:5] == "brief" {
			conf.WriteString("  lifetimes: {access: 30s}\n")
		}
	}
	var err error
	w.Stage, err = stage.New(t.Context(), os.Getenv(envPrograms), stage.Options{NoAPI: true, LogLevel: "warn", Clients: conf.String(), Between: w.between})
	do(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if t.Failed() {
			t.Logf("the server said:\n%s", w.Server.Stderr())
		}
		if err := w.Close(ctx); err != nil {
			t.Errorf("closing the stage: %v", err)
		}
	})
	w.person, err = driver.NewPerson(stage.Email, stage.Password, w.Client())
	do(t, err)
	return w
}

// between keeps the tokens that go by, and lets a test do something while a
// request for one is on its way.
func (w *world) between(server http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/oauth/token" {
			server.ServeHTTP(rw, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(string(body))
		client := form.Get("client_id")
		answer := &tee{ResponseWriter: rw, before: func(status int) {
			if status == http.StatusOK {
				w.passing(client)()
			}
		}}
		server.ServeHTTP(answer, r)
		var out struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		if json.Unmarshal(answer.body.Bytes(), &out) != nil || out.Access == "" {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.secrets[client] == nil {
			w.secrets[client] = map[string]string{}
		}
		n := len(w.secrets[client])
		w.secrets[client][fmt.Sprintf("access token %d", n)] = out.Access
		w.secrets[client][fmt.Sprintf("refresh token %d", n)] = out.Refresh
	})
}

// passing takes what is to be done now.
func (w *world) passing(client string) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.before[client]
	delete(w.before, client)
	if f == nil {
		return func() {}
	}
	return f
}

// whileRenewing has f called when the server has renewed for the client and the
// answer is not there yet.
func (w *world) whileRenewing(client string, f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before[client] = f
}

// tokens gives what the server gave to the client so far.
func (w *world) tokens(client string) map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]string{}
	for k, v := range w.secrets[client] {
		out[k] = v
	}
	return out
}

type tee struct {
	http.ResponseWriter
	body   bytes.Buffer
	before func(status int)
}

// WriteHeader lets the test do its part first.
func (t *tee) WriteHeader(status int) {
	t.before(status)
	t.ResponseWriter.WriteHeader(status)
}

// Write keeps what is written.
func (t *tee) Write(p []byte) (int, error) {
	t.body.Write(p)
	return t.ResponseWriter.Write(p)
}

// allow opens a login's link and presses every button until none is left.
func (w *world) allow(ctx context.Context, link string) error {
	w.signing.Lock()
	defer w.signing.Unlock()
	page, err := w.person.Get(ctx, link)
	for range 10 {
		switch {
		case err != nil:
			return err
		case page.Back != nil: // to another place
			page, err = w.person.Get(ctx, page.Back.String())
		case len(page.Forms) == 0:
			if page.Status != http.StatusOK {
				err = fmt.Errorf("it ended at %s with %d: %s", page.URL.Path, page.Status, page.Text)
			}
			return err
		default:
			page, err = w.press(ctx, page)
		}
	}
	return errors.New("the pages go round in circles")
}

func (w *world) press(ctx context.Context, page *driver.Page) (*driver.Page, error) {
	for _, f := range page.Forms {
		switch {
		case f.Has("Password"):
			return w.person.Submit(ctx, f, "Sign in", map[string]string{"Email": stage.Email, "Password": stage.Password})
		case f.HasButton("Allow"):
			return w.person.Submit(ctx, f, "Allow", nil)
		}
	}
	return w.person.Submit(ctx, page.Forms[0], "", nil) // back to the tool
}

// records reads the server's audit log, beside the server.
func (w *world) records(t *testing.T) []event.Record {
	t.Helper()
	st, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(w.Data(), "keytether.db")})
	do(t, err)
	defer st.Close()
	n, err := st.Size(t.Context(), store.DefaultTenant)
	do(t, err)
	var out []event.Record
	do(t, st.Leaves(t.Context(), store.DefaultTenant, 0, n, func(l store.Leaf) error {
		leaf, err := audit.DecodeLeaf(l.Data)
		out = append(out, leaf.Record)
		return err
	}))
	return out
}

// count counts the records of one name about a grant.
func (w *world) count(t *testing.T, grant string, name event.Name) (n int) {
	t.Helper()
	for _, r := range w.records(t) {
		if r.Grant == grant && r.Name == name {
			n++
		}
	}
	return n
}

// noAlarm fails the test if the server took a token for a stolen one.
func (w *world) noAlarm(t *testing.T) {
	t.Helper()
	for _, r := range w.records(t) {
		if r.Name == event.RefreshReused {
			t.Errorf("a reuse alarm: %+v", r)
		}
	}
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}
