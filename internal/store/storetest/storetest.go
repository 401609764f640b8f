// Package storetest is the one suite that every driver of package store
// passes. It states what store's comments promise:
//
//   - one change is applied whole, with its records, or not at all;
//   - of two changes from one version exactly one is applied;
//   - leaf numbers are dense and follow the order of commits;
//   - what a Commit returned for, every later read sees;
//   - tenants share nothing, not even ids;
//   - no field of a state is lost.
//
// A driver's own package tests what the suite cannot: what survives a crash,
// and a full disk.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/testkit"
)

const tenant = store.DefaultTenant

// Run runs the suite. open gives an empty store, and closes it when the test
// ends.
func Run(t *testing.T, open func(*testing.T) store.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"RoundTrip", testRoundTrip},
		{"NotFound", testNotFound},
		{"CompareAndSwap", testCompareAndSwap},
		{"OneOfTwoWins", testOneOfTwoWins},
		{"OneOfManyWins", testOneOfManyWins},
		{"NewMustNotExist", testNewMustNotExist},
		{"LookupKeysAreUnique", testLookupKeysAreUnique},
		{"AllOrNothing", testAllOrNothing},
		{"OneRecordNotKept", testOneRecordNotKept},
		{"TenantsAreSeparate", testTenantsAreSeparate},
		{"TenantOfAChange", testTenantOfAChange},
		{"LeavesAreDense", testLeavesAreDense},
		{"LeavesFollowCommits", testLeavesFollowCommits},
		{"LeavesStopAtAnError", testLeavesStopAtAnError},
		{"Facts", testFacts},
		{"Erase", testErase},
		{"Sequenced", testSequenced},
		{"ReadYourWrites", testReadYourWrites},
		{"RequestLookups", testRequestLookups},
		{"PruneRequests", testPruneRequests},
		{"Devices", testDevices},
		{"PruneDevices", testPruneDevices},
		{"Decoys", testDecoys},
		{"GrantsOf", testGrantsOf},
		{"RevokedSince", testRevokedSince},
		{"InstallationByKey", testInstallationByKey},
		{"AccountByEmail", testAccountByEmail},
		{"PruneSessions", testPruneSessions},
		{"Registry", testRegistry},
		{"Model", testModel},
		{"CanceledContext", testCanceledContext},
		{"Closed", testClosed},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func mustCommit(t testing.TB, s store.Store, c store.Change) {
	t.Helper()
	if err := s.Commit(context.Background(), tenant, c); err != nil {
		t.Fatal(err)
	}
}

func at(n int) time.Time { return testkit.Epoch.Add(time.Duration(n) * time.Second) }

// ident makes the n-th id of a kind; ids sort by n.
func ident(p id.Prefix, n int) string { return id.New(p, at(n), [10]byte{byte(n >> 8), byte(n)}) }

func hash(n int) grant.Hash { return grant.Hash{byte(n >> 8), byte(n), 1} }

func record(n int) event.Record {
	return event.Record{Name: event.TokenIssued, Tenant: tenant, Time: at(n), Generation: uint32(n)}
}

func aGrant(n int) grant.Grant {
	return grant.Grant{
		Tenant: tenant, ID: ident(id.Grant, n), Status: grant.Active, Subject: "acc_a", Client: "cli",
		Scope: []string{"read"}, Resource: "https://api.example.test", Flow: grant.FlowCode,
		Lifetimes: grant.DefaultLifetimes(), CreatedAt: at(n), EndsAt: at(n + 86400), RotatedAt: at(n), Current: hash(n),
	}
}

func aRequest(n int) grant.Request {
	return grant.Request{
		Tenant: tenant, ID: ident(id.Request, n), Status: grant.Pending, Client: "cli", HandleHash: hash(n),
		Lifetimes: grant.DefaultLifetimes(), CreatedAt: at(n), ExpiresAt: at(n + 900),
	}
}

func aDevice(n int) grant.Device {
	return grant.Device{
		Tenant: tenant, ID: ident(id.Device, n), Status: grant.Pending, Client: "cli", CodeHash: hash(n), UserHash: hash(n % 100),
		Lifetimes: grant.DefaultLifetimes(), CreatedAt: at(n), TypeBy: at(n + 300), ExpiresAt: at(n + 1200),
	}
}

func anAccount(n int) store.Account {
	return store.Account{ID: ident(id.Account, n), Since: at(n)}
}

func aSession(n int) store.Session {
	return store.Session{ID: ident(id.Session, n), Hash: hash(n), CreatedAt: at(n), ExpiresAt: at(n + 3600)}
}

// fresh and read make Versioned values: never stored, and as read.
func fresh[T any](v T) []store.Versioned[T] { return []store.Versioned[T]{{Value: v}} }

func read[T any](v T, version uint64) []store.Versioned[T] {
	return []store.Versioned[T]{{Value: v, Version: version}}
}
