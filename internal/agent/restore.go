package agent

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/secret"
)

// restore asks every store that outlives the process for the logins of an agent
// before this one. Calls that need logins wait for it.
func (a *agent) restore() {
	defer close(a.restored)
	m := a.readMarker()
	a.mu.Lock()
	a.stale = m.Stale
	a.mu.Unlock()
	var all sync.WaitGroup
	for _, p := range a.vault.lasting() {
		known := slices.Contains(m.Stores, p.kind.Name)
		if _, passed := a.vault.passed[p.kind.Name]; passed && !known && a.opt.Store != p.kind.Name {
			continue // not even to probe it
		}
		all.Go(func() { a.restoreFrom(p, known) })
	}
	all.Wait()
	a.mark()
}

// awaitRestored waits until logins of an earlier agent are found.
func (a *agent) awaitRestored(ctx context.Context) error {
	select {
	case <-a.restored:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// found is a login in a store.
type found struct {
	slot    string
	keyName string
	key     keystore.Key
	secret  secret.Value
	rec     record
}

// restoreFrom takes over the logins of one store. One that cannot be opened and is
// known to hold some is not forgotten: it is tried again, and status names it.
func (a *agent) restoreFrom(p *home, known bool) {
	var list []found
	err := p.use(a.ctx, func(ctx context.Context, st keystore.Store) (err error) {
		list, err = a.entries(ctx, p, st)
		return err
	})
	a.mu.Lock()
	if err != nil && known {
		a.missing[p] = true
	} else {
		delete(a.missing, p)
	}
	a.mu.Unlock()
	if err != nil {
		a.log.Info("a store was not asked for logins", "store", p.kind.Name, "err", err)
		return
	}
	for _, f := range list {
		a.takeOver(p, f)
	}
}

// entries reads the logins of a store, and wipes what is left of logins that came
// to nothing. What a newer version wrote stays as it is.
func (a *agent) entries(ctx context.Context, p *home, st keystore.Store) ([]found, error) {
	names, err := st.Names(ctx)
	if err != nil {
		return nil, err
	}
	var out []found
	for _, name := range names[:min(len(names), maxProfiles+maxLogins)] {
		e, err := st.Get(ctx, name)
		if errors.Is(err, keystore.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		by := holder(e.Metadata)
		if by != 0 && runs(by) {
			continue // of a login in progress, here or in another agent
		}
		if by != 0 || len(e.Metadata) == 0 || a.isStale(p, name) {
			if err := st.Delete(ctx, name); err != nil {
				return nil, err
			}
			a.dropStale(p, name)
			continue
		}
		rec, err := readRecord(e.Metadata)
		if err != nil {
			a.log.Warn("an entry is not understood", "store", p.kind.Name, "err", err)
			continue
		}
		key, err := st.Key(ctx, e.Key)
		if errors.Is(err, keystore.ErrNoKey) || err == nil && e.RefreshToken.IsZero() {
			// Without its key or a token nothing can be had with it any more.
			err = st.Delete(ctx, name)
			key = nil
		}
		if err != nil {
			return nil, err
		}
		if key != nil {
			out = append(out, found{name, e.Key, key, e.RefreshToken, rec})
		}
	}
	return out, nil
}

// takeOver makes a login that was found one of ours. Of two of one profile the
// later counts; the other is an older copy of the same grant, or a login that was
// replaced and not revoked any more.
func (a *agent) takeOver(at *home, f found) {
	p := &profile{
		slot: f.slot, proof: newProofKey(f.key), jkt: f.rec.JKT, lacked: f.rec.Lack, who: f.rec.Whoami, place: at, keyName: f.keyName, why: f.rec.Why,
		saved: f.rec.Time, tokens: map[want]oauthclient.Tokens{}, flights: map[want]*flight{},
	}
	_, p.reach = unpack(f.secret)
	a.mu.Lock()
	name := p.who.Profile
	winner, loser := p, a.profiles[name]
	switch {
	case loser != nil && loser.slot == p.slot && loser.at() == at:
		a.mu.Unlock()
		return // it is this one
	case loser != nil && loser.writtenAt() > f.rec.Time:
		winner, loser = loser, p
	case loser == nil && len(a.profiles) >= maxProfiles:
		a.mu.Unlock()
		return
	default:
		a.profiles[name] = p
		delete(a.ended, name)
	}
	if loser != nil {
		loser.drop()
	}
	a.mu.Unlock()
	a.log.Info("a login was found", "profile", name, "store", at.kind.Name)
	switch {
	case loser == nil:
	case loser.who.GrantID != "" && loser.who.GrantID == winner.who.GrantID:
		_ = a.wipe(loser) // it has been logged
	default:
		a.background(func() { a.replaced(loser) })
	}
}

// findAgain asks the stores that are missing once more, and those of the list of stores when
// another agent of the same person wrote it.
func (a *agent) findAgain() {
	a.mu.Lock()
	now := a.now()
	if now.Sub(a.lastFind) < findEvery && now.After(a.lastFind) {
		a.mu.Unlock()
		return
	}
	a.lastFind = now
	list := slices.Collect(maps.Keys(a.missing))
	a.mu.Unlock()
	if a.listChanged() {
		for _, name := range a.readMarker().Stores {
			if p := a.vault.named(name); p != nil && !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	for _, p := range list {
		a.restoreFrom(p, true)
	}
}

// listChanged says that the list of stores is not the file that this agent saw last.
func (a *agent) listChanged() bool {
	if a.opt.StateDir == "" {
		return false
	}
	a.marking.Lock()
	defer a.marking.Unlock()
	now, err := os.Stat(a.listPath())
	if err != nil || a.list != nil && os.SameFile(a.list, now) && a.list.ModTime().Equal(now.ModTime()) {
		return false
	}
	a.list = now
	return true
}

func (a *agent) listPath() string { return filepath.Join(a.opt.StateDir, agentwire.StoresFile) }

// absent says why a profile may only seem to have no login; nil: every store that
// holds logins was asked.
func (a *agent) absent(name string) error {
	for p := range a.missing {
		err := p.trouble()
		if err == nil {
			continue
		}
		return agentwire.NewError(agentwire.StoreUnusable, "it is not known whether profile "+name+" is logged in",
			"the store "+p.kind.Name+" holds logins and cannot be opened ("+p.reason(err)+")", mend(err), err)
	}
	return nil
}

// marker is the file "stores" in the state folder: which stores hold logins, so
// that a command knows that an agent would find some, and so that a store which
// cannot be opened is missed. It holds no secret.
type marker struct {
	Stores []string `json:"stores"`
	Stale  []string `json:"stale,omitempty"` // older copies that could not be taken away: "STORE/ENTRY"
}

func (a *agent) readMarker() marker {
	var m marker
	if a.opt.StateDir == "" {
		return m
	}
	b, err := os.ReadFile(a.listPath())
	if err == nil && json.Unmarshal(b, &m) != nil {
		a.log.Warn("the list of stores is not understood")
	}
	return m
}

// mark writes the marker, or takes it away where no store that lasts holds a login.
func (a *agent) mark() {
	if a.opt.StateDir == "" {
		return
	}
	a.marking.Lock()
	defer a.marking.Unlock()
	path := a.listPath()
	m := a.marker()
	for _, name := range a.readMarker().Stores {
		if !slices.Contains(m.Stores, name) && a.others(name) {
			m.Stores = append(m.Stores, name)
		}
	}
	slices.Sort(m.Stores)
	if len(m.Stores)+len(m.Stale) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			a.log.Warn("the list of stores could not be removed", "err", err)
		}
		return
	}
	b, err := json.Marshal(m)
	if err == nil {
		err = os.MkdirAll(a.opt.StateDir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(path+".new", append(b, '\n'), 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil && overwrite(path, append(b, '\n')) == nil {
		err = nil
	}
	if err == nil {
		a.list, err = os.Stat(path)
	}
	if err != nil {
		a.log.Warn("the list of stores could not be written", "err", err)
	}
}

// overwrite writes into a file that is there, which wants no room where the disk is full: then
// too an older copy must be remembered as such, or the next agent would use its token again.
func overwrite(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return errors.Join(err, f.Truncate(int64(len(b))), f.Sync(), f.Close())
}

// others says that a store of the list, of which this agent has no login, holds one of another
// agent of the same person, or may hold one.
func (a *agent) others(name string) bool {
	at := a.vault.named(name)
	if at == nil {
		return false
	}
	found := false
	err := at.use(context.WithoutCancel(a.ctx), func(ctx context.Context, st keystore.Store) error {
		names, err := st.Names(ctx)
		for _, name := range names {
			e, err := st.Get(ctx, name)
			if err != nil && !errors.Is(err, keystore.ErrNotFound) {
				return err
			}
			if err == nil && !e.RefreshToken.IsZero() && !a.isStale(at, name) {
				found = true
			}
		}
		return err
	})
	return found || err != nil
}

func (a *agent) marker() marker {
	a.mu.Lock()
	defer a.mu.Unlock()
	m := marker{Stores: []string{}, Stale: slices.Clone(a.stale)}
	add := func(at *home) {
		if at.kind.Life > keystore.Process && !slices.Contains(m.Stores, at.kind.Name) {
			m.Stores = append(m.Stores, at.kind.Name)
		}
	}
	for _, p := range a.profiles {
		p.mu.Lock()
		add(p.place)
		for _, l := range p.stale {
			if l.at.kind.Life > keystore.Process {
				m.Stale = append(m.Stale, l.at.kind.Name+"/"+l.name)
			}
		}
		p.mu.Unlock()
	}
	for p := range a.missing {
		add(p)
	}
	return m
}

// noteStale remembers an entry that could not be wiped: the next agent that reaches
// its store wipes it, and does not take it for a login.
func (a *agent) noteStale(l leftover) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stale = append(a.stale, l.at.kind.Name+"/"+l.name)
}

func (a *agent) isStale(p *home, slot string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Contains(a.stale, p.kind.Name+"/"+slot)
}

func (a *agent) dropStale(p *home, slot string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stale = slices.DeleteFunc(a.stale, func(s string) bool { return s == p.kind.Name+"/"+slot })
}
