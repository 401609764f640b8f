//go:build linux

package stores

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/event"
)

// loss is a store that goes away, one row of the second table.
type loss struct {
	store, how string
	kind       string
	has        parts
	lose       func(b *box)
	heal       func(b *box) // nil: it cannot be had back
	healed     string       // what heal is, in words
}

var losses = []loss{
	{"tpm", "the TPM is cleared", "tpm", parts{chip: true}, func(b *box) { b.chip.Clear() }, nil, ""},
	{
		"tpm", "the TPM does not answer", "tpm",
		parts{chip: true},
		func(b *box) { b.chip.Stop() }, func(b *box) { b.chip.Restart() }, "when it answers again",
	},
	{"tpm", "its file is deleted", "tpm", parts{chip: true}, func(b *box) { remove(b.t, filepath.Join(b.state(), "tpm.keys")) }, nil, ""},
	{
		"keychain", "it is locked", "keychain",
		parts{bus: true},
		func(b *box) { b.bus.Lock() }, func(b *box) { b.bus.StopKeyring(); b.bus.StartKeyring() }, "when it is unlocked",
	},
	{
		"keychain", "its daemon ends", "keychain",
		parts{bus: true},
		func(b *box) { b.bus.StopKeyring() }, func(b *box) { b.bus.StartKeyring() }, "when it runs again",
	},
	{"kernel", "its keys are unlinked", "kernel", parts{}, func(b *box) { b.forgetKernelKeys() }, nil, ""},
	{"file, sealed by the TPM", "the file is deleted", "file", parts{chip: true}, deleteFile, nil, ""},
	{
		"file, sealed by the TPM", "the TPM is cleared", "file",
		parts{chip: true},
		func(b *box) { b.chip.Clear() }, deleteFile, "when the file was moved away",
	},
	{
		"file, sealed by a passphrase", "the file is damaged", "file",
		parts{pass: passphrase},
		damageFile, deleteFile, "when it was moved away",
	},
}

func (b *box) file() string { return filepath.Join(b.state(), "store.age") }

func deleteFile(b *box) { remove(b.t, b.file()) }

func damageFile(b *box) {
	raw, err := os.ReadFile(b.file())
	do(b.t, err)
	raw[len(raw)-1] ^= 1
	do(b.t, os.WriteFile(b.file(), raw, 0o600))
}

// lose makes one row of the second table.
func lose(b *box, l loss) []string {
	b.t.Helper()
	b.mustLogIn()
	row := []string{l.store, l.how, b.loseInRenewal(l)}

	b.mustLogIn()
	if got := b.login().KeyStore; got != l.kind {
		b.t.Fatalf("%s: the next login is in %s", b.client, got)
	}
	l.lose(b)
	row = append(row, b.lostNow(l, false))

	if r := b.run("token"); r.code != 0 {
		b.t.Fatalf("%s: no login to go on with: %s", b.client, r.errs)
	}
	b.kill()
	l.lose(b)
	b.start()
	return append(row, b.lostNow(l, true))
}

// loseInRenewal loses the store when the server has renewed, and the answer is on
// its way: what the server gave must not be lost with it.
func (b *box) loseInRenewal(l loss) string {
	b.t.Helper()
	b.w.whileRenewing(b.client, func() { l.lose(b) })
	out := ""
	if r := b.run("token", "--scope", "read"); r.code == 0 {
		p := b.login()
		switch {
		case p.KeyStore == l.kind:
			out = "goes on"
		case p.KeyStoreWhy == "":
			b.t.Errorf("%s: the login went to %s, and status does not say why", b.client, p.KeyStore)
		case l.kind == "tpm" || p.KeyStore == "memory" && l.kind == "kernel":
			out = "goes on in " + p.KeyStore + ", and `status` says why"
		default:
			out = "goes on in the next store, " + b.movedTo(p.KeyStore) + ", and `status` says why"
		}
	} else {
		b.t.Errorf("%s: what the server gave is lost: %s", b.client, b.words(r))
	}
	r := b.run("token", "--scope", "write")
	if r.code == 0 {
		out += "; the next renewal works"
	} else {
		out += "; then " + b.words(r)
	}
	if l.heal != nil {
		l.heal(b)
		if r.code != 0 {
			if again := b.run("token", "--scope", "write"); again.code == 0 {
				out += ", and works " + l.healed
			}
		}
	}
	b.run("logout", "--all")
	return out
}

// lostNow asks for a token that must be renewed, heals the store, and logs in
// anew if it must.
func (b *box) lostNow(l loss, killed bool) string {
	b.t.Helper()
	r := b.run("token", "--scope", "read")
	if r.code == 0 {
		if l.store != "file, sealed by the TPM" || killed {
			b.t.Errorf("%s: the store is lost, and a renewal works all the same", b.client)
		}
		return "goes on: the agent has the file's key"
	}
	if r.code != 3 && r.code != 7 {
		b.t.Errorf("%s: exit code %d: %s", b.client, r.code, r.errs)
	}
	out := b.words(r)
	if l.heal != nil {
		l.heal(b)
		again := b.run("token", "--scope", "read")
		for end := time.Now().Add(3 * time.Second); again.code == 7 && time.Now().Before(end); { // a store that failed is asked every two seconds
			time.Sleep(100 * time.Millisecond)
			again = b.run("token", "--scope", "read")
		}
		if again.code == 0 {
			return out + "; kept " + l.healed
		}
		out += "; " + l.healed + " " + b.words(again)
	}
	grant, r := b.logIn()
	if grant == "" {
		b.t.Errorf("%s: a new login: %d: %s%s", b.client, r.code, r.out, r.errs)
		return out + "; a new login fails: " + b.words(r)
	}
	b.want("token")
	if b.w.count(b.t, grant, event.TokenIssued) == 0 {
		b.t.Errorf("%s: the new login has no token", b.client)
	}
	if got := b.login().KeyStore; got != l.kind {
		b.t.Errorf("%s: the new login is in %s", b.client, got)
	}
	return out + "; a new login works"
}

// TestPassphraseNotGiven starts the next agent without the passphrase: that is
// said, with what to do, and the login is there once it is given.
func TestPassphraseNotGiven(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "pass")
	b := newBox(t, w, "pass", "file", parts{pass: passphrase})
	b.mustLogIn()
	b.kill()
	for range 2 {
		r := b.run("token")
		if r.code != 7 {
			t.Fatalf("without the passphrase: exit code %d: %s", r.code, r.errs)
		}
		for _, words := range []string{"locked, it needs its passphrase", "keytether agent unlock --store"} {
			if !strings.Contains(r.errs, words) {
				t.Errorf("it does not say %q: %s", words, r.errs)
			}
		}
	}
	b.start()
	b.want("token")
	w.noAlarm(t)
}
