//go:build linux

package stores

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/keystore/stores"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/testkit/leak"
)

// left counts what of logins is in the box's stores: items on the bus, keys in the
// kernel's keyring, entries in files. An agent that holds them is told nothing.
func (b *box) left() (n int) {
	b.t.Helper()
	if b.bus != nil {
		n += b.items()
	}
	b.kernelKeys(func(int) { n++ })
	for _, name := range []string{"tpm", "file"} {
		if name == "tpm" && b.chip == nil || b.chip == nil && b.pass == "" {
			continue
		}
		n += b.entries(name)
	}
	return n
}

// entries opens a store as an agent does, and counts its logins.
func (b *box) entries(name string) int {
	b.t.Helper()
	o := stores.Options{Folder: b.state(), Choose: name, Service: b.service()}
	if b.chip != nil {
		o.Device, o.Facts.TPM = b.chip.Socket, true
	}
	list, err := stores.Kinds(o)
	do(b.t, err)
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	if b.pass != "" {
		do(b.t, list[0].Unlock(ctx, secret.New(b.pass), false))
	}
	s, err := list[0].Open(ctx)
	do(b.t, err)
	names, err := s.Names(ctx)
	do(b.t, err)
	if c, ok := s.(interface{ Close() error }); ok {
		do(b.t, c.Close())
	}
	return len(names)
}

// items counts what is in the login keychain.
func (b *box) items() int {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, "dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.secrets", "/org/freedesktop/secrets/collection/login",
		"org.freedesktop.DBus.Properties.Get", "string:org.freedesktop.Secret.Collection", "string:Items")
	c.Env = b.env
	out, err := c.CombinedOutput()
	if err != nil {
		b.t.Fatalf("the keychain's items: %v: %s", err, out)
	}
	return strings.Count(string(out), "/collection/login/")
}

// noTokenOnDisk looks for every token that the server gave to the box, in all the
// ways in which one is written down.
func (b *box) noTokenOnDisk() {
	b.t.Helper()
	secrets := b.w.tokens(b.client)
	if len(secrets) < 4 {
		b.t.Errorf("%s: only %d tokens went by", b.client, len(secrets))
	}
	roots := []string{b.m.Home.Dir}
	if b.bus != nil {
		roots = append(roots, b.bus.Home.Dir)
	}
	if b.chip != nil {
		roots = append(roots, filepath.Dir(b.chip.Socket))
	}
	hits, err := leak.Scan(roots, nil, secrets)
	do(b.t, err)
	for _, h := range hits {
		b.t.Errorf("%s: %s", b.client, h)
	}
}
