package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/store/sqlite"
)

// TestCopiedGrants are grants to the store like any others: found by id and by
// person, and committed to.
func TestCopiedGrants(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keytether.db")
	open := func() *sqlite.Store {
		s, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	now := time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)
	s := open()
	var c store.Change
	for i := range 3 {
		raw := id.NewRaw(now, [10]byte{3: byte(i)})
		c.Grants = append(c.Grants, store.Versioned[grant.Grant]{Value: grant.Grant{
			Tenant: store.DefaultTenant, ID: raw.String(id.Grant), Status: grant.Active, Subject: raw.String(id.Account),
			Client: "cli", Lifetimes: grant.DefaultLifetimes(), CreatedAt: now, EndsAt: now.Add(grant.GrantLife),
		}})
	}
	if err := s.Commit(t.Context(), store.DefaultTenant, c); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := copyGrants(t.Context(), path, 100); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	of, err := s.GrantsOf(t.Context(), store.DefaultTenant, store.GrantQuery{Subject: c.Grants[1].Value.Subject, ActiveOnly: true})
	if err != nil || len(of) != 100 {
		t.Fatalf("%d of one person, %v", len(of), err)
	}
	for _, g := range of {
		got, err := s.Grant(t.Context(), store.DefaultTenant, g.Value.ID)
		if err != nil || got.Value.Client != "cli" {
			t.Fatalf("%s: %+v, %v", g.Value.ID, got, err)
		}
		got.Value.Generation++
		if err := s.Commit(t.Context(), store.DefaultTenant, store.Change{Grants: []store.Versioned[grant.Grant]{got}}); err != nil {
			t.Fatal(err)
		}
	}
}
