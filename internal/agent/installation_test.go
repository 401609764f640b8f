package agent

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

// All profiles at an issuer prove by one key: this agent is one installation
// there. The key goes with the last of them, and not before.
//
// Invariant: AG-6
func TestOneInstallationPerIssuer(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	for _, name := range []string{"work", "home", "work"} { // the last one again, in place of the first
		if _, err := r.logIn(agentwire.LoginRequest{Profile: name, Scope: "read"}); err != nil {
			t.Fatal(err)
		}
	}
	want := r.thumbprint(r.server.Issuer)
	st, err := r.Status(t.Context())
	if err != nil || len(st.Profiles) != 2 || want == "" {
		t.Fatalf("%+v, %v, key %q", st, err, want)
	}
	for _, p := range st.Profiles {
		if p.JKT != want {
			t.Errorf("profile %s proves by %s, not %s", p.Profile, p.JKT, want)
		}
	}
	if _, err := r.Logout(t.Context(), agentwire.LogoutRequest{Profile: "work"}); err != nil {
		t.Fatal(err)
	}
	if r.thumbprint(r.server.Issuer) != want {
		t.Error("one logout took the other's key")
	}
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{Profile: "home"}); err != nil {
		t.Errorf("the other login: %v", err)
	}
	if _, err := r.Logout(t.Context(), agentwire.LogoutRequest{Profile: "home"}); err != nil {
		t.Fatal(err)
	}
	r.nothingLeft()
}

// thumbprint is that of the key in the store for an issuer; empty without one.
func (r *rig) thumbprint(issuer string) string {
	k, err := r.store.Key(r.t.Context(), keyName(issuer))
	if err != nil {
		return ""
	}
	return k.Public().Thumbprint()
}

// slots are the entries in the store of a profile's logins.
func (r *rig) slots(profile string) []string {
	names, err := r.store.Names(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, slotName(profile, r.server.Issuer)+".") })
}

