package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/store"
)

// testRequestLookups: a request is found by what it has now, and no more by
// what it had.
func testRequestLookups(t *testing.T, s store.Store) {
	ctx := t.Context()
	r := aRequest(1)
	mustCommit(t, s, store.Change{Requests: fresh(r)})
	r.CodeHash, r.Status = hash(50), grant.Approved
	mustCommit(t, s, store.Change{Requests: read(r, 1)})
	for _, status := range []grant.Status{grant.Approved, grant.Redeemed} {
		got, err := s.RequestByCode(ctx, tenant, hash(50))
		if err != nil || got.Value.ID != r.ID || got.Value.Status != status {
			t.Fatalf("by code: %v %s, %v", got.Value.ID, got.Value.Status, err)
		}
		if status == grant.Approved {
			r.Status = grant.Redeemed
			mustCommit(t, s, store.Change{Requests: read(r, got.Version)})
		}
	}
	r.CodeHash, r.Status = grant.Hash{}, grant.Expired
	mustCommit(t, s, store.Change{Requests: read(r, 3)})
	_, err := s.RequestByCode(ctx, tenant, hash(50))
	wantErr(t, "by the code it had", err, store.ErrNotFound)
	if got, err := s.RequestByHandle(ctx, tenant, r.HandleHash); err != nil || got.Version != 4 {
		t.Fatalf("by handle: version %d, %v", got.Version, err)
	}
}

// testPruneRequests: what ended before t goes; a redeemed request stays as long
// as its code's reuse would still have a grant to revoke.
func testPruneRequests(t *testing.T, s store.Store) {
	const now = 100000
	make := func(n int, status grant.Status, expires, code int) grant.Request {
		r := aRequest(n)
		r.Status, r.ExpiresAt = status, at(expires)
		r.Lifetimes = grant.Lifetimes{Access: 300 * time.Second, Grant: 3600 * time.Second}
		if code != 0 {
			r.CodeAt, r.CodeHash = at(code), hash(1000+n)
		}
		return r
	}
	keep := []grant.Request{
		make(1, grant.Pending, now+1, 0),
		make(2, grant.Approved, now+1, 0),
		make(3, grant.Approved, now-50, now-10), // its code still lives
		make(4, grant.Redeemed, now-3000, now-3500),
		make(5, grant.Denied, now+1, 0),
	}
	drop := []grant.Request{
		make(11, grant.Pending, now-1, 0),
		make(12, grant.Approved, now-1, 0),
		make(13, grant.Approved, now+500, now-31),
		make(14, grant.Redeemed, now-4000, now-4000),
		make(15, grant.Denied, now-1, 0),
		make(16, grant.Expired, now-1, 0),
	}
	for _, r := range append(keep, drop...) {
		mustCommit(t, s, store.Change{Requests: fresh(r)})
	}
	for _, want := range []int{len(drop), 0} {
		if n, err := s.PruneRequests(t.Context(), tenant, at(now)); n != want || err != nil {
			t.Errorf("pruned %d, %v; want %d", n, err, want)
		}
	}
	for _, r := range keep {
		if _, err := s.Request(t.Context(), tenant, r.ID); err != nil {
			t.Errorf("%s request %s was dropped: %v", r.Status, r.ID, err)
		}
	}
	for _, r := range drop {
		_, err := s.Request(t.Context(), tenant, r.ID)
		wantErr(t, string(r.Status), err, store.ErrNotFound)
	}
}

