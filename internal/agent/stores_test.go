package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

func (r *rig) one() agentwire.ProfileStatus {
	r.t.Helper()
	s, err := r.Status(r.t.Context())
	if err != nil || len(s.Profiles) != 1 {
		r.t.Fatalf("%+v, %v", s, err)
	}
	return s.Profiles[0]
}

// The first store that opens and takes something is chosen, before the server or
// a person hears of the login; why others were not is told.
//
// Invariant: AS-1
func TestTheFirstUsableStoreIsChosen(t *testing.T) {
	shut, full := newFakeStore("keychain", keystore.Machine), newFakeStore("kernel", keystore.Session)
	shut.shut, full.full = problem("keychain"), errors.New("the disk is full")
	file := newFakeStore("file", keystore.Machine)
	r, _ := storesRig(t, shut.kind(), full.kind(), file.kind(), memoryKind())
	r.mustLogIn()
	p := r.one()
	if p.KeyStore != "file" || p.KeyStoreLife != "machine" || p.KeyStoreWhy != "keychain: it is out of order; kernel: the disk is full" {
		t.Errorf("%s (%s): %s", p.KeyStore, p.KeyStoreLife, p.KeyStoreWhy)
	}
	if len(file.tokens(t)) != 1 {
		t.Error("the token is not there")
	}
	r.renews("")

	file.set(func(f *fakeStore) { f.full = problem("file") })
	r = r.again(func(o *Options) { o.Kinds = o.Kinds[:3] })
	before := r.server.Count("par") + r.server.Count("metadata")
	e, err := r.logIn(agentwire.LoginRequest{Profile: "other"})
	var words *agentwire.Error
	if !errors.As(err, &words) || words.Code != agentwire.StoreUnusable || !strings.Contains(words.Why, "file: it is out of order") || words.Do != "Repair keychain" {
		t.Errorf("without a store: %+v", err)
	}
	if e.Event != "" || r.server.Count("par")+r.server.Count("metadata") != before {
		t.Errorf("somebody was asked before: %q", e.Event)
	}
}

// What a login, or whoever runs the agent, chooses is used, and nothing else.
func TestChosenStore(t *testing.T) {
	keychain := newFakeStore("keychain", keystore.Machine)
	r, _ := storesRig(t, keychain.kind(), memoryKind())
	for _, tt := range []struct {
		agent, login, want string
		err                error
	}{
		{"", "", "keychain", nil},
		{"", "auto", "keychain", nil},
		{"", "memory", "memory", nil},
		{"memory", "keychain", "memory", nil},
		{"", "tpm", "", agentwire.StoreUnusable},
		{"", "wallet", "", agentwire.Usage},
	} {
		r := r.again(func(o *Options) { o.Store = tt.agent })
		_, err := r.logIn(agentwire.LoginRequest{Store: tt.login})
		if tt.err != nil {
			if !errors.Is(err, tt.err) {
				t.Errorf("%+v: %v", tt, err)
			}
			continue
		}
		if err != nil || r.one().KeyStore != tt.want {
			t.Errorf("%+v: %s, %v", tt, r.one().KeyStore, err)
		}
		if _, err := r.Logout(t.Context(), agentwire.LogoutRequest{All: true}); err != nil {
			t.Error(err)
		}
	}
	passed := r.again(func(o *Options) { o.Passed = map[string]string{"keychain": "this is a container"} })
	passed.mustLogIn()
	if p := passed.one(); p.KeyStore != "memory" || p.KeyStoreWhy != "keychain: this is a container" {
		t.Errorf("in a container: %s, %s", p.KeyStore, p.KeyStoreWhy)
	}
}

// A login that a person completed is kept where it can be: it goes on with its key
// in the next store that takes it, and that is said.
//
// Invariant: AS-2
func TestStoreFailsAfterApproval(t *testing.T) {
	for name, tt := range map[string]struct {
		first func(*fakeStore) keystore.Kind
		want  string
	}{
		"a key that can be copied": {(*fakeStore).kind, "file"},
		"a key in hardware":        {hardware, "memory"},
	} {
		t.Run(name, func(t *testing.T) {
			first, file := newFakeStore("keychain", keystore.Machine), newFakeStore("file", keystore.Machine)
			next := file.kind()
			if tt.want == "memory" {
				next = hardware(file)
			}
			r, _ := storesRig(t, tt.first(first), next)
			link, warning, ended := r.openLogin()
			first.set(func(f *fakeStore) { f.full = problem("keychain") })
			if _, err := oauthclienttest.NewBrowser().Finish(link); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if w := <-warning; !strings.Contains(w, "keychain failed") || !strings.Contains(w, "the store "+tt.want+" now") {
				t.Errorf("said: %q", w)
			}
			p := r.one()
			if p.KeyStore != tt.want || !strings.Contains(p.KeyStoreWhy, "keychain: it is out of order") {
				t.Errorf("%s: %s", p.KeyStore, p.KeyStoreWhy)
			}
			r.renews("")
			r.renews("")
			if r.one().JKT != p.JKT || r.server.Count("reuse") != 0 {
				t.Error("another key")
			}
			first.set(func(f *fakeStore) { f.full = nil })
			r.mustLogIn() // the first store again
			if got := r.one().KeyStore; got != "keychain" {
				t.Errorf("the next login is in %s", got)
			}
			r.renews("")
			if _, err := r.Logout(t.Context(), agentwire.LogoutRequest{All: true}); err != nil {
				t.Fatal(err)
			}
			for _, f := range []*fakeStore{first, file} {
				eventually(t, "something is left in "+f.name, func() bool {
					names, err := f.Memory.Names(t.Context())
					return len(names) == 0 && err == nil
				})
			}
		})
	}
}

