package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

// When an agent is stopped, what its stores keep stays; when the session ends,
// by a signal or with the socket's folder, what is the session's goes.
//
// Invariant: IS-5
func TestWhatGoesWithTheSession(t *testing.T) {
	for _, how := range []string{"stopped", "signal", "folder gone", "socket replaced"} {
		kernel, keychain := newFakeStore("kernel", keystore.Session), newFakeStore("keychain", keystore.Machine)
		r, dir := storesRig(t, kernel.kind(), keychain.kind())
		r = r.again(func(o *Options) { o.watchEvery = 10 * time.Millisecond })
		for _, store := range []string{"kernel", "keychain", "memory"} {
			if _, err := r.logIn(agentwire.LoginRequest{Profile: store, Store: store}); err != nil {
				t.Fatal(store, err)
			}
		}
		if v, err := r.Version(t.Context()); err != nil || v.Grants != 1 {
			t.Errorf("%d logins would be lost: %v", v.Grants, err)
		}
		kept := map[string]int{"kernel": 0, "keychain": 1}
		switch how {
		case "stopped":
			kept["kernel"] = 1
			if err := r.Stop(t.Context(), agentwire.StopRequest{IfIdle: true}); !errors.Is(err, agentwire.Busy) {
				t.Errorf("a login in memory makes way: %v", err)
			}
			if err := r.Stop(t.Context(), agentwire.StopRequest{}); err != nil {
				t.Fatal(err)
			}
		case "signal":
			r.cancel()
		case "folder gone":
			if err := os.RemoveAll(filepath.Dir(r.socket)); err != nil {
				t.Fatal(err)
			}
		case "socket replaced":
			if err := os.Rename(r.socket, r.socket+".old"); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(r.socket, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.wait(); err != nil {
			t.Errorf("%s: %v", how, err)
		}
		if len(kernel.tokens(t)) != kept["kernel"] || len(keychain.tokens(t)) != kept["keychain"] {
			t.Errorf("%s: %d in the session's store, %d in the machine's", how, len(kernel.tokens(t)), len(keychain.tokens(t)))
		}
		b, err := os.ReadFile(filepath.Join(dir, agentwire.StoresFile))
		if err != nil || strings.Contains(string(b), "kernel") != (kept["kernel"] == 1) {
			t.Errorf("%s: the list of stores is %s, %v", how, b, err)
		}
	}
}

// The agent locks itself when nobody asks, and when the machine slept; then no
// token is in it but those in the store.
//
// Invariant: IS-6
func TestAgentLocksItself(t *testing.T) {
	for name, tt := range map[string]struct {
		after   time.Duration
		suspend bool
		locks   bool
	}{
		"idle":                    {30 * time.Minute, false, true},
		"idle, not asked":         {0, false, false},
		"suspend":                 {0, true, true},
		"suspend, not asked":      {0, false, false},
		"suspended for that long": {30 * time.Minute, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			var asleep time.Duration
			r := newRig(t, oauthclienttest.Keytether(), func(o *Options) {
				o.LockAfter, o.LockOnSuspend, o.watchEvery = tt.after, tt.suspend, 5*time.Millisecond
				o.slept = func() time.Duration { mu.Lock(); defer mu.Unlock(); return asleep }
			})
			r.mustLogIn()
			if s, err := r.Status(t.Context()); err != nil || s.Agent.Locked {
				t.Fatalf("locked from the start: %v", err)
			}
			if strings.HasPrefix(name, "idle") {
				r.clock.Advance(30 * time.Minute)
			} else {
				mu.Lock()
				asleep += time.Hour
				mu.Unlock()
			}
			if !tt.locks {
				time.Sleep(30 * time.Millisecond)
				if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
					t.Error(err)
				}
				return
			}
			eventually(t, "not locked", func() bool { return strings.Contains(r.log.String(), "locked itself") })
			if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); !errors.Is(err, agentwire.Locked) {
				t.Errorf("got %v", err)
			}
			if err := r.Unlock(t.Context(), agentwire.LockRequest{}); err != nil {
				t.Fatal(err)
			}
			before := r.server.Count("refresh")
			if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil || r.server.Count("refresh") != before+1 {
				t.Errorf("after it was unlocked: %v, %d renewals", err, r.server.Count("refresh")-before)
			}
		})
	}
}

// A logout goes through a lock that nobody gave a passphrase to, as one that set itself while
// the session was idle: what runs at the session's end does not fail at it.
//
// Invariant: IS-8
func TestLogoutOfALockedAgent(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	if err := r.Lock(t.Context(), agentwire.LockRequest{}); err != nil {
		t.Fatal(err)
	}
	out, err := r.Logout(t.Context(), agentwire.LogoutRequest{All: true})
	if err != nil || !out.Revoked || !out.Wiped || r.server.Count("revoked") != 1 {
		t.Errorf("%+v, %v, %d revoked", out, err, r.server.Count("revoked"))
	}
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); !errors.Is(err, agentwire.Locked) {
		t.Errorf("still locked: %v", err)
	}
}

// A state folder that cannot be written keeps nobody from a login in memory.
func TestReadOnlyStateFolder(t *testing.T) {
	at := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(at, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, oauthclienttest.Keytether(), func(o *Options) { o.StateDir = filepath.Join(at, "state") })
	n := r.again(func(o *Options) { o.Log = nil })
	n.mustLogIn()
	n.renews("")
}
