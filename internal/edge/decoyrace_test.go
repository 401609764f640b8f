package edge_test

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/store"
)

// TestDecoyStorm: many use the decoy, and the installation's tools renew, at once.
// One lock is recorded, and no token that anybody was given outlives it.
//
// Invariant: DC-2
func TestDecoyStorm(t *testing.T) {
	b := newBaited(t)
	p := b.plant(t)
	b.Clock.Advance(time.Minute)
	n := b.Size()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { b.present(p.Decoy) })
	}
	var given []string
	wg.Go(func() {
		for range 20 {
			res := b.tool.Post(oauth.PathToken, b.tool.RefreshParams())
			if res.Status != http.StatusOK {
				break
			}
			b.tool.Take(res)
			given = append(given, b.tool.Token.AccessToken)
		}
	})
	wg.Wait()
	fired := 0
	for _, e := range b.Events(n) {
		if e == event.DecoyFired {
			fired++
		}
	}
	if fired != 1 {
		t.Errorf("fired %d times", fired)
	}
	for _, text := range given {
		if live(b.Server, text) {
			t.Error("a token that was given outlives the lock")
		}
	}
	d, err := b.Store.FiredDecoys(t.Context(), store.DefaultTenant, b.Clock.Now())
	if err != nil || len(d) != 1 || !d[0].Value.Locks() {
		t.Errorf("%+v, %v", d, err)
	}
}

// fullFor refuses to commit decoys that fired while it is full, and sees what is
// committed with one.
type fullFor struct {
	store.Store
	full atomic.Bool
	seen atomic.Int32 // commits of a fired decoy that had its record
}

func (f *fullFor) Commit(ctx context.Context, tenant string, c store.Change) error {
	for _, r := range c.Records {
		if r.Name == event.DecoyFired && f.full.Load() {
			return store.ErrFull
		}
	}
	for _, d := range c.Decoys {
		if d.Value.Locks() && len(c.Records) == 1 && c.Records[0].Name == event.DecoyFired {
			f.seen.Add(1)
		}
	}
	return f.Store.Commit(ctx, tenant, c)
}

// TestLockIsOneCommit: the lock and its record are kept together or not at all. When
// the disk is full the installation is locked all the same, as long as the server
// runs; the answer is that to an unknown string, and the next use is recorded.
//
// Invariant: DC-9
func TestLockIsOneCommit(t *testing.T) {
	f := &fullFor{}
	s := edgetest.NewServer(t, edgetest.Options{Store: func(in store.Store) store.Store { f.Store = in; return f }})
	b := baited{Server: s, api: s.NewTool(edgetest.Handshake)}
	b.api.Resource, b.api.Scope = s.Issuer+oauth.PathAPI, "account"
	b.api.Login()
	p := b.plant(t)
	n := b.Size()
	f.full.Store(true)
	refused(t, b.present(p.Decoy), oauth.RefreshUnknown)
	b.Expect(n)
	if list, err := b.Store.FiredDecoys(t.Context(), store.DefaultTenant, time.Time{}); err != nil || len(list) != 0 {
		t.Errorf("kept without its record: %+v, %v", list, err)
	}
	refused(t, b.api.Post(oauth.PathToken, b.api.RefreshParams()), oauth.InstallationLocked)
	b.Restart()
	b.api.Take(b.api.Post(oauth.PathToken, b.api.RefreshParams())) // nobody could know
	f.full.Store(false)
	refused(t, b.present(p.Decoy), oauth.RefreshUnknown)
	b.Restart()
	refused(t, b.api.Post(oauth.PathToken, b.api.RefreshParams()), oauth.InstallationLocked)
	if f.seen.Load() != 1 {
		t.Errorf("%d commits of the lock with its record", f.seen.Load())
	}
}

// meanwhile runs something once, between the commit of a renewal and its answer.
type meanwhile struct {
	store.Store
	do atomic.Pointer[func()]
}

func (m *meanwhile) Commit(ctx context.Context, tenant string, c store.Change) error {
	err := m.Store.Commit(ctx, tenant, c)
	if len(c.Grants) > 0 {
		if do := m.do.Swap(nil); do != nil {
			(*do)()
		}
	}
	return err
}

// TestLockBetween: the decoy is used when a renewal is kept and not yet answered. Its
// tokens are given to nobody until the unlock, and then are not lost.
//
// Invariant: DC-2
func TestLockBetween(t *testing.T) {
	m := &meanwhile{}
	s := edgetest.NewServer(t, edgetest.Options{Store: func(in store.Store) store.Store { m.Store = in; return m }})
	b := baited{Server: s, api: s.NewTool(edgetest.Handshake)}
	b.api.Resource, b.api.Scope = s.Issuer+oauth.PathAPI, "account"
	b.api.Login()
	b.phone = trusted(t, s)
	p := b.plant(t)
	b.Clock.Advance(time.Minute)
	thief := func() { b.present(p.Decoy) }
	m.do.Store(&thief)
	refused(t, b.api.Post(oauth.PathToken, b.api.RefreshParams()), oauth.InstallationLocked)
	b.Clock.Advance(time.Second)
	if res := b.phone.Send("/api/v1/installations/"+p.Installation+"/unlock", map[string]string{}); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	renew(b.api)
	if !liveAPI(b.api) {
		t.Error("the login did not go on")
	}
}
