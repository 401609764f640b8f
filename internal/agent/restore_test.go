package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/secret"
)

// An agent that starts anew goes on with what an earlier one left in a store that
// lasts: the same login by the same key, through the same proxy.
//
// Invariant: AS-4
func TestNextAgentFindsLogins(t *testing.T) {
	keychain := newFakeStore("keychain", keystore.Machine)
	var mu sync.Mutex
	var reached []string
	r, dir := storesRig(t, keychain.kind(), memoryKind())
	r = r.again(func(o *Options) {
		o.HTTP = func(env map[string]string) (oauthclient.HTTP, error) {
			mu.Lock()
			defer mu.Unlock()
			reached = append(reached, env["HTTPS_PROXY"])
			return oauthclient.NewHTTP(nil)
		}
	})
	const proxy = "http://me:word@proxy.test:3128"
	if _, err := r.logIn(agentwire.LoginRequest{Scope: "read", Env: agentwire.Env{"HTTPS_PROXY": proxy, "DISPLAY": ":0"}}); err != nil {
		t.Fatal(err)
	}
	who, err := r.Whoami(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	jkt := r.one().JKT
	if v, err := r.Version(t.Context()); err != nil || v.Grants != 0 {
		t.Errorf("%d logins would be lost: %v", v.Grants, err)
	}
	for n := range keychain.tokens(t) {
		e, err := keychain.Memory.Get(t.Context(), n)
		if err != nil || strings.Contains(string(e.Metadata), "word") {
			t.Errorf("the proxy's password lies among what is not secret: %v", err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, agentwire.StoresFile)); err != nil || !strings.Contains(string(b), "keychain") {
		t.Errorf("the list of stores: %s, %v", b, err)
	}
	if err := r.Stop(t.Context(), agentwire.StopRequest{IfIdle: true}); err != nil {
		t.Fatal("an agent whose logins stay does not make way:", err)
	}
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	reached = nil
	mu.Unlock()
	n := r.again()
	again, err := n.Whoami(t.Context(), "")
	if err != nil || again != who {
		t.Errorf("%+v, %v; was %+v", again, err, who)
	}
	n.renews("")
	if n.one().JKT != jkt || r.server.Count("reuse") != 0 {
		t.Error("another key")
	}
	mu.Lock()
	if !slices.Equal(reached, []string{proxy}) {
		t.Errorf("reached by %q", reached)
	}
	mu.Unlock()
	if out, err := n.Logout(t.Context(), agentwire.LogoutRequest{}); err != nil || !out.Revoked || !out.Wiped {
		t.Errorf("%+v, %v", out, err)
	}
	if names, err := keychain.Memory.Names(t.Context()); len(names) != 0 || err != nil {
		t.Errorf("left: %v, %v", names, err)
	}
	if _, err := os.Stat(filepath.Join(dir, agentwire.StoresFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the list of stores is left: %v", err)
	}
}

// An agent that ended between the server's answer and the writing of it leaves the
// token before: the next one repeats it, which the server takes for what it is.
//
// Invariant: AS-5
func TestAgentEndsBeforeItWrites(t *testing.T) {
	keychain := newFakeStore("keychain", keystore.Machine)
	r, _ := storesRig(t, keychain.kind(), memoryKind())
	r.mustLogIn()
	r = r.again(func(o *Options) { o.StateDir = "" }) // nobody leaves word, as after kill -9
	r.clock.Advance(6 * time.Minute)
	keychain.set(func(f *fakeStore) { f.full = errors.New("killed") })
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
		t.Fatal(err)
	}
	keychain.set(func(f *fakeStore) { f.full, f.stuck = nil, nil })
	n := r.again()
	if _, err := n.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
		t.Fatal(err)
	}
	if r.server.Count("repeat") != 1 || r.server.Count("reuse") != 0 {
		t.Errorf("%d repeats, %d reuses", r.server.Count("repeat"), r.server.Count("reuse"))
	}
	n.renews("")
}

// What a login in progress held when its agent was killed is wiped by the next
// one; what a newer version wrote is left alone.
func TestLeftoversAreWiped(t *testing.T) {
	keychain := newFakeStore("keychain", keystore.Machine)
	for _, name := range []string{"key@0000000000000000", "new@0000000000000000.aa"} {
		if _, err := keychain.NewKey(t.Context(), "k-"+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := keychain.Memory.Put(t.Context(), "key@0000000000000000-1", keystore.Entry{Key: "k-key@0000000000000000"}); err != nil {
		t.Fatal(err)
	}
	newer := keystore.Entry{Key: "k-new@0000000000000000.aa", RefreshToken: secret.New("made-up"), Metadata: []byte(`{"v":99,"issuer":"https://x.test","profile":"new"}`)}
	if err := keychain.Memory.Put(t.Context(), "new@0000000000000000.aa", newer); err != nil {
		t.Fatal(err)
	}
	r, _ := storesRig(t, keychain.kind())
	if s, err := r.Status(t.Context()); err != nil || len(s.Profiles) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if names, err := keychain.Memory.Names(t.Context()); err != nil || !slices.Equal(names, []string{"new@0000000000000000.aa"}) {
		t.Errorf("%v, %v", names, err)
	}
	if _, err := keychain.Memory.Key(t.Context(), "k-key@0000000000000000"); !errors.Is(err, keystore.ErrNoKey) {
		t.Errorf("the held key: %v", err)
	}
}

// A store that holds logins and cannot be opened when the agent starts is not
// forgotten: that is said, with the mend, and the logins are there once it opens.
//
// Invariant: AS-6
func TestStoreThatCannotBeOpenedIsNotForgotten(t *testing.T) {
	keychain := newFakeStore("keychain", keystore.Machine)
	r, dir := storesRig(t, keychain.kind(), memoryKind())
	r.mustLogIn()
	if err := r.Stop(t.Context(), agentwire.StopRequest{}); err != nil {
		t.Fatal(err)
	}
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	keychain.set(func(f *fakeStore) { f.shut = problem("keychain") })
	n := r.again()
	_, err := n.Token(t.Context(), agentwire.TokenRequest{})
	var words *agentwire.Error
	if !errors.As(err, &words) || words.Code != agentwire.StoreUnusable || words.Do != "Repair keychain" {
		t.Errorf("%+v", err)
	}
	s, err := n.Status(t.Context())
	want := agentwire.StoreProblem{Store: "keychain", Why: "keychain: it is out of order", Do: "Repair keychain"}
	if err != nil || len(s.Stores) != 1 || s.Stores[0] != want {
		t.Errorf("%+v, %v", s, err)
	}
	out, err := n.Logout(t.Context(), agentwire.LogoutRequest{All: true})
	if err != nil || out.Wiped || !strings.Contains(out.Warning, "keychain holds logins") {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := n.logIn(agentwire.LoginRequest{Profile: "other"}); err != nil || n.one().KeyStore != "memory" {
		t.Errorf("another login: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, agentwire.StoresFile)); err != nil || !strings.Contains(string(b), "keychain") {
		t.Errorf("the list of stores forgot it: %s, %v", b, err)
	}
	keychain.set(func(f *fakeStore) { f.shut = nil })
	n.clock.Advance(findEvery)
	n.renews("")
	if s, err := n.Status(t.Context()); err != nil || len(s.Stores) != 0 || len(s.Profiles) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
}

// A store that hangs holds up nobody but who needs it, and those for a time.
func TestStoreThatHangs(t *testing.T) {
	keychain := newFakeStore("keychain", keystore.Machine)
	r, _ := storesRig(t, keychain.kind(), memoryKind())
	r = r.again(func(o *Options) { o.storeTime = 300 * time.Millisecond })
	if _, err := r.logIn(agentwire.LoginRequest{Profile: "memory", Store: "memory"}); err != nil {
		t.Fatal(err)
	}
	r.mustLogIn()
	r.clock.Advance(6 * time.Minute)
	keychain.set(func(f *fakeStore) { f.hang = true })
	asked := make(chan error, 1)
	go func() { _, err := r.Token(t.Context(), agentwire.TokenRequest{}); asked <- err }()
	before := time.Now()
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{Profile: "memory"}); err != nil {
		t.Error(err)
	}
	if d := time.Since(before); d > 250*time.Millisecond {
		t.Errorf("the other login waited for %s", d)
	}
	if err := <-asked; !errors.Is(err, agentwire.StoreUnusable) {
		t.Errorf("got %v", err)
	}
	if _, err := r.logIn(agentwire.LoginRequest{Profile: "next"}); err != nil {
		t.Errorf("a login beside it: %v", err)
	}
	keychain.set(func(f *fakeStore) { f.hang = false })
	r.clock.Advance(retryAfter)
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
		t.Error("when it answers again:", err)
	}
}

// Of two records of one profile the later counts, and the other login is revoked.
func TestTwoRecordsOfOneProfile(t *testing.T) {
	keychain, file := newFakeStore("keychain", keystore.Machine), newFakeStore("file", keystore.Machine)
	c := oauthclienttest.Keytether()
	c.Nonces = false // they are used up by whoever comes first
	r := newRig(t, c, func(o *Options) { o.Kinds = []keystore.Kind{keychain.kind(), file.kind()} })
	r.mustLogIn()
	// An agent that does not know of it logs in as well, and both are killed.
	r.clock.Advance(time.Second)
	o := r.again(func(o *Options) { o.Kinds = o.Kinds[1:] })
	o.mustLogIn()
	who, err := o.Whoami(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // whichever store answers first
		n := r.again()
		got, err := n.Whoami(t.Context(), "")
		if err != nil || got.GrantID != who.GrantID {
			t.Errorf("%+v, %v", got, err)
		}
		eventually(t, "the older one is still there", func() bool { return len(keychain.tokens(t)) == 0 })
		eventually(t, "the older one was not revoked", func() bool { return r.server.Count("revoked") == 1 })
		n.renews("")
	}
}

// A store that lost a login, or the key of one, is what is blamed: not the server,
// which gave something to renew with.
func TestStoreThatLostALogin(t *testing.T) {
	for what, tt := range map[string]struct {
		lose func(*fakeStore, string) error
		why  string
	}{
		"the login": {func(f *fakeStore, name string) error { return f.Memory.Delete(t.Context(), name) }, "the store keychain does not have this login any more"},
		"the key": {func(f *fakeStore, name string) error {
			e, err := f.Memory.Get(t.Context(), name)
			if err != nil {
				return err
			}
			if err := f.Memory.Delete(t.Context(), name); err != nil {
				return err
			}
			if _, err := f.Memory.NewKey(t.Context(), e.Key); err != nil {
				return err
			}
			return f.Memory.Put(t.Context(), name, e)
		}, "its store does not have the proof key any more"},
	} {
		t.Run(what, func(t *testing.T) {
			keychain := newFakeStore("keychain", keystore.Machine)
			r, _ := storesRig(t, keychain.kind(), memoryKind())
			r.mustLogIn()
			for name := range keychain.tokens(t) {
				if err := tt.lose(keychain, name); err != nil {
					t.Fatal(err)
				}
			}
			r.clock.Advance(6 * time.Minute)
			_, err := r.Token(t.Context(), agentwire.TokenRequest{})
			var words *agentwire.Error
			if !errors.As(err, &words) || words.Code != agentwire.NotLoggedIn || words.Why != tt.why || words.Do != "Run `keytether login`" {
				t.Errorf("%+v", err)
			}
			r.mustLogIn()
			r.renews("")
		})
	}
}

// A login that is made in a CI job or a container is kept in nothing that outlives it, also by an
// agent that was started elsewhere; a store that was named is used.
//
// Invariant: AS-17
func TestLoginInCI(t *testing.T) {
	keychain := newFakeStore("keychain", keystore.Machine)
	r, _ := storesRig(t, keychain.kind(), memoryKind())
	for _, env := range []agentwire.Env{{"CI": "true"}, {"container": "podman"}} {
		if _, err := r.logIn(agentwire.LoginRequest{Flow: agentwire.FlowBrowser, Env: env}); err != nil {
			t.Fatal(err)
		}
		if p := r.one(); p.KeyStore != "memory" || !strings.Contains(p.KeyStoreWhy, "must not outlive it") || len(keychain.tokens(t)) != 0 {
			t.Errorf("%v: %s, %s", env, p.KeyStore, p.KeyStoreWhy)
		}
	}
	if _, err := r.logIn(agentwire.LoginRequest{Flow: agentwire.FlowBrowser, Env: agentwire.Env{"CI": "true"}, Store: "keychain"}); err != nil || r.one().KeyStore != "keychain" {
		t.Errorf("a person's word: %v", err)
	}
}

func TestSurroundings(t *testing.T) {
	for name, value := range map[string]string{"CI": "true", "JENKINS_URL": "https://ci.test/", "TF_BUILD": "True", "CI ": "", "x": "1"} {
		_, ci := Surroundings(func(n string) string {
			if n == name {
				return value
			}
			return ""
		})
		if want := name != "CI " && name != "x"; (ci != "") != want {
			t.Errorf("%s=%s: %q", name, value, ci)
		}
	}
}