func testGrantsOf(t *testing.T, s store.Store) {
	var all []grant.Grant
	for n := range 48 {
		g := aGrant(n)
		g.Subject = fmt.Sprintf("acc_%d", n%2)
		g.Client = fmt.Sprintf("cli-%d", n/2%2)
		g.Resource = fmt.Sprintf("https://%d.example.test", n/4%2)
		g.Installation = fmt.Sprintf("ins_%d", n/8%2)
		g.Status = []grant.GrantStatus{grant.Active, grant.Revoked, grant.GrantExpired}[n/16]
		all = append(all, g)
	}
	for _, n := range []int{5, 40, 12} { // not in the order of time
		all[0], all[n] = all[n], all[0]
	}
	for _, g := range all {
		mustCommit(t, s, store.Change{Grants: fresh(g)})
	}
	for combination := range 32 {
		q := store.GrantQuery{ActiveOnly: combination&1 != 0}
		for bit, f := range map[int]*string{2: &q.Subject, 4: &q.Client, 8: &q.Resource, 16: &q.Installation} {
			if combination&bit != 0 {
				*f = map[int]string{2: "acc_1", 4: "cli-0", 8: "https://1.example.test", 16: "ins_1"}[bit]
			}
		}
		for _, limit := range []int{0, 1, 3} {
			q.Limit = limit
			want := 0
			for _, g := range all {
				if matches(g, q) {
					want++
				}
			}
			if limit > 0 {
				want = min(want, limit)
			}
			list, err := s.GrantsOf(t.Context(), tenant, q)
			if err != nil || len(list) != want {
				t.Fatalf("%+v: %d grants, %v; want %d", q, len(list), err, want)
			}
			for i, v := range list {
				if !matches(v.Value, q) {
					t.Errorf("%+v: got %+v", q, v.Value)
				}
				if i > 0 && !v.Value.CreatedAt.Before(list[i-1].Value.CreatedAt) {
					t.Errorf("%+v: not newest first", q)
				}
			}
		}
	}
	// A grant that changes is found by what it is now.
	g, err := s.Grant(t.Context(), tenant, all[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	g.Value.Subject, g.Value.Status = "acc_new", grant.Active
	mustCommit(t, s, store.Change{Grants: []store.Versioned[grant.Grant]{g}})
	if list, err := s.GrantsOf(t.Context(), tenant, store.GrantQuery{Subject: "acc_new", ActiveOnly: true}); len(list) != 1 || err != nil {
		t.Errorf("after a change: %v, %v", list, err)
	}
}

func matches(g grant.Grant, q store.GrantQuery) bool {
	return (q.Subject == "" || g.Subject == q.Subject) && (q.Client == "" || g.Client == q.Client) &&
		(q.Resource == "" || g.Resource == q.Resource) && (q.Installation == "" || g.Installation == q.Installation) &&
		(!q.ActiveOnly || g.Status == grant.Active)
}

// testRevokedSince: in commit order, whatever ids and times say; once each;
// only what could still be alive; an expired grant is not revoked.
func testRevokedSince(t *testing.T, s store.Store) {
	var want []store.Revoked
	for i, n := range []int{9, 2, 7, 4} {
		g := aGrant(n)
		mustCommit(t, s, store.Change{Grants: fresh(g)})
		g.Status, g.EndedAt, g.AccessUntil = grant.Revoked, at(n), at(1000+n)
		mustCommit(t, s, store.Change{Grants: read(g, 1)})
		want = append(want, store.Revoked{Grant: g.ID, Resource: g.Resource, At: at(n), Until: at(1000 + n)})
		jti := fmt.Sprintf("jti_%d", 9-i)
		rec := record(50)
		rec.Name, rec.JTI, rec.Time = event.TokenRevoked, jti, at(50+n)
		mustCommit(t, s, store.Change{
			RevokedTokens: []grant.RevokedToken{{Grant: "grt_x", JTI: jti, Resource: "https://x.example.test", Until: at(2000 - n)}},
			Records:       []event.Record{record(49), rec},
		})
		want = append(want, store.Revoked{JTI: jti, Resource: "https://x.example.test", At: at(50 + n), Until: at(2000 - n)})
	}
	expired := aGrant(20)
	expired.Status, expired.AccessUntil = grant.GrantExpired, at(5000)
	active := aGrant(21)
	active.AccessUntil = at(5000)
	mustCommit(t, s, store.Change{Grants: append(fresh(expired), fresh(active)...)})
	// Revoked again (the same token twice; a revoked grant written again): no second entry, no other place.
	again, err := s.Grant(t.Context(), tenant, want[0].Grant)
	if err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, store.Change{
		Grants:        []store.Versioned[grant.Grant]{again},
		RevokedTokens: []grant.RevokedToken{{Grant: "grt_x", JTI: want[1].JTI, Resource: "https://x.example.test", Until: want[1].Until}},
	})
	for _, since := range []int{0, 1002, 1004, 1008, 1500, 1995, 1998, 1999} {
		var due []store.Revoked
		for _, r := range want {
			if r.Until.After(at(since)) {
				due = append(due, r)
			}
		}
		got, err := s.RevokedSince(t.Context(), tenant, at(since))
		if err != nil || len(got) != len(due) {
			t.Fatalf("since %d: %d, %v; want %d", since, len(got), err, len(due))
		}
		for i := range due {
			if got[i] != due[i] {
				t.Errorf("since %d: place %d has %+v, want %+v", since, i, got[i], due[i])
			}
		}
	}
	// What can matter to nobody any more goes, and nothing else.
	if n, err := s.PruneRevoked(t.Context(), "other", at(1<<24)); n != 0 || err != nil {
		t.Errorf("pruned %d of another tenant, %v", n, err)
	}
	var left []store.Revoked
	for _, r := range want {
		if !r.Until.Before(at(1500)) {
			left = append(left, r)
		}
	}
	if n, err := s.PruneRevoked(t.Context(), tenant, at(1500)); n != len(want)-len(left) || err != nil {
		t.Errorf("pruned %d of %d, %v; want %d left", n, len(want), err, len(left))
	}
	if got, err := s.RevokedSince(t.Context(), tenant, at(0)); err != nil || len(got) != len(left) {
		t.Errorf("after the pruning: %d, %v; want %d", len(got), err, len(left))
	}
}

func testInstallationByKey(t *testing.T, s store.Store) {
	for n, subject := range []string{"acc_a", "acc_b"} { // one machine, two people
		mustCommit(t, s, store.Change{Installations: fresh(store.Installation{
			ID: ident(id.Installation, n), Subject: subject, Thumbprint: "Key", Facts: event.Facts{OSUser: subject},
		})})
	}
	for _, subject := range []string{"acc_a", "acc_b"} {
		got, err := s.InstallationByKey(t.Context(), tenant, subject, "Key")
		if err != nil || got.Value.Facts.OSUser != subject {
			t.Errorf("%s: %+v, %v", subject, got, err)
		}
	}
	_, err := s.InstallationByKey(t.Context(), tenant, "acc_a", "key")
	wantErr(t, "a thumbprint in another case", err, store.ErrNotFound)
}

func testAccountByEmail(t *testing.T, s store.Store) {
	a := anAccount(1)
	a.Email = "Åsa.Person@Example.Test"
	mustCommit(t, s, store.Change{Accounts: fresh(a)})
	for _, email := range []string{a.Email, "åsa.person@example.test", "ÅSA.PERSON@EXAMPLE.TEST"} {
		got, err := s.AccountByEmail(t.Context(), tenant, email)
		if err != nil || got.Value.Email != a.Email {
			t.Errorf("%s: %+v, %v", email, got.Value, err)
		}
	}
	_, err := s.AccountByEmail(t.Context(), tenant, "sa.person@example.test")
	wantErr(t, "another", err, store.ErrNotFound)
	old := a.Email
	a.Email = "new@example.test"
	mustCommit(t, s, store.Change{Accounts: read(a, 1)})
	_, err = s.AccountByEmail(t.Context(), tenant, old)
	wantErr(t, "the former address", err, store.ErrNotFound)
}

// testPruneSessions: what ran out before t goes, and what was ended.
func testPruneSessions(t *testing.T, s store.Store) {
	live, over, ended, edge := aSession(1), aSession(2), aSession(3), aSession(4)
	live.ExpiresAt, over.ExpiresAt, ended.ExpiresAt, edge.ExpiresAt = at(101), at(99), at(101), at(100)
	ended.Ended = true
	for _, v := range []store.Session{live, over, ended, edge} {
		mustCommit(t, s, store.Change{Sessions: fresh(v)})
	}
	if got, err := s.SessionByHash(t.Context(), tenant, ended.Hash); err != nil || !got.Value.Ended {
		t.Errorf("an ended session before pruning: %+v, %v", got, err)
	}
	if n, err := s.PruneSessions(t.Context(), tenant, at(100)); n != 2 || err != nil {
		t.Errorf("pruned %d, %v; want 2", n, err)
	}
	for _, v := range []store.Session{live, edge} {
		if _, err := s.SessionByHash(t.Context(), tenant, v.Hash); err != nil {
			t.Errorf("session until %s was dropped: %v", v.ExpiresAt, err)
		}
	}
	for _, v := range []store.Session{over, ended} {
		_, err := s.SessionByHash(t.Context(), tenant, v.Hash)
		wantErr(t, "pruned", err, store.ErrNotFound)
	}
}

// testRegistry: lists are in the order of their keys; one id may be a client
// and a resource.
func testRegistry(t *testing.T, s store.Store) {
	for _, e := range []store.Entry{
		{Kind: store.EntryResource, ID: "b"}, {Kind: store.EntryClient, ID: "b"}, {Kind: store.EntryClient, ID: "a thing"},
	} {
		mustCommit(t, s, store.Change{Entries: fresh(e)})
	}
	entries, err := s.Entries(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, e := range entries {
		got += string(e.Value.Kind) + "/" + e.Value.ID + "\n"
	}
	if want := "client/a thing\nclient/b\nresource/b\n"; got != want {
		t.Errorf("entries\n%swant\n%s", got, want)
	}
	for _, n := range []int{3, 1, 2} {
		mustCommit(t, s, store.Change{
			Keys:     fresh(store.SealedKey{ID: ident(id.Key, n), Sealed: []byte{byte(n)}}),
			Accounts: fresh(anAccount(n)),
			Clients:  fresh(store.RegisteredClient{ID: ident(id.Client, n), Name: fmt.Sprint(n)}),
		})
	}
	keys, err := s.Keys(t.Context(), tenant)
	if err != nil || len(keys) != 3 {
		t.Fatalf("%v, %v", keys, err)
	}
	accounts, err := s.Accounts(t.Context(), tenant)
	if err != nil || len(accounts) != 3 {
		t.Fatalf("%v, %v", accounts, err)
	}
	clients, err := s.Clients(t.Context(), tenant)
	if err != nil || len(clients) != 3 {
		t.Fatalf("%v, %v", clients, err)
	}
	for i := range 3 {
		if keys[i].Value.Sealed[0] != byte(i+1) || accounts[i].Value.ID != ident(id.Account, i+1) || clients[i].Value.Name != fmt.Sprint(i+1) {
			t.Errorf("place %d: %v, %v, %v", i, keys[i].Value, accounts[i].Value, clients[i].Value)
		}
	}
}
