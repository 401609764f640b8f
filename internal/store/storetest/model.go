package storetest

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/store"
)

// model is a store as simple as can be: what must hold after any sequence of
// changes, some of which conflict.
type model struct {
	grants   map[string]store.Versioned[grant.Grant]
	requests map[string]store.Versioned[grant.Request]
	accounts map[string]store.Versioned[store.Account]
	revoked  []string
	leaves   []uint32
	compared int64 // leaves that were found in the driver
}

// commit is what store.Committer promises.
func (m *model) commit(c store.Change) error {
	next := model{
		grants: maps.Clone(m.grants), requests: maps.Clone(m.requests), accounts: maps.Clone(m.accounts),
		revoked: m.revoked, leaves: m.leaves, compared: m.compared,
	}
	for _, v := range c.Grants {
		if next.grants[v.Value.ID].Version != v.Version {
			return store.ErrConflict
		}
		if v.Value.Status == grant.Revoked && next.grants[v.Value.ID].Value.Status != grant.Revoked {
			next.revoked = append(next.revoked[:len(next.revoked):len(next.revoked)], v.Value.ID)
		}
		v.Version++
		next.grants[v.Value.ID] = v
	}
	for _, v := range c.Requests {
		if next.requests[v.Value.ID].Version != v.Version {
			return store.ErrConflict
		}
		v.Version++
		next.requests[v.Value.ID] = v
	}
	for _, v := range c.Accounts {
		if next.accounts[v.Value.ID].Version != v.Version {
			return store.ErrConflict
		}
		for _, other := range next.accounts {
			if other.Value.Email == v.Value.Email && other.Value.ID != v.Value.ID {
				return store.ErrConflict
			}
		}
		v.Version++
		next.accounts[v.Value.ID] = v
	}
	for _, r := range c.Records {
		next.leaves = append(next.leaves[:len(next.leaves):len(next.leaves)], r.Generation)
	}
	*m = next
	return nil
}

// testModel holds the driver against the model, each rapid run in a tenant of
// its own.
func testModel(t *testing.T, s store.Store) {
	run, n := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		tn := fmt.Sprintf("tenant-%d", run)
		m := &model{
			grants: map[string]store.Versioned[grant.Grant]{}, requests: map[string]store.Versioned[grant.Request]{},
			accounts: map[string]store.Versioned[store.Account]{},
		}
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) {
				for range rapid.IntRange(1, 6).Draw(rt, "commits") {
					n++
					c := m.draw(rt, tn, n)
					want, got := m.commit(c), s.Commit(t.Context(), tn, c)
					if !errors.Is(got, want) {
						rt.Fatalf("got %v, want %v, of %+v", got, want, c)
					}
				}
			},
			"compare": func(rt *rapid.T) { m.compare(rt, t, s, tn) },
		})
		m.compare(rt, t, s, tn)
	})
}

// draw draws a change whose versions are right most of the time.
func (m *model) draw(rt *rapid.T, tn string, n int) store.Change {
	version := func(now uint64, label string) uint64 {
		if rapid.IntRange(0, 9).Draw(rt, label) == 0 {
			return uint64(rapid.IntRange(0, 4).Draw(rt, label+" version"))
		}
		return now
	}
	var c store.Change
	revoked := map[string]bool{} // in this change
	for range rapid.IntRange(0, 2).Draw(rt, "grants") {
		g := aGrant(rapid.IntRange(1, 4).Draw(rt, "grant"))
		old := m.grants[g.ID]
		g.Tenant, g.Generation, g.AccessUntil = tn, uint32(n), at(1<<20)
		g.Subject = fmt.Sprintf("acc_%d", rapid.IntRange(0, 1).Draw(rt, "subject"))
		if old.Value.Status == grant.Revoked || revoked[g.ID] || rapid.IntRange(0, 4).Draw(rt, "revoke") == 0 {
			g.Status, revoked[g.ID] = grant.Revoked, true // for ever
		}
		c.Grants = append(c.Grants, read(g, version(old.Version, "stale grant"))...)
	}
	for range rapid.IntRange(0, 1).Draw(rt, "requests") {
		r := aRequest(rapid.IntRange(1, 3).Draw(rt, "request"))
		r.Tenant, r.State = tn, fmt.Sprint(n)
		if rapid.Bool().Draw(rt, "code") {
			r.CodeHash = hash(n)
		}
		c.Requests = append(c.Requests, read(r, version(m.requests[r.ID].Version, "stale request"))...)
	}
	for range rapid.IntRange(0, 1).Draw(rt, "accounts") {
		a := anAccount(rapid.IntRange(1, 3).Draw(rt, "account"))
		a.Email = fmt.Sprintf("%d@example.test", rapid.IntRange(0, 4).Draw(rt, "email"))
		c.Accounts = append(c.Accounts, read(a, version(m.accounts[a.ID].Version, "stale account"))...)
	}
	for i := range rapid.IntRange(0, 3).Draw(rt, "records") {
		r := record(n*10 + i)
		r.Tenant = tn
		c.Records = append(c.Records, r)
	}
	return c
}

