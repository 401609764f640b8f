package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/secret"
)

// choose finds the store for a login before a person is asked anything: the first
// that opens, has or makes the issuer's key, and takes an entry that holds it.
// Why others did not is kept.
func (a *agent) choose(ctx context.Context, s *attempt) error {
	choice := a.opt.Store
	if choice == "" {
		choice = s.req.Store
	}
	places, why, err := a.vault.order(choice, mustNotOutlive(s.req.Env))
	if err != nil {
		return err
	}
	do := ""
	for _, p := range places {
		var key keystore.Key
		err := p.use(ctx, func(ctx context.Context, st keystore.Store) (err error) {
			key, err = st.Key(ctx, s.key)
			if errors.Is(err, keystore.ErrNoKey) {
				key, err = st.NewKey(ctx, s.key)
			}
			if err != nil {
				return err
			}
			return st.Put(ctx, s.hold, holdOf(s.key))
		})
		if err == nil {
			s.place, s.proof, s.why = p, newProofKey(key), strings.Join(why, "; ")
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if wantsPassphrase(err) && len(places) == 1 && choice == p.kind.Name {
			return wireError(err, couldNot)
		}
		a.log.Info("a store was passed over", "store", p.kind.Name, "err", err)
		why = append(why, p.reason(err))
		if do == "" {
			do = mend(err)
		}
	}
	if do == "" {
		do = "Choose another store in config.yaml, or let it be auto"
	}
	return agentwire.NewError(agentwire.StoreUnusable, couldNot, "no credential store can be used ("+strings.Join(why, "; ")+")", do, keystore.ErrUnusable)
}

// keep writes a login's refresh token. When its store fails, the next that takes
// key and entry has the login from then on: what a person completed, and what a
// server rotated, is never lost for a store's sake. p.serial is held, or nobody
// knows p yet.
func (a *agent) keep(ctx context.Context, p *profile, refresh secret.Value) error {
	p.mu.Lock()
	at, name, why := p.place, p.keyName, p.why
	p.mu.Unlock()
	entry := keystore.Entry{Key: name, RefreshToken: pack(refresh, p.reach)}
	var err error
	if entry.Metadata, err = p.record(why, a.now()); err != nil {
		return err
	}
	failed := at.use(ctx, func(ctx context.Context, st keystore.Store) error {
		// In one step with the writing: what was ended meanwhile leaves nothing behind.
		if !a.current(p) {
			return errGone
		}
		return st.Put(ctx, p.slot, entry)
	})
	switch {
	case failed == nil:
		a.sweep(ctx, p)
		return nil
	case errors.Is(failed, errGone):
		p.mu.Lock()
		p.orphan = refresh
		p.mu.Unlock()
		return errGone
	}
	return a.keepElsewhere(ctx, p, at, entry, failed)
}

func (a *agent) keepElsewhere(ctx context.Context, p *profile, from *home, entry keystore.Entry, failed error) error {
	why := from.reason(failed)
	for _, to := range a.vault.next(from) {
		var err error
		if entry.Metadata, err = p.record(why, a.now()); err != nil {
			return err
		}
		err = a.move(ctx, p, from, to, entry)
		if errors.Is(err, errGone) {
			p.mu.Lock()
			p.orphan, _ = unpack(entry.RefreshToken)
			p.mu.Unlock()
			return errGone
		}
		if err == nil {
			p.mu.Lock()
			p.why = why
			p.mu.Unlock()
			a.log.Warn("a login was moved to another store", "profile", p.who.Profile, "from", from.kind.Name, "to", to.kind.Name, "err", failed)
			a.mark()
			return nil
		}
		why += "; " + to.reason(err)
	}
	return fmt.Errorf("%w: %s", keystore.ErrUnusable, why)
}

// move takes a login's key and entry to another place. The key gets a name of its
// own there, since the issuer may have another key in that place.
func (a *agent) move(ctx context.Context, p *profile, from, to *home, entry keystore.Entry) error {
	key := p.proof.current()
	entry.Key = movedKey(p.keyName, key)
	var refused error
	err := to.use(ctx, func(ctx context.Context, st keystore.Store) error {
		if !a.current(p) {
			return errGone
		}
		moved, err := st.Key(ctx, entry.Key)
		if errors.Is(err, keystore.ErrNoKey) {
			taker, ok := st.(keystore.Importer)
			if !ok {
				refused = fmt.Errorf("%w: it takes no key of another store", keystore.ErrUnusable)
				return nil
			}
			if refused = taker.Import(ctx, entry.Key, key); refused != nil {
				return nil
			}
			moved, err = st.Key(ctx, entry.Key)
		}
		if err != nil {
			return err
		}
		if err := st.Put(ctx, p.slot, entry); err != nil {
			return err
		}
		p.proof.move(moved)
		return nil
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.stale = append(p.stale, leftover{from, p.slot, p.keyName})
	p.place, p.keyName = to, entry.Key
	p.mu.Unlock()
	a.sweep(ctx, p)
	return nil
}

func movedKey(name string, k keystore.Key) string {
	name, _, _ = strings.Cut(name, ".")
	return name + "." + k.Public().Thumbprint()[:16]
}

// leftover is an entry in a place that failed, and that a login left.
type leftover struct {
	at        *home
	name, key string
}

// sweep takes the token out of what a login left behind. The key stays there as
// long as the login lives: where it now is, it may be a handle on that very key.
func (a *agent) sweep(ctx context.Context, p *profile) {
	p.mu.Lock()
	left := p.stale
	p.mu.Unlock()
	if len(left) == 0 {
		return
	}
	for _, l := range left {
		err := l.at.use(ctx, func(ctx context.Context, st keystore.Store) error {
			e, err := st.Get(ctx, l.name)
			if errors.Is(err, keystore.ErrNotFound) || err == nil && e.RefreshToken.IsZero() && holder(e.Metadata) == os.Getpid() {
				return nil
			}
			if err != nil {
				return err
			}
			return st.Put(ctx, l.name, holdOf(l.key))
		})
		if err != nil {
			a.log.Info("an older copy of a login could not be taken away yet", "store", l.at.kind.Name, "err", err)
			continue
		}
		p.mu.Lock()
		p.swept = append(p.swept, l)
		p.stale = slices.DeleteFunc(slices.Clone(p.stale), func(o leftover) bool { return o == l })
		p.mu.Unlock()
	}
	a.mark()
}

// refreshToken reads what a login renews with.
func (a *agent) refreshToken(ctx context.Context, p *profile) (secret.Value, error) {
	p.mu.Lock()
	at := p.place
	p.mu.Unlock()
	var e keystore.Entry
	err := at.use(ctx, func(ctx context.Context, st keystore.Store) (err error) {
		e, err = st.Get(ctx, p.slot)
		return err
	})
	refresh, _ := unpack(e.RefreshToken)
	return refresh, err
}

// wipe drops tokens, key and refresh token of a login that is in no list any more.
func (a *agent) wipe(p *profile) error {
	p.drop()
	p.close()
	ctx := context.WithoutCancel(a.ctx)
	p.mu.Lock()
	all := slices.Concat([]leftover{{at: p.place, name: p.slot}}, p.stale, p.swept)
	p.mu.Unlock()
	var failures []error
	for _, l := range all {
		err := l.at.use(ctx, func(ctx context.Context, st keystore.Store) error { return st.Delete(ctx, l.name) })
		if err != nil {
			a.log.Error("a login could not be wiped", "store", l.at.kind.Name, "err", err)
			failures = append(failures, err)
			if l.at.kind.Life > keystore.Process {
				a.noteStale(l)
			}
		}
	}
	a.mark()
	return errors.Join(failures...)
}

// record is what goes beside the refresh token. Each is later than the one before, also where
// the clock was set back.
func (p *profile) record(why string, now time.Time) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.saved = max(now.UnixNano(), p.saved+1)
	return json.Marshal(record{Version: recordVersion, Whoami: p.who, JKT: p.jkt, Lack: p.missing(), Why: why, Time: p.saved})
}

// writtenAt is when its record was last written.
func (p *profile) writtenAt() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.saved
}
