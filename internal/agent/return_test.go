package agent

import (
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
)

// restarted ends an agent as `keytether agent stop` does, and starts the next one.
func (r *rig) restarted(change ...func(*Options)) *rig {
	r.t.Helper()
	if err := r.Stop(r.t.Context(), agentwire.StopRequest{}); err != nil {
		r.t.Fatal(err)
	}
	if err := r.wait(); err != nil {
		r.t.Fatal(err)
	}
	return r.again(change...)
}

// A person who logs in anew while the store with the earlier login cannot be opened keeps the
// new login when that store is back; the earlier one is revoked.
//
// Invariant: AS-9
func TestNewLoginOutlivesTheReturnOfAnOldStore(t *testing.T) {
	for _, renewed := range []bool{false, true} {
		keychain, file := newFakeStore("keychain", keystore.Machine), newFakeStore("file", keystore.Machine)
		r, _ := storesRig(t, keychain.kind(), file.kind())
		r.mustLogIn()
		r.clock.Advance(time.Minute)
		keychain.set(func(f *fakeStore) { f.shut = problem("keychain") })
		n := r.restarted()
		n.mustLogIn()
		if renewed {
			n.renews("")
		}
		who, err := n.Whoami(t.Context(), "")
		if err != nil || n.one().KeyStore != "file" {
			t.Fatalf("%+v, %v", who, err)
		}
		keychain.set(func(f *fakeStore) { f.shut = nil })
		n.clock.Advance(findEvery)
		if got := n.one(); got.GrantID != who.GrantID || got.KeyStore != "file" {
			t.Errorf("the login that is %s in %s now was %s", got.GrantID, got.KeyStore, who.GrantID)
		}
		eventually(t, "the earlier one was not revoked", func() bool { return r.server.Count("revoked") == 1 })
		eventually(t, "the earlier one is still there", func() bool { return len(keychain.tokens(t)) == 0 })
		n.renews("")
		if len(file.tokens(t)) != 1 || r.server.Count("reuse") != 0 {
			t.Errorf("%d tokens, %d reuses", len(file.tokens(t)), r.server.Count("reuse"))
		}
	}
}
