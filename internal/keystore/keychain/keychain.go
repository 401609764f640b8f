// Package keychain keeps logins in the keychain of the operating system: a Secret Service (GNOME
// Keyring, KWallet, KeePassXC) over D-Bus on Linux and the BSDs, the Keychain on macOS, the
// Credential Manager on Windows. The keychain's own password or the person's sign-in guards it,
// and it lives on when the machine restarts. Keys are software keys. While a Secret Service is
// unlocked it answers every program of the same D-Bus session, and values cross that bus plainly.
//
// Each call runs under a time limit, since a D-Bus peer may never answer. A call that outlasts it
// makes the store unusable for good. At most one call of a Kind is under way, whatever hangs: the
// next Open waits for the one that hung, under the same limit, and else says that it still does.
// A write that hung may yet take effect later.
//
// The library lists nothing, so the names of the items stand in an index, itself one or more
// items. A name enters the index before its item is written, and leaves it after that is gone. A
// crash in between leaves a name without an item, which counts for nothing. If the index is lost
// or damaged, the items are still found by their names; they are listed again once they are
// written again, as a refresh does.
package keychain

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/records"
)

// Name is the kind's name.
const Name = "keychain"

// Limit is how long one call may take unless Options says otherwise.
const Limit = 3 * time.Second

// Options says which items to use. On Linux DBUS_SESSION_BUS_ADDRESS says which keychain.
type Options struct {
	Service string        // what the items are filed under; default "keytether"
	Limit   time.Duration // default Limit
}

// Kind is the OS keychain.
func Kind(o Options) keystore.Kind {
	if o.Service == "" {
		o.Service = "keytether"
	}
	if o.Limit == 0 {
		o.Limit = Limit
	}
	gate := make(chan struct{}, 1) // of all stores of this kind: see the package comment
	return keystore.Kind{Name: Name, Life: keystore.Machine, Open: func(ctx context.Context) (keystore.Store, error) {
		s := records.New(&backend{Options: o, gate: gate})
		if err := keystore.Probe(ctx, s); err != nil {
			return nil, keystore.AsProblem(Name, err)
		}
		return s, nil
	}}
}

type backend struct {
	Options
	gate chan struct{}
	hung atomic.Bool
}

// View is Update: items are read and written one by one.
func (b *backend) View(ctx context.Context, f func(records.Tx) error) error {
	return f(&tx{b: b, ctx: ctx})
}

// Update calls f. See records.Backend.
func (b *backend) Update(ctx context.Context, f func(records.Tx) error) error {
	return f(&tx{b: b, ctx: ctx})
}

// tx is the items. It reads the index once.
type tx struct {
	b     *backend
	ctx   context.Context
	pages []page
}

// Get gives an item, or nil.
func (t *tx) Get(id string) ([]byte, error) {
	return t.read(id)
}

func (t *tx) read(item string) ([]byte, error) {
	text, err := call(t.ctx, t.b, func() (string, error) { return keyring.Get(t.b.Service, item) })
	if errors.Is(err, keyring.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, records.ErrDamaged // base64's error would show a part
	}
	return raw, nil
}

// Set writes an item, its name first.
func (t *tx) Set(id string, record []byte) error {
	if err := t.list(id); err != nil {
		return err
	}
	return t.write(id, record)
}

func (t *tx) write(item string, raw []byte) error {
	text := base64.StdEncoding.EncodeToString(raw)
	if len(text) > maxText {
		return &keystore.Problem{
			Store: Name, Why: fmt.Sprintf("the login is larger than the %d bytes that one item may have here", maxText),
			Mend: "Choose another store, such as file",
		}
	}
	_, err := call(t.ctx, t.b, func() (struct{}, error) { return struct{}{}, keyring.Set(t.b.Service, item, text) })
	return err
}

// Delete wipes an item, its name last.
func (t *tx) Delete(id string) error {
	if err := t.remove(id); err != nil {
		return err
	}
	return t.unlist(id)
}

func (t *tx) remove(item string) error {
	_, err := call(t.ctx, t.b, func() (struct{}, error) { return struct{}{}, keyring.Delete(t.b.Service, item) })
	if errors.Is(err, keyring.ErrNotFound) {
		return nil
	}
	return err
}

// call runs f under the limit, alone.
func call[T any](ctx context.Context, b *backend, f func() (T, error)) (T, error) {
	var none T
	if b.hung.Load() {
		return none, b.hangs()
	}
	limit := time.NewTimer(b.Limit)
	defer limit.Stop()
	select {
	case b.gate <- struct{}{}:
	case <-limit.C:
		b.hung.Store(true)
		return none, b.hangs()
	case <-ctx.Done():
		return none, ctx.Err()
	}
	type answer struct {
		v   T
		err error
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			if r := recover(); r != nil { // the library trusts its peer's types
				a.err = errors.New("keychain: the answer was not one of a keychain")
			}
			<-b.gate
			done <- a
		}()
		if a.err = ready(); a.err == nil {
			a.v, a.err = f()
		}
	}()
	select {
	case a := <-done:
		if a.err != nil && !errors.Is(a.err, keyring.ErrNotFound) {
			return none, problem(a.err)
		}
		return a.v, a.err
	case <-limit.C:
		b.hung.Store(true)
		return none, b.hangs()
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

func (b *backend) hangs() error {
	return &keystore.Problem{
		Store: Name, Why: fmt.Sprintf("the keychain did not answer within %s", b.Limit),
		Mend: "See whether a window asks for the keychain's password, and whether the keyring service still runs",
	}
}