// openLogin begins a login and gives its link, the warning it ends with, and how
// it ended.
func (r *rig) openLogin() (link string, warning chan string, ended chan error) {
	r.t.Helper()
	links, warning, ended := make(chan string, 1), make(chan string, 1), make(chan error, 1)
	go func() {
		ended <- r.Login(r.t.Context(), agentwire.LoginRequest{Issuer: r.server.Issuer}, func(e agentwire.Event) error {
			switch e.Event {
			case agentwire.EventBrowser:
				links <- e.URL
			case agentwire.EventDone:
				warning <- e.Warning
			}
			return nil
		})
	}()
	select {
	case link = <-links:
	case err := <-ended:
		r.t.Fatal(err)
	}
	return link, warning, ended
}

// A refresh token that the server rotated and the store does not take moves on.
// What lies in the old store is taken away as soon as that works again, and an
// agent that starts before does not use it.
//
// Invariant: AS-3
func TestStoreFailsAtARenewal(t *testing.T) {
	for _, heals := range []bool{true, false} {
		keychain := newFakeStore("keychain", keystore.Machine)
		r, dir := storesRig(t, keychain.kind(), memoryKind())
		r.mustLogIn()
		keychain.set(func(f *fakeStore) { f.full, f.stuck = problem("keychain"), problem("keychain") })
		r.renews("")
		if p := r.one(); p.KeyStore != "memory" || !strings.Contains(p.KeyStoreWhy, "keychain: it is out of order") {
			t.Errorf("%s: %s", p.KeyStore, p.KeyStoreWhy)
		}
		r.renews("")
		if len(keychain.tokens(t)) != 1 {
			t.Error("this test does not leave what it is about")
		}
		if heals {
			keychain.set(func(f *fakeStore) { f.full, f.stuck = nil, nil })
			r.renews("")
			if left := keychain.tokens(t); len(left) != 0 {
				t.Errorf("the old token is still there: %d", len(left))
			}
			r.renews("")
		}
		if err := r.Stop(t.Context(), agentwire.StopRequest{}); err != nil {
			t.Fatal(err)
		}
		if err := r.wait(); err != nil {
			t.Fatal(err)
		}
		keychain.set(func(f *fakeStore) { f.full, f.stuck = nil, nil })
		if b, err := os.ReadFile(filepath.Join(dir, agentwire.StoresFile)); !heals && (err != nil || !strings.Contains(string(b), "keychain/default@")) {
			t.Errorf("nobody remembers what could not be wiped: %s, %v", b, err)
		}
		next := r.again()
		if _, err := next.Token(t.Context(), agentwire.TokenRequest{}); !errors.Is(err, agentwire.NotLoggedIn) {
			t.Errorf("the next agent: %v", err)
		}
		if r.server.Count("reuse") != 0 || len(keychain.tokens(t)) != 0 {
			t.Errorf("%d reuses, %d tokens left", r.server.Count("reuse"), len(keychain.tokens(t)))
		}
	}
}

// On a full disk neither the store nor a new list of stores can be written. When the machine has
// started again, and there is room, the token that was left behind is wiped and not used.
//
// Invariant: AS-3
func TestFullDisk(t *testing.T) {
	tpm := newFakeStore("tpm", keystore.Machine)
	r, dir := storesRig(t, tpm.kind(), memoryKind())
	r.mustLogIn()
	full := filepath.Join(dir, agentwire.StoresFile+".new")
	if err := os.Mkdir(full, 0o700); err != nil {
		t.Fatal(err)
	}
	tpm.set(func(f *fakeStore) { f.full, f.stuck = errors.New("the disk is full"), errors.New("the disk is full") })
	for range 3 {
		r.renews("")
	}
	r.cancel()
	if err := r.wait(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	tpm.set(func(f *fakeStore) { f.full, f.stuck = nil, nil })
	n := r.again()
	if _, err := n.Token(t.Context(), agentwire.TokenRequest{}); !errors.Is(err, agentwire.NotLoggedIn) {
		t.Error(err)
	}
	if r.server.Count("reuse") != 0 || len(tpm.tokens(t)) != 0 {
		t.Errorf("%d reuses, %d tokens left", r.server.Count("reuse"), len(tpm.tokens(t)))
	}
}
