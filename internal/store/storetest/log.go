package storetest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/keytether/keytether/internal/audit"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/store"
)

// leaves reads the whole log and checks that its numbers are dense.
func leaves(t testing.TB, s store.Store, tenant string) []store.Leaf {
	t.Helper()
	size, err := s.Size(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	var list []store.Leaf
	if err := s.Leaves(t.Context(), tenant, 0, size, func(l store.Leaf) error {
		if l.Index != int64(len(list)) {
			t.Fatalf("leaf %d came where %d was due", l.Index, len(list))
		}
		list = append(list, l)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if int64(len(list)) != size {
		t.Fatalf("%d leaves, size says %d", len(list), size)
	}
	return list
}

func decoded(t testing.TB, l store.Leaf) event.Record {
	t.Helper()
	d, err := audit.DecodeLeaf(l.Data)
	if err != nil {
		t.Fatal(err)
	}
	return d.Record
}

// testLeavesAreDense: 50 committers, some of whose changes conflict; every
// acknowledged record has its place, no other has, and no number is left out.
func testLeavesAreDense(t *testing.T, s store.Store) {
	const committers, each = 50, 20
	mustCommit(t, s, store.Change{Grants: fresh(aGrant(1))})
	var wg sync.WaitGroup
	var mu sync.Mutex
	acknowledged := map[uint32]bool{}
	for c := range committers {
		wg.Go(func() {
			for i := range each {
				n := c*1000 + i*10 + 1
				change := store.Change{Records: []event.Record{record(n), record(n + 1)}}
				if i%3 == 0 { // most of these conflict
					change.Grants = read(aGrant(1), uint64(i/3+1))
				}
				err := s.Commit(context.Background(), tenant, change)
				if errors.Is(err, store.ErrConflict) && i%3 == 0 {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acknowledged[uint32(n)], acknowledged[uint32(n+1)] = true, true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	list := leaves(t, s, tenant)
	for i, l := range list {
		n := decoded(t, l).Generation
		if !acknowledged[n] {
			t.Fatalf("leaf %d is of a change that was refused, or stands twice", l.Index)
		}
		delete(acknowledged, n)
		if n%10 == 2 && decoded(t, list[i-1]).Generation != n-1 {
			t.Fatalf("leaf %d: the records of one change do not stand together", l.Index)
		}
	}
	if len(acknowledged) > 0 {
		t.Fatalf("%d acknowledged records are not in the log", len(acknowledged))
	}
}

// testLeavesFollowCommits: whoever commits after another one's Commit returned
// has the higher numbers.
func testLeavesFollowCommits(t *testing.T, s store.Store) {
	g := aGrant(1)
	var wg sync.WaitGroup
	var mu sync.Mutex
	next := 0
	for range 8 {
		wg.Go(func() {
			for range 12 {
				mu.Lock()
				n := next
				next++
				err := s.Commit(context.Background(), tenant, store.Change{Grants: read(g, uint64(n)), Records: []event.Record{record(n)}})
				mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if err := s.Commit(context.Background(), tenant, store.Change{Records: []event.Record{record(1 << 20)}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want := uint32(0)
	for _, l := range leaves(t, s, tenant) {
		switch n := decoded(t, l).Generation; n {
		case 1 << 20:
		case want:
			want++
		default:
			t.Fatalf("leaf %d is of commit %d, due was %d", l.Index, n, want)
		}
	}
}

func testLeavesStopAtAnError(t *testing.T, s store.Store) {
	var c store.Change
	for n := range 1500 {
		c.Records = append(c.Records, record(n))
	}
	mustCommit(t, s, c)
	for _, r := range [][2]int64{{0, 1500}, {0, 0}, {7, 7}, {3, 4}, {400, 1200}, {1499, 1500}, {1400, 9999}, {5000, 6000}, {9, 3}} {
		next := r[0]
		if err := s.Leaves(t.Context(), tenant, r[0], r[1], func(l store.Leaf) error {
			if l.Index != next || decoded(t, l).Generation != uint32(next) {
				t.Fatalf("%v: leaf %d came where %d was due", r, l.Index, next)
			}
			next++
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if want := max(r[0], min(r[1], 1500)); next != want {
			t.Errorf("%v: ended before %d, want %d", r, next, want)
		}
	}
	stop, seen := errors.New("stop"), 0
	err := s.Leaves(t.Context(), tenant, 0, 1500, func(store.Leaf) error {
		seen++
		if seen == 600 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || seen != 600 {
		t.Errorf("stopped after %d with %v", seen, err)
	}
}

// testFacts: a leaf only commits to facts; the sidecar opens the commitments;
// keys differ between records.
func testFacts(t *testing.T, s store.Store) {
	r := record(1)
	r.Facts = event.Facts{Email: "person@example.test", Host: "laptop"}
	mustCommit(t, s, store.Change{Records: []event.Record{r, r, record(2)}})
	list := leaves(t, s, tenant)
	if bytes.Equal(list[0].Data, list[1].Data) {
		t.Error("two records of the same facts have the same commitments")
	}
	for _, l := range list[:2] {
		if bytes.Contains(l.Data, []byte("person@")) || bytes.Contains(l.Data, []byte("laptop")) {
			t.Error("a leaf holds facts in clear")
		}
		side, err := audit.DecodeSidecar(l.Sidecar)
		if err != nil {
			t.Fatal(err)
		}
		d, err := audit.DecodeLeaf(l.Data)
		if err != nil {
			t.Fatal(err)
		}
		if err := audit.OpenCommitments(d, *side); err != nil || side.Facts != r.Facts {
			t.Errorf("the sidecar does not open its leaf: %v, %+v", err, side.Facts)
		}
	}
	if list[2].Sidecar != nil {
		t.Error("a sidecar without facts")
	}
}

func testErase(t *testing.T, s store.Store) {
	r := record(1)
	r.Facts = event.Facts{Email: "person@example.test"}
	mustCommit(t, s, store.Change{Records: []event.Record{r, r}})
	before := leaves(t, s, tenant)
	for range 2 { // twice is no error
		if err := s.Erase(t.Context(), tenant, 0); err != nil {
			t.Fatal(err)
		}
	}
	after := leaves(t, s, tenant)
	if after[0].Sidecar != nil {
		t.Error("the facts are still there")
	}
	if !bytes.Equal(after[0].Data, before[0].Data) {
		t.Error("the leaf changed")
	}
	if !bytes.Equal(after[1].Sidecar, before[1].Sidecar) || after[1].Sidecar == nil {
		t.Error("another record's facts changed")
	}
	wantErr(t, "beyond the log", s.Erase(t.Context(), tenant, 2), store.ErrNotFound)
	wantErr(t, "below the log", s.Erase(t.Context(), tenant, -1), store.ErrNotFound)
	wantErr(t, "another tenant's log", s.Erase(t.Context(), "other", 1), store.ErrNotFound)
}

func testSequenced(t *testing.T, s store.Store) {
	var kept [][32]byte
	more := func(n int) [][32]byte {
		add := make([][32]byte, n)
		for i := range add {
			add[i] = hash(len(kept) + i)
		}
		return add
	}
	for _, n := range []int{1, 0, 2, 300, 209, 256, 1, 1024, 511} {
		add, first := more(n), int64(len(kept))
		note := []byte("checkpoint " + string(rune('a'+n%26)))
		if first > 0 {
			wantErr(t, "an older place", s.Sequenced(t.Context(), tenant, []byte("bad"), first-1, add), store.ErrConflict)
		}
		wantErr(t, "a place beyond", s.Sequenced(t.Context(), tenant, []byte("bad"), first+1, add), store.ErrConflict)
		if err := s.Sequenced(t.Context(), tenant, note, first, add); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, add...)
		if got, err := s.Checkpoint(t.Context(), tenant); err != nil || !bytes.Equal(got, note) {
			t.Fatalf("checkpoint %q, %v", got, err)
		}
		all := make([]int64, len(kept))
		for i := range all {
			all[i] = int64(len(kept) - 1 - i)
		}
		got, err := s.Hashes(t.Context(), tenant, all)
		slices.Reverse(got)
		if err != nil || !slices.Equal(got, kept) {
			t.Fatalf("hashes differ, %v", err)
		}
		_, err = s.Hashes(t.Context(), tenant, []int64{0, int64(len(kept))})
		wantErr(t, "beyond", err, store.ErrNotFound)
		_, err = s.Hashes(t.Context(), tenant, []int64{-1})
		wantErr(t, "below", err, store.ErrNotFound)
	}
	mustCommit(t, s, store.Change{Records: []event.Record{record(1)}})
	if n, err := s.Size(t.Context(), tenant); n != 1 || err != nil {
		t.Errorf("size %d, %v: hashes are no leaves", n, err)
	}
	if _, err := s.Checkpoint(t.Context(), tenant); err != nil {
		t.Errorf("a commit lost the checkpoint: %v", err)
	}
	_, err := s.Checkpoint(t.Context(), "other")
	wantErr(t, "another tenant's", err, store.ErrNotFound)
}

// testTenantsAreSeparate: the same keys in two tenants are two things.
func testTenantsAreSeparate(t *testing.T, s store.Store) {
	ctx := t.Context()
	g, r := aGrant(1), aRequest(1)
	r.CodeHash = hash(99)
	a, se := anAccount(1), aSession(1)
	a.Email = "person@example.test"
	in := store.Installation{ID: "ins_a", Subject: "acc_a", Thumbprint: "key"}
	in.Facts.Host = tenant
	build := func(tn string) store.Change {
		g, r, a, se, in, rec := g, r, a, se, in, record(1)
		g.Tenant, r.Tenant, rec.Tenant = tn, tn, tn
		g.Client, r.Client, a.PasswordHash, se.ACR, in.Facts.Host = tn, tn, tn, tn, tn
		g.Status, g.AccessUntil, g.Resource = grant.Revoked, at(1<<20), tn
		return store.Change{
			Grants: fresh(g), Requests: fresh(r), Accounts: fresh(a), Sessions: fresh(se), Installations: fresh(in),
			Entries:       fresh(store.Entry{Kind: store.EntryClient, ID: "cli", Digest: [32]byte{byte(len(tn))}}),
			Keys:          fresh(store.SealedKey{ID: "key_a", Use: tn}),
			RevokedTokens: []grant.RevokedToken{{Grant: g.ID, JTI: "jti_a", Resource: tn, Until: at(1 << 20)}},
			Records:       []event.Record{rec},
		}
	}
	tenants := []string{tenant, "other", "Other"}
	for _, tn := range tenants {
		if err := s.Commit(ctx, tn, build(tn)); err != nil {
			t.Fatal(err)
		}
		if err := s.Sequenced(ctx, tn, []byte(tn), 0, [][32]byte{{byte(len(tn))}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tn := range tenants {
		check := func(what, got string, err error) {
			t.Helper()
			if err != nil || got != tn {
				t.Errorf("%s of %s: got %q, %v", what, tn, got, err)
			}
		}
		vg, err := s.Grant(ctx, tn, g.ID)
		check("Grant", vg.Value.Client, err)
		check("Grant's tenant", vg.Value.Tenant, err)
		vr, err := s.Request(ctx, tn, r.ID)
		check("Request", vr.Value.Client, err)
		vr, err = s.RequestByHandle(ctx, tn, r.HandleHash)
		check("RequestByHandle", vr.Value.Client, err)
		check("RequestByHandle's tenant", vr.Value.Tenant, err)
		vr, err = s.RequestByCode(ctx, tn, r.CodeHash)
		check("RequestByCode", vr.Value.Client, err)
		va, err := s.Account(ctx, tn, a.ID)
		check("Account", va.Value.PasswordHash, err)
		va, err = s.AccountByEmail(ctx, tn, a.Email)
		check("AccountByEmail", va.Value.PasswordHash, err)
		vs, err := s.SessionByHash(ctx, tn, se.Hash)
		check("SessionByHash", vs.Value.ACR, err)
		vs, err = s.Session(ctx, tn, se.ID)
		check("Session", vs.Value.ACR, err)
		vi, err := s.Installation(ctx, tn, in.ID)
		check("Installation", vi.Value.Facts.Host, err)
		vi, err = s.InstallationByKey(ctx, tn, in.Subject, in.Thumbprint)
		check("InstallationByKey", vi.Value.Facts.Host, err)
		if list, err := s.Keys(ctx, tn); len(list) != 1 || err != nil || list[0].Value.Use != tn {
			t.Errorf("Keys of %s: %v, %v", tn, list, err)
		}
		if list, err := s.Entries(ctx, tn); len(list) != 1 || err != nil {
			t.Errorf("Entries of %s: %v, %v", tn, list, err)
		}
		if list, err := s.Accounts(ctx, tn); len(list) != 1 || err != nil {
			t.Errorf("Accounts of %s: %v, %v", tn, list, err)
		}
		if list, err := s.GrantsOf(ctx, tn, store.GrantQuery{}); len(list) != 1 || err != nil || list[0].Value.Client != tn {
			t.Errorf("GrantsOf %s: %v, %v", tn, list, err)
		}
		if list, err := s.RevokedSince(ctx, tn, at(0)); len(list) != 2 || err != nil || list[0].Resource != tn || list[1].Resource != tn {
			t.Errorf("RevokedSince of %s: %v, %v", tn, list, err)
		}
		list := leaves(t, s, tn)
		if len(list) != 1 || decoded(t, list[0]).Tenant != tn {
			t.Errorf("leaves of %s: %v", tn, list)
		}
		note, err := s.Checkpoint(ctx, tn)
		check("Checkpoint", string(note), err)
	}
	// What is pruned in one tenant stays in the others.
	if n, err := s.PruneRequests(ctx, "other", at(1<<24)); n != 1 || err != nil {
		t.Errorf("pruned %d requests, %v", n, err)
	}
	if n, err := s.PruneSessions(ctx, "other", at(1<<24)); n != 1 || err != nil {
		t.Errorf("pruned %d sessions, %v", n, err)
	}
	if _, err := s.Request(ctx, tenant, r.ID); err != nil {
		t.Error(err)
	}
	if _, err := s.SessionByHash(ctx, tenant, se.Hash); err != nil {
		t.Error(err)
	}
}
