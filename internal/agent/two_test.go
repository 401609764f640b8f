package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
)

// Two agents of one person share their stores and the state folder, as that of a session and that
// of a cron job, which has no runtime folder: the one that was there first finds the login that the
// other made, and does not take it off the list of stores when it ends.
//
// Invariant: AS-16
func TestTwoAgentsShareTheirStores(t *testing.T) {
	keychain := newFakeStore("keychain", keystore.Machine)
	session, dir := storesRig(t, keychain.kind())
	cron, idle := session.again(), session.again()
	session.mustLogIn()
	who, err := session.Whoami(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := cron.Whoami(t.Context(), ""); err != nil || got.GrantID != who.GrantID {
		t.Errorf("the other agent: %+v, %v", got, err)
	}
	for range 3 { // each goes on from what the other wrote
		cron.renews("")
		session.renews("")
	}
	if session.server.Count("reuse") != 0 {
		t.Error("a token was used again")
	}
	idle.cancel()
	if err := idle.wait(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, agentwire.StoresFile)); err != nil || !strings.Contains(string(b), "keychain") {
		t.Errorf("the list of stores: %s, %v", b, err)
	}
	if out, err := session.Logout(t.Context(), agentwire.LogoutRequest{All: true}); err != nil || !out.Wiped {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := os.Stat(filepath.Join(dir, agentwire.StoresFile)); !os.IsNotExist(err) {
		t.Errorf("the list of stores is left: %v", err)
	}
}

// What a login in progress holds stays while its process lives, in whichever agent, and goes with
// the next start after it.
//
// Invariant: AS-16
func TestHeldKeys(t *testing.T) {
	over := exec.Command(os.Args[0], "-test.run=^$")
	if err := over.Run(); err != nil {
		t.Fatal(err)
	}
	keychain := newFakeStore("keychain", keystore.Machine)
	if _, err := keychain.NewKey(t.Context(), "key@0000000000000000"); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{over.Process.Pid, os.Getppid()} {
		e := keystore.Entry{Key: "key@0000000000000000", Metadata: fmt.Appendf(nil, `{"held_by":%d}`, pid)}
		if err := keychain.Memory.Put(t.Context(), fmt.Sprintf("key@0000000000000000-%d", pid), e); err != nil {
			t.Fatal(err)
		}
	}
	r, _ := storesRig(t, keychain.kind())
	if _, err := r.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	names, err := keychain.Memory.Names(t.Context())
	if want := []string{fmt.Sprintf("key@0000000000000000-%d", os.Getppid())}; err != nil || !slices.Equal(names, want) {
		t.Errorf("%v, %v", names, err)
	}
}
