package storetest

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/store"
)

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func testNotFound(t *testing.T, s store.Store) {
	ctx := t.Context()
	_, err := s.Request(ctx, tenant, "req_x")
	wantErr(t, "Request", err, store.ErrNotFound)
	_, err = s.RequestByHandle(ctx, tenant, hash(1))
	wantErr(t, "RequestByHandle", err, store.ErrNotFound)
	_, err = s.RequestByCode(ctx, tenant, hash(1))
	wantErr(t, "RequestByCode", err, store.ErrNotFound)
	_, err = s.Grant(ctx, tenant, "grt_x")
	wantErr(t, "Grant", err, store.ErrNotFound)
	_, err = s.Installation(ctx, tenant, "ins_x")
	wantErr(t, "Installation", err, store.ErrNotFound)
	_, err = s.InstallationByKey(ctx, tenant, "acc_x", "key")
	wantErr(t, "InstallationByKey", err, store.ErrNotFound)
	_, err = s.Account(ctx, tenant, "acc_x")
	wantErr(t, "Account", err, store.ErrNotFound)
	_, err = s.AccountByEmail(ctx, tenant, "a@example.test")
	wantErr(t, "AccountByEmail", err, store.ErrNotFound)
	_, err = s.AccountByEmail(ctx, tenant, "")
	wantErr(t, "AccountByEmail of nothing", err, store.ErrNotFound)
	_, err = s.SessionByHash(ctx, tenant, hash(1))
	wantErr(t, "SessionByHash", err, store.ErrNotFound)
	_, err = s.Session(ctx, tenant, "ses_none")
	wantErr(t, "Session", err, store.ErrNotFound)
	_, err = s.Checkpoint(ctx, tenant)
	wantErr(t, "Checkpoint", err, store.ErrNotFound)
	_, err = s.Hashes(ctx, tenant, []int64{0})
	wantErr(t, "Hashes", err, store.ErrNotFound)
	wantErr(t, "Erase", s.Erase(ctx, tenant, 0), store.ErrNotFound)
	if n, err := s.Size(ctx, tenant); n != 0 || err != nil {
		t.Errorf("Size: %d, %v", n, err)
	}
	if err := s.Commit(ctx, tenant, store.Change{}); err != nil {
		t.Errorf("an empty change: %v", err)
	}
	// A state without what another lookup is by is not found by its absence.
	c := aRequest(1)
	c.HandleHash = grant.Hash{}
	mustCommit(t, s, store.Change{Requests: fresh(c), Accounts: fresh(anAccount(1))})
	_, err = s.RequestByHandle(ctx, tenant, grant.Hash{})
	wantErr(t, "RequestByHandle of nothing", err, store.ErrNotFound)
	_, err = s.RequestByCode(ctx, tenant, grant.Hash{})
	wantErr(t, "RequestByCode of nothing", err, store.ErrNotFound)
	_, err = s.AccountByEmail(ctx, tenant, "")
	wantErr(t, "AccountByEmail of nothing", err, store.ErrNotFound)
}

// each lists, for every kind of state, a change that writes it at a version.
func each(n int) map[string]func(version uint64) store.Change {
	return map[string]func(uint64) store.Change{
		"request": func(v uint64) store.Change { return store.Change{Requests: read(aRequest(n), v)} },
		"grant":   func(v uint64) store.Change { return store.Change{Grants: read(aGrant(n), v)} },
		"account": func(v uint64) store.Change { return store.Change{Accounts: read(anAccount(n), v)} },
		"session": func(v uint64) store.Change { return store.Change{Sessions: read(aSession(n), v)} },
		"installation": func(v uint64) store.Change {
			return store.Change{Installations: read(store.Installation{ID: ident(id.Installation, n), Thumbprint: ident(id.Key, n)}, v)}
		},
		"entry": func(v uint64) store.Change {
			return store.Change{Entries: read(store.Entry{Kind: store.EntryClient, ID: ident(id.Key, n)}, v)}
		},
		"key": func(v uint64) store.Change {
			return store.Change{Keys: read(store.SealedKey{ID: ident(id.Key, n)}, v)}
		},
		"decoy": func(v uint64) store.Change { return store.Change{Decoys: read(aDecoy(n), v)} },
		"client": func(v uint64) store.Change {
			return store.Change{Clients: read(store.RegisteredClient{ID: ident(id.Client, n)}, v)}
		},
	}
}

func testCompareAndSwap(t *testing.T, s store.Store) {
	for kind, change := range each(1) {
		wantErr(t, kind+": update of what is not there", s.Commit(t.Context(), tenant, change(1)), store.ErrConflict)
		for version := range uint64(4) {
			mustCommit(t, s, change(version))
			for _, stale := range []uint64{0, version, version + 2} {
				if stale != version+1 {
					wantErr(t, kind+": stale", s.Commit(t.Context(), tenant, change(stale)), store.ErrConflict)
				}
			}
		}
	}
}

