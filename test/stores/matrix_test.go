//go:build linux

package stores

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/agent"
	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/event"
)

const document = "../../docs/stores.md"

// parts is what a machine has.
type parts struct {
	bus, chip bool
	pass      string
}

const passphrase = "a passphrase for the sealed file"

// kinds are the rows of the first table.
var kinds = []struct {
	row, store string
	has        parts
}{
	{"tpm", "tpm", parts{chip: true}},
	{"keychain", "keychain", parts{bus: true}},
	{"kernel", "kernel", parts{}},
	{"file, sealed by the TPM", "file", parts{chip: true}},
	{"file, sealed by a passphrase", "file", parts{pass: passphrase}},
	{"memory", "memory", parts{}},
}

// TestMatrix does with every store what happens to it on a person's machine, and
// holds docs/stores.md to what it saw.
//
// Invariant: AS-10
func TestMatrix(t *testing.T) {
	t.Parallel() // the storms wait most of their time
	var clients []string
	for i := range kinds {
		clients = append(clients, fmt.Sprintf("kept%d", i))
	}
	for i := range losses {
		clients = append(clients, fmt.Sprintf("lost%d", i))
	}
	w := newWorld(t, clients...)
	kept, lost := make([][]string, len(kinds)), make([][]string, len(losses))
	t.Run("rows", func(t *testing.T) {
		slots := make(chan struct{}, 3) // two cores bear no more
		for i, k := range kinds {
			t.Run(k.row, func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				kept[i] = append([]string{k.row}, keep(newBox(t, w, clients[i], k.store, k.has), k.store)...)
			})
		}
		for i, l := range losses {
			t.Run(l.store+", "+l.how, func(t *testing.T) {
				t.Parallel()
				slots <- struct{}{}
				defer func() { <-slots }()
				lost[i] = lose(newBox(t, w, clients[len(kinds)+i], l.kind, l.has), l)
			})
		}
	})
	w.noAlarm(t)
	if t.Failed() || slices.ContainsFunc(append(kept, lost...), func(row []string) bool { return row == nil }) {
		return // -run left some out
	}
	hold(t, "kept", []string{"store", "login", "agent killed, the next one", "machine restarted", "`logout`, `logout --all`"}, kept)
	hold(t, "lost", []string{"store", "what happens", "while a renewal is under way", "before a renewal, the agent goes on", "before the agent starts"}, lost)
}

// keep makes one row of the first table.
func keep(b *box, store string) []string {
	b.t.Helper()
	grant := b.mustLogIn()
	p := b.login()
	if p.KeyStore != store || p.KeyStoreLife == "" {
		b.t.Errorf("%s: status names the store %q (%q)", b.client, p.KeyStore, p.KeyStoreLife)
	}
	if out := b.want("status"); !strings.Contains(out, store) {
		b.t.Errorf("%s: status does not name the store: %s", b.client, out)
	}
	row := []string{fmt.Sprintf("works; `status`: %s, lasts as the %s", p.KeyStore, p.KeyStoreLife)}

	b.kill()
	b.start()
	row = append(row, b.after(&grant))
	b.reboot()
	row = append(row, b.after(&grant))
	return append(row, b.wipes(grant))
}

// after says whether the login is still there, and logs in anew if it is not.
func (b *box) after(grant *string) string {
	b.t.Helper()
	before := b.w.count(b.t, *grant, event.TokenIssued)
	r := b.run("token")
	if r.code == 0 {
		if n := b.w.count(b.t, *grant, event.TokenIssued) - before; n != 1 {
			b.t.Errorf("%s: %d renewals for one token", b.client, n)
		}
		return "kept; one renewal"
	}
	if r.code != 3 && r.code != 7 {
		b.t.Errorf("%s: exit code %d: %s", b.client, r.code, r.errs)
	}
	*grant = b.mustLogIn()
	b.want("token")
	return "gone: " + b.words(r) + "; a new login works"
}

// wipes logs out of one of two logins, then of all, and looks for what is left.
func (b *box) wipes(grant string) string {
	b.t.Helper()
	other := b.mustLogIn("--profile", "other")
	if n := b.left(); n < 2 && b.login().KeyStoreLife != "process" {
		b.t.Errorf("%s: only %d things are seen in the store, so this test would not see what is left", b.client, n)
	}
	b.want("logout")
	if r := b.run("token"); r.code != 3 {
		b.t.Errorf("%s: after logout: exit code %d: %s", b.client, r.code, r.errs)
	}
	b.want("token", "--profile", "other", "--scope", "read")
	b.want("logout", "--all")
	for _, g := range []string{grant, other} {
		if b.w.count(b.t, g, event.GrantRevoked) != 1 {
			b.t.Errorf("%s: the grant %s lives on at the server", b.client, g)
		}
	}
	if b.pass != "" || b.chip != nil {
		b.want("agent", "stop") // a chip and its file have one user at a time
	}
	if n := b.left(); n != 0 {
		b.t.Errorf("%s: %d things are left in the store", b.client, n)
	}
	if _, err := os.Stat(filepath.Join(b.state(), agentwire.StoresFile)); err == nil {
		b.t.Errorf("%s: the list of stores is left", b.client)
	}
	b.noTokenOnDisk()
	b.start()
	return "revoked, and nothing left"
}

// words puts a failure as the table has it: the exit code and why.
func (b *box) words(r result) string {
	b.t.Helper()
	why := ""
	for line := range strings.Lines(r.errs) {
		what, isWhat := strings.CutPrefix(line, "keytether: ")
		if isWhat {
			why = strings.TrimSpace(what)
		}
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "why: "); ok {
			why = rest
		}
	}
	if why == "" {
		b.t.Errorf("%s: exit code %d without words: %q", b.client, r.code, r.errs)
	}
	why = strings.ReplaceAll(why, filepath.Join(b.m.Home.Dir, "home"), "~")
	if strings.Contains(why, b.m.Home.Dir) || b.chip != nil && strings.Contains(why, b.chip.Socket) {
		b.t.Errorf("%s: a path of the machine stands in %q", b.client, why)
	}
	return fmt.Sprintf("exit %d (%s)", r.code, strings.ReplaceAll(why, "|", "/"))
}

// movedTo says where a login went when its store failed: to the kernel's keyring, but in a
// container to memory, since nothing that outlives it is chosen by itself there.
func (b *box) movedTo(store string) string {
	b.t.Helper()
	want := "kernel"
	if container, _ := agent.Surroundings(func(string) string { return "" }); container != "" {
		want = "memory"
	}
	if store != want {
		b.t.Errorf("%s: the login went to %s, not to %s", b.client, store, want)
	}
	return "kernel (memory in a container)"
}

// hold compares a table with the document's, or writes it there.
func hold(t *testing.T, name string, head []string, rows [][]string) {
	t.Helper()
	var table strings.Builder
	line := func(cells []string) { table.WriteString("| " + strings.Join(cells, " | ") + " |\n") }
	line(head)
	line(slices.Repeat([]string{"---"}, len(head)))
	for _, r := range rows {
		line(r)
	}
	raw, err := os.ReadFile(document)
	do(t, err)
	begin, end := "<!-- table "+name+": go test ./test/stores -update -->\n", "<!-- end of "+name+" -->"
	before, rest, ok := strings.Cut(string(raw), begin)
	was, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table %s", document, name)
	}
	if was == table.String() {
		return
	}
	if *update {
		do(t, os.WriteFile(document, []byte(before+begin+table.String()+end+after), 0o644))
		return
	}
	t.Errorf("%s does not say what was seen; run go test ./test/stores -update, and read what changed:\n%s", document, table.String())
}
