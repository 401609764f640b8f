package agent

import (
	"context"
	"errors"
	"net/http"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/secret"
)

// wantsPassphrase says that a person can open the store.
func wantsPassphrase(err error) bool {
	return errors.Is(err, keystore.ErrPassphrase) || errors.Is(err, keystore.ErrNewPassphrase)
}

// unlockStore takes the passphrase of the store that is sealed with one, and finds the logins in
// it. After a wrong one it looks at none for a while.
func (a *agent) unlockStore(r *http.Request) (any, error) {
	var req agentwire.UnlockStoreRequest
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	const what = "the store was not opened"
	at := a.vault.sealed()
	if at == nil {
		return nil, agentwire.NewError(agentwire.Usage, what, "this agent has no store with a passphrase", "", nil)
	}
	// scrypt does not stop when its caller goes away: a caller who comes and goes must wait its
	// turn all the same, or many of them, of 256 MiB each, run at once.
	err := at.alone(context.WithoutCancel(r.Context()), unlockTime, func(ctx context.Context) error {
		if req.Passphrase.IsZero() {
			return at.kind.Unlock(ctx, secret.Value{}, false)
		}
		a.mu.Lock()
		wrong, now := a.wrongAt, a.now()
		a.mu.Unlock()
		if !wrong.IsZero() && now.Sub(wrong) < wrongWait && !now.Before(wrong) {
			return agentwire.NewError(agentwire.PassphraseWanted, what, "a wrong passphrase was given just now", "Wait a second and try again", nil)
		}
		err := at.kind.Unlock(ctx, secret.New(req.Passphrase.Reveal()), req.New)
		if errors.Is(err, keystore.ErrPassphrase) {
			a.mu.Lock()
			a.wrongAt = a.now()
			a.mu.Unlock()
		}
		return err
	})
	if err != nil {
		return nil, wireError(err, what)
	}
	a.mu.Lock()
	known := a.missing[at]
	a.mu.Unlock()
	a.restoreFrom(at, known)
	a.mark()
	return agentwire.Empty{}, nil
}

// shutStore forgets what a passphrase opened, and the logins in it, as if this agent had just
// started. Renewals under way are waited for: what the server rotated has to be written.
func (a *agent) shutStore() {
	at := a.vault.sealed()
	if at == nil {
		return
	}
	a.shutting.Lock()
	defer a.shutting.Unlock()
	a.mu.Lock()
	var list []*profile
	for _, p := range a.profiles {
		if p.at() == at {
			list = append(list, p)
		}
	}
	a.mu.Unlock()
	for _, p := range list {
		p.serial.Lock()
		defer p.serial.Unlock()
	}
	ctx := context.WithoutCancel(a.ctx)
	// In one step, so that nobody finds the logins again in between.
	err := at.alone(ctx, unlockTime, func(context.Context) error {
		for _, p := range list {
			a.setAside(at, p)
		}
		at.lock()
		return nil
	})
	if err != nil { // somebody uses it for that long
		at.kind.Lock()
	}
	_ = at.use(ctx, func(context.Context, keystore.Store) error { return nil }) // status then says why
	a.mark()
}

// setAside takes a login out of the list and leaves it in its store.
func (a *agent) setAside(at *home, p *profile) {
	a.mu.Lock()
	name := p.who.Profile
	if a.profiles[name] != p || p.at() != at {
		a.mu.Unlock()
		return
	}
	delete(a.profiles, name)
	a.missing[at] = true
	p.drop()
	a.mu.Unlock()
	p.mu.Lock()
	stale := p.stale
	p.mu.Unlock()
	for _, l := range stale {
		if l.at.kind.Life > keystore.Process {
			a.noteStale(l)
		}
	}
	p.close()
}