func testOneOfTwoWins(t *testing.T, s store.Store) {
	mustCommit(t, s, store.Change{Grants: fresh(aGrant(1))})
	g, err := s.Grant(t.Context(), tenant, aGrant(1).ID)
	if err != nil {
		t.Fatal(err)
	}
	a, b := g, g
	a.Value.Generation, b.Value.Generation = 10, 20
	mustCommit(t, s, store.Change{Grants: []store.Versioned[grant.Grant]{a}})
	wantErr(t, "the second", s.Commit(t.Context(), tenant, store.Change{Grants: []store.Versioned[grant.Grant]{b}}), store.ErrConflict)
	if g, err = s.Grant(t.Context(), tenant, a.Value.ID); err != nil || g.Value.Generation != 10 {
		t.Errorf("generation %d, %v; want that of the first", g.Value.Generation, err)
	}
}

// testOneOfManyWins: 20 rounds of 16 commits of one version at once.
func testOneOfManyWins(t *testing.T, s store.Store) {
	g := aGrant(1)
	for round := range 20 {
		var wg sync.WaitGroup
		results := make([]error, 16)
		for i := range results {
			wg.Go(func() {
				mine := g
				mine.Generation = uint32(round*100 + i)
				results[i] = s.Commit(context.Background(), tenant, store.Change{
					Grants: read(mine, uint64(round)), Records: []event.Record{record(round*100 + i)},
				})
			})
		}
		wg.Wait()
		winner := -1
		for i, err := range results {
			switch {
			case err == nil && winner >= 0:
				t.Fatalf("round %d: %d and %d both won", round, winner, i)
			case err == nil:
				winner = i
			case !errors.Is(err, store.ErrConflict):
				t.Fatal(err)
			}
		}
		got, err := s.Grant(t.Context(), tenant, g.ID)
		if err != nil || winner < 0 || got.Value.Generation != uint32(round*100+winner) || got.Version != uint64(round+1) {
			t.Fatalf("round %d: winner %d, stored %d at version %d, %v", round, winner, got.Value.Generation, got.Version, err)
		}
	}
	if n, err := s.Size(t.Context(), tenant); n != 20 || err != nil {
		t.Errorf("%d records of 20 winners, %v", n, err)
	}
}

func testNewMustNotExist(t *testing.T, s store.Store) {
	for kind, change := range each(1) {
		mustCommit(t, s, change(0))
		wantErr(t, kind, s.Commit(t.Context(), tenant, change(0)), store.ErrConflict)
	}
	wantErr(t, "twice in one change", s.Commit(t.Context(), tenant, store.Change{
		Grants: append(fresh(aGrant(2)), fresh(aGrant(2))...),
	}), store.ErrConflict)
	_, err := s.Grant(t.Context(), tenant, aGrant(2).ID)
	wantErr(t, "twice in one change", err, store.ErrNotFound)
}

// testLookupKeysAreUnique: what a state is found by belongs to one state.
func testLookupKeysAreUnique(t *testing.T, s store.Store) {
	a, b := anAccount(1), anAccount(2)
	a.Email, b.Email = "person@example.test", "Person@Example.Test"
	mustCommit(t, s, store.Change{Accounts: fresh(a)})
	wantErr(t, "email", s.Commit(t.Context(), tenant, store.Change{Accounts: fresh(b)}), store.ErrConflict)

	ra, rb := aRequest(1), aRequest(2)
	rb.HandleHash = ra.HandleHash
	mustCommit(t, s, store.Change{Requests: fresh(ra)})
	wantErr(t, "handle", s.Commit(t.Context(), tenant, store.Change{Requests: fresh(rb)}), store.ErrConflict)

	rb = aRequest(2)
	ra.CodeHash, rb.CodeHash = hash(7), hash(7)
	mustCommit(t, s, store.Change{Requests: read(ra, 1)})
	wantErr(t, "code", s.Commit(t.Context(), tenant, store.Change{Requests: fresh(rb)}), store.ErrConflict)

	sa, sb := aSession(1), aSession(2)
	sb.Hash = sa.Hash
	mustCommit(t, s, store.Change{Sessions: fresh(sa)})
	wantErr(t, "session", s.Commit(t.Context(), tenant, store.Change{Sessions: fresh(sb)}), store.ErrConflict)

	ia := store.Installation{ID: ident(id.Installation, 1), Subject: "acc_a", Thumbprint: "key"}
	ib := ia
	ib.ID = ident(id.Installation, 2)
	mustCommit(t, s, store.Change{Installations: fresh(ia)})
	wantErr(t, "installation", s.Commit(t.Context(), tenant, store.Change{Installations: fresh(ib)}), store.ErrConflict)
}