// nothingLeft says that the store is empty, once a login that was replaced has been revoked beside
// the calls.
func (r *rig) nothingLeft() {
	r.t.Helper()
	for range 200 {
		if names, err := r.store.Names(r.t.Context()); err == nil && len(names) == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := r.store.Key(r.t.Context(), keyName(r.server.Issuer)); !errors.Is(err, keystore.ErrNoKey) {
		r.t.Errorf("the key outlived the last login: %v", err)
	}
	if names, err := r.store.Names(r.t.Context()); len(names) != 0 || err != nil {
		r.t.Errorf("left in the store: %v, %v", names, err)
	}
}

// renews says that a login has its key and its grant: its token expires, and
// another one comes.
func (r *rig) renews(profile string) {
	r.t.Helper()
	r.clock.Advance(6 * time.Minute)
	before := r.server.Count("refresh")
	if _, err := r.Token(r.t.Context(), agentwire.TokenRequest{Profile: profile}); err != nil || r.server.Count("refresh") != before+1 {
		r.t.Errorf("profile %q does not renew: %v", profile, err)
	}
}

// Two issuers are shown two keys, of one profile too, and each key has a life of
// its own.
//
// Invariant: AG-6
func TestTwoIssuersCannotTellThatTheyServeOneMachine(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	c := oauthclienttest.Keytether()
	c.Now = r.clock.Now
	other := oauthclienttest.New(t, c)
	r.mustLogIn()
	if _, err := r.logIn(agentwire.LoginRequest{Issuer: other.Issuer, Profile: "other"}); err != nil {
		t.Fatal(err)
	}
	s, err := r.Status(t.Context())
	if err != nil || len(s.Profiles) != 2 || s.Profiles[0].JKT == s.Profiles[1].JKT || s.Profiles[0].JKT == "" || s.Profiles[1].JKT == "" {
		t.Fatalf("%+v, %v", s.Profiles, err)
	}
	if _, err := r.Logout(t.Context(), agentwire.LogoutRequest{Profile: "other"}); err != nil {
		t.Fatal(err)
	}
	if r.thumbprint(other.Issuer) != "" {
		t.Error("the key outlived the last login at its issuer")
	}
	r.renews("")
	// The same profile at another issuer: the first login there is replaced, and its key goes.
	if _, err := r.logIn(agentwire.LoginRequest{Issuer: other.Issuer}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key of the replaced login is still there", func() bool { return r.thumbprint(r.server.Issuer) == "" })
	if r.thumbprint(other.Issuer) == "" {
		t.Error("the new login has no key")
	}
}

// slowStore takes its time to make a key, as a TPM does, and counts them.
type slowStore struct {
	keystore.Store
	made atomic.Int32
}

func (s *slowStore) NewKey(ctx context.Context, name string) (keystore.Key, error) {
	s.made.Add(1)
	time.Sleep(50 * time.Millisecond)
	return s.Store.NewKey(ctx, name)
}

// Logins that begin at once, where there is no key yet, share the one that is
// made.
//
// Invariant: AG-6
func TestParallelLoginsShareOneKey(t *testing.T) {
	store := &slowStore{Store: keystore.NewMemory()}
	r := newRig(t, oauthclienttest.Keytether(), func(o *Options) { o.Kinds = onlyIn(store) })
	var all sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		all.Go(func() {
			browsed := make(chan struct{})
			err := r.Login(t.Context(), agentwire.LoginRequest{Issuer: r.server.Issuer, Profile: name}, func(e agentwire.Event) error {
				if e.Event == agentwire.EventBrowser {
					go func() { defer close(browsed); _, _ = oauthclienttest.NewBrowser().Finish(e.URL) }()
				}
				return nil
			})
			if err != nil {
				t.Errorf("login %s: %v", name, err)
				return
			}
			<-browsed
		})
	}
	all.Wait()
	r.store = store
	s, err := r.Status(t.Context())
	if err != nil || len(s.Profiles) != 6 {
		t.Fatalf("%+v, %v", s, err)
	}
	if n := store.made.Load(); n != 1 {
		t.Errorf("%d keys were made", n)
	}
	for _, p := range s.Profiles {
		if p.JKT != r.thumbprint(r.server.Issuer) {
			t.Errorf("profile %s proves by another key", p.Profile)
		}
		r.renews(p.Profile)
	}
	if _, err := r.Logout(t.Context(), agentwire.LogoutRequest{All: true}); err != nil {
		t.Fatal(err)
	}
	r.nothingLeft()
}

// The last login at an issuer is logged out while another profile logs in there:
// the token is wiped, and the login in progress keeps the key, which the server
// has seen. It goes with that one, also if nothing came of it.
//
// Invariant: AG-6
func TestLoginInProgressKeepsTheKey(t *testing.T) {
	for _, finished := range []bool{true, false} {
		r := newRig(t, oauthclienttest.Keytether())
		r.mustLogIn()
		key := r.thumbprint(r.server.Issuer)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		link, ended := r.beginAs(ctx, "work")
		b := oauthclienttest.NewBrowser()
		p, err := b.Open(link)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Logout(t.Context(), agentwire.LogoutRequest{}); err != nil {
			t.Fatal(err)
		}
		if slots := r.slots("default"); len(slots) != 0 {
			t.Errorf("the first login is still there: %v", slots)
		}
		if r.thumbprint(r.server.Issuer) != key {
			t.Fatal("the logout took the key of the login in progress")
		}
		if finished {
			for p.Action != "" && err == nil {
				p, err = b.Submit(p)
			}
			if end := <-ended; err != nil || end != nil {
				t.Fatal(err, end)
			}
			if r.thumbprint(r.server.Issuer) != key {
				t.Error("another key")
			}
			r.renews("work")
			if _, err := r.Logout(t.Context(), agentwire.LogoutRequest{Profile: "work"}); err != nil {
				t.Fatal(err)
			}
		} else {
			cancel()
			<-ended
			eventually(t, "the login goes on", func() bool { return r.logins() == 0 })
		}
		r.nothingLeft()
	}
}

// What people call their profiles has nothing to do with what else the agent
// keeps in the store.
func TestProfilesMayHaveAnyName(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	for i, name := range []string{"login-1", "key", keyName(r.server.Issuer), keyName(r.server.Issuer) + "-4", "@"} {
		if _, err := r.logIn(agentwire.LoginRequest{Profile: name}); err != nil {
			t.Fatal(name, err)
		}
		names, err := r.store.Names(t.Context())
		if err != nil || len(names) != i+1 {
			t.Errorf("after %s the store has %v, %v", name, names, err)
		}
		r.renews(name)
	}
	out, err := r.Logout(t.Context(), agentwire.LogoutRequest{All: true})
	if err != nil || len(out.Profiles) != 5 || !out.Revoked {
		t.Errorf("%+v, %v", out, err)
	}
	r.nothingLeft()
}