func (m *model) compare(rt *rapid.T, t *testing.T, s store.Store, tn string) {
	ctx := t.Context()
	active := map[string]int{}
	for i := 1; i <= 4; i++ {
		gid := ident(id.Grant, i)
		got, err := s.Grant(ctx, tn, gid)
		want, ok := m.grants[gid]
		same(rt, gid, ok, err, got.Version, want.Version, got.Value.Generation, want.Value.Generation)
		if ok && want.Value.Status == grant.Active {
			active[want.Value.Subject]++
		}
	}
	for i := 1; i <= 3; i++ {
		rid, aid := ident(id.Request, i), ident(id.Account, i)
		r, err := s.Request(ctx, tn, rid)
		want, ok := m.requests[rid]
		same(rt, rid, ok, err, r.Version, want.Version, r.Value.State, want.Value.State)
		if ok && want.Value.CodeHash != (grant.Hash{}) {
			byCode, err := s.RequestByCode(ctx, tn, want.Value.CodeHash)
			same(rt, rid+" by code", true, err, byCode.Version, want.Version, byCode.Value.ID, rid)
		}
		a, err := s.Account(ctx, tn, aid)
		wantAccount, ok := m.accounts[aid]
		same(rt, aid, ok, err, a.Version, wantAccount.Version, a.Value.Email, wantAccount.Value.Email)
	}
	for subject, n := range active {
		list, err := s.GrantsOf(ctx, tn, store.GrantQuery{Subject: subject, ActiveOnly: true})
		if err != nil || len(list) != n {
			rt.Fatalf("%d active grants of %s, %v; want %d", len(list), subject, err, n)
		}
	}
	revoked, err := s.RevokedSince(ctx, tn, at(0))
	if err != nil || len(revoked) != len(m.revoked) {
		rt.Fatalf("%d revocations, %v; want %d", len(revoked), err, len(m.revoked))
	}
	for i, r := range revoked {
		if r.Grant != m.revoked[i] {
			rt.Fatalf("revocation %d is of %s, want %s", i, r.Grant, m.revoked[i])
		}
	}
	size, err := s.Size(ctx, tn)
	if err != nil || size != int64(len(m.leaves)) {
		rt.Fatalf("%d leaves, %v; want %d", size, err, len(m.leaves))
	}
	if err := s.Leaves(ctx, tn, m.compared, size, func(l store.Leaf) error { // the older ones were compared
		if got := decoded(t, l).Generation; l.Index != m.compared || got != m.leaves[l.Index] {
			rt.Fatalf("leaf %d, due was %d, is of record %d, want %d", l.Index, m.compared, got, m.leaves[l.Index])
		}
		m.compared++
		return nil
	}); err != nil {
		rt.Fatal(err)
	}
}

func same[T comparable](rt *rapid.T, what string, exists bool, err error, version, wantVersion uint64, got, want T) {
	switch {
	case !exists && errors.Is(err, store.ErrNotFound):
	case exists && err == nil && version == wantVersion && got == want:
	default:
		rt.Fatalf("%s: %v at version %d, %v; want %v at version %d", what, got, version, err, want, wantVersion)
	}
}