// testAllOrNothing: for every kind of state in the place that conflicts, a
// change of everything else and of two records leaves no trace.
func testAllOrNothing(t *testing.T, s store.Store) {
	n := 0
	for kind := range each(0) {
		n += 10
		mustCommit(t, s, each(n)[kind](0))
		size, err := s.Size(t.Context(), tenant)
		if err != nil {
			t.Fatal(err)
		}
		big := store.Change{
			Records:       []event.Record{record(1), record(2)},
			RevokedTokens: []grant.RevokedToken{{Grant: "grt_x", JTI: "jti_x", Until: at(1 << 20)}},
		}
		for other, change := range each(n + 1) {
			if other == kind {
				change = each(n)[kind] // exists: conflicts
			}
			big = merge(big, change(0))
		}
		revoked := aGrant(n + 2)
		revoked.Status, revoked.AccessUntil = grant.Revoked, at(1<<20)
		big.Grants = append(fresh(revoked), big.Grants...)
		wantErr(t, kind, s.Commit(t.Context(), tenant, big), store.ErrConflict)
		for other, change := range each(n + 1) {
			if other == kind {
				continue
			}
			if err := s.Commit(t.Context(), tenant, change(0)); err != nil {
				t.Errorf("conflict of %s: %s was kept: %v", kind, other, err)
			}
		}
		_, err = s.Grant(t.Context(), tenant, revoked.ID)
		wantErr(t, kind+": the grant before it", err, store.ErrNotFound)
		if list, err := s.RevokedSince(t.Context(), tenant, at(0)); len(list) != 0 || err != nil {
			t.Errorf("conflict of %s: revocations were kept: %v, %v", kind, list, err)
		}
		if now, err := s.Size(t.Context(), tenant); now != size || err != nil {
			t.Errorf("conflict of %s: records were kept: %d, were %d, %v", kind, now, size, err)
		}
	}
}

func merge(a, b store.Change) store.Change {
	v, w := reflect.ValueOf(&a).Elem(), reflect.ValueOf(b)
	for i := range v.NumField() {
		v.Field(i).Set(reflect.AppendSlice(v.Field(i), w.Field(i)))
	}
	return a
}

// testOneRecordNotKept: a record that cannot be written spoils its change.
func testOneRecordNotKept(t *testing.T, s store.Store) {
	bad := record(2)
	bad.Name = "no.such.event"
	err := s.Commit(t.Context(), tenant, store.Change{Grants: fresh(aGrant(1)), Records: []event.Record{record(1), bad}})
	if err == nil {
		t.Error("a record outside the closed list was accepted")
	}
	_, err = s.Grant(t.Context(), tenant, aGrant(1).ID)
	wantErr(t, "its grant", err, store.ErrNotFound)
	if n, err := s.Size(t.Context(), tenant); n != 0 || err != nil {
		t.Errorf("size %d, %v", n, err)
	}
}

func testTenantOfAChange(t *testing.T, s store.Store) {
	other := "other"
	for name, c := range map[string]store.Change{
		"request": {Requests: fresh(aRequest(1))},
		"grant":   {Grants: fresh(aGrant(1))},
		"device":  {Devices: fresh(aDevice(1))},
		"decoy":   {Decoys: fresh(aDecoy(1))},
		"record":  {Records: []event.Record{record(1)}},
	} {
		if err := s.Commit(t.Context(), other, c); err == nil {
			t.Errorf("a %s of another tenant was accepted", name)
		}
	}
	if n, err := s.Size(t.Context(), other); n != 0 || err != nil {
		t.Errorf("size %d, %v", n, err)
	}
}

func testReadYourWrites(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for i := range 25 {
				g := aGrant(c*1000 + i)
				if err := s.Commit(t.Context(), tenant, store.Change{Grants: fresh(g)}); err != nil {
					t.Error(err)
					return
				}
				for v := range uint64(3) {
					got, err := s.Grant(t.Context(), tenant, g.ID)
					if err != nil || got.Version != v+1 || got.Value.Generation != uint32(v) {
						t.Errorf("read version %d, generation %d, %v; wrote %d", got.Version, got.Value.Generation, err, v)
						return
					}
					got.Value.Generation++
					if err := s.Commit(t.Context(), tenant, store.Change{Grants: []store.Versioned[grant.Grant]{got}}); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

func testCanceledContext(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := s.Commit(ctx, tenant, store.Change{Grants: fresh(aGrant(1))})
	wantErr(t, "Commit", err, store.ErrUnavailable)
	wantErr(t, "Commit", err, context.Canceled)
	_, err = s.Grant(ctx, tenant, aGrant(1).ID)
	wantErr(t, "Grant", err, context.Canceled)
}

// testClosed: what was committed before is kept (a driver's reopen test looks),
// what comes after is refused.
func testClosed(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	started := make(chan struct{}, 8)
	for c := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				err := s.Commit(context.Background(), tenant, store.Change{Grants: fresh(aGrant(c*1000 + i))})
				if errors.Is(err, store.ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
				if i == 3 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 8 {
		<-started
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	wantErr(t, "Commit", s.Commit(t.Context(), tenant, store.Change{Grants: fresh(aGrant(9999))}), store.ErrClosed)
	_, err := s.Grant(t.Context(), tenant, aGrant(1).ID)
	wantErr(t, "Grant", err, store.ErrClosed)
	wantErr(t, "Erase", s.Erase(t.Context(), tenant, 0), store.ErrClosed)
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}
