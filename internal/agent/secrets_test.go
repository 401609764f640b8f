package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/peersock"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/leak"
)

// No type that crosses the socket can hold a refresh token or a key, by type or
// by name.
//
// Invariant: AG-4
func TestWireTypesHaveNoRoomForWhatStaysHere(t *testing.T) {
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type, string)
	walk = func(typ reflect.Type, path string) {
		if seen[typ] {
			return
		}
		seen[typ] = true
		if typ == reflect.TypeFor[secret.Value]() || typ == reflect.TypeFor[jws.Signer]() {
			t.Errorf("%s is a %s", path, typ)
		}
		switch typ.Kind() {
		case reflect.Struct:
			for f := range typ.Fields() {
				name := strings.ToLower(f.Name + f.Tag.Get("json"))
				for _, bad := range []string{"refresh", "private", "verifier", "id_token", "jwk"} {
					if strings.Contains(name, bad) {
						t.Errorf("%s.%s", path, f.Name)
					}
				}
				walk(f.Type, path+"."+f.Name)
			}
		case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Array:
			walk(typ.Elem(), path)
		}
	}
	for _, v := range []any{
		agentwire.Version{},
		agentwire.StatusResponse{},
		agentwire.Whoami{},
		agentwire.LogoutResponse{},
		agentwire.TokenResponse{},
		agentwire.AuthorizeResponse{},
		agentwire.ApprovalResponse{},
		agentwire.Empty{},
		agentwire.Error{},
		agentwire.Event{},
	} {
		walk(reflect.TypeOf(v), reflect.TypeOf(v).Name())
	}
}

// tap is a connection whose bytes are kept.
type tap struct {
	net.Conn
	all *testkit.Buffer
}

func (c tap) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	_, _ = c.all.Write(b[:n])
	return n, err
}

// Everything that the agent says on its socket during a whole life, and all that
// it writes anywhere: no refresh token, code, verifier, state, nonce or ID token.
//
// Invariant: AG-4
func TestNothingSecretLeavesTheAgent(t *testing.T) {
	state := t.TempDir()
	r := newRig(t, oauthclienttest.Keytether(), func(o *Options) {
		o.Log, o.StateDir, o.LogLevel = nil, state, slog.LevelDebug
	})
	var all testkit.Buffer
	plain := r.Client
	defer plain.Close()
	r.Client = agentwire.NewClient(func(ctx context.Context) (net.Conn, error) {
		c, err := peersock.Dial(ctx, r.socket)
		if err != nil {
			return nil, err
		}
		return tap{c, &all}, nil
	})
	ctx := t.Context()
	r.mustLogIn()
	for range 3 {
		if _, err := r.Token(ctx, agentwire.TokenRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Authorize(ctx, agentwire.AuthorizeRequest{Method: "GET", URL: resource}); err != nil {
			t.Fatal(err)
		}
		r.clock.Advance(6 * time.Minute)
	}
	_, _ = r.Status(ctx)
	_, _ = r.Whoami(ctx, "")
	r.server.On("/oauth/token", func(w http.ResponseWriter, q *http.Request, _ func() *recorder) bool {
		_ = q.ParseForm() // a server that repeats the token in its error
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_request", "error_description": "bad token"})
		return true
	})
	_, _ = r.Token(ctx, agentwire.TokenRequest{})
	_, _ = r.Status(ctx)
	_, _ = r.Logout(ctx, agentwire.LogoutRequest{})
	_ = r.Stop(ctx, agentwire.StopRequest{})
	if err := r.wait(); err != nil {
		t.Error(err)
	}
	for what, v := range r.server.Secrets() {
		if !strings.HasPrefix(what, "access") && strings.Contains(all.String(), v) {
			t.Errorf("%s crossed the socket", what)
		}
	}
	if !strings.Contains(all.String(), "access_token") {
		t.Fatal("the tap heard nothing")
	}
	hits, n, err := scan(r, state)
	if err != nil || n == 0 {
		t.Fatalf("%d files, %v", n, err)
	}
	for _, h := range hits {
		t.Errorf("written: %v", h)
	}
}

func scan(r *rig, dir string) ([]leak.Hit, int, error) {
	secrets := map[string][]byte{}
	for k, v := range r.server.Secrets() {
		secrets[k] = []byte(v)
	}
	s, err := leak.New(secrets)
	if err != nil {
		return nil, 0, err
	}
	return s.Files(dir)
}

func TestLogFileIsThisUsersAndBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	l, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	line := bytes.Repeat([]byte("x"), 64<<10)
	for range 40 {
		if _, err := l.Write(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%v %v", entries, err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || fi.Size() > maxLog {
			t.Errorf("%s: %d bytes", e.Name(), fi.Size())
		}
		if runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", e.Name(), fi.Mode())
		}
	}
}
