package identity

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/testkit"
)

func addr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// TestAccountIsDelayedAfterFailures guesses at one account from many addresses.
//
// Invariant: ID-2
func TestAccountIsDelayedAfterFailures(t *testing.T) {
	clock := testkit.NewClock()
	l := NewLimiter(clock.Now)
	for i := range freeFailures {
		if _, wait := l.Begin("a@b.test", addr(i)); wait != 0 {
			t.Fatalf("try %d waits %s", i, wait)
		}
	}
	want := firstDelay
	for range 12 {
		// From any address, in any spelling.
		if a, wait := l.Begin(" A@B.test", addr(99)); wait != want || a != nil {
			t.Fatalf("waits %s, want %s", wait, want)
		}
		clock.Advance(want - 1)
		if _, wait := l.Begin("a@b.test", addr(98)); wait != 1 {
			t.Fatalf("waits %s, want 1ns", wait)
		}
		clock.Advance(1)
		if _, wait := l.Begin("a@b.test", addr(97)); wait != 0 {
			t.Fatalf("after the delay: waits %s", wait)
		}
		want = min(2*want, maxDelay)
	}
	if want != maxDelay {
		t.Error("the delay did not reach its bound")
	}
	if _, wait := l.Begin("c@b.test", addr(1)); wait != 0 {
		t.Error("another account waits too")
	}
	clock.Advance(forgetAfter)
	if _, wait := l.Begin("a@b.test", addr(1)); wait != 0 {
		t.Error("failures are never forgotten")
	}
}

func TestSuccessResetsTheAccountButNotTheAddress(t *testing.T) {
	clock := testkit.NewClock()
	l := NewLimiter(clock.Now)
	for i := range freeAddressFailures {
		// A guesser signs in with an account of his own in between.
		a, wait := l.Begin("mine@b.test", addr(1))
		if wait != 0 {
			t.Fatalf("try %d: own account waits %s", i, wait)
		}
		a.Succeeded()
		if _, wait := l.Begin(fmt.Sprintf("victim%d@b.test", i), addr(1)); wait != 0 {
			t.Fatalf("try %d waits %s", i, wait)
		}
	}
	if _, wait := l.Begin("victim@b.test", addr(1)); wait == 0 {
		t.Error("one address can try every account")
	}
	if _, wait := l.Begin("victim@b.test", addr(2)); wait != 0 {
		t.Error("another address waits too")
	}
}

// TestParallelGuessesCount begins many attempts before any of them fails.
//
// Invariant: ID-2
func TestParallelGuessesCount(t *testing.T) {
	l := NewLimiter(testkit.NewClock().Now)
	let := 0
	for range 100 { // none has an answer yet
		if _, wait := l.Begin("a@b.test", addr(let)); wait == 0 {
			let++
		}
	}
	if let != freeFailures {
		t.Errorf("%d guesses at once", let)
	}
}

func TestAbandonedAttemptDoesNotCount(t *testing.T) {
	l := NewLimiter(testkit.NewClock().Now)
	for range 10 * freeAddressFailures {
		a, wait := l.Begin("a@b.test", addr(1))
		if wait != 0 {
			t.Fatal("it counts")
		}
		a.Abandoned()
	}
}

func TestAddressesAreGrouped(t *testing.T) {
	for a, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7",
		"2001:db8:1:2:3::4": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := network(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
}

// The memory is bounded, and who is being limited is not the one forgotten.
func TestLimiterIsBounded(t *testing.T) {
	f := newFailures(1, 100, forgetAfter)
	now := testkit.Epoch
	f.add("victim", now)
	for i := range 1000 {
		f.add("victim", now) // goes on guessing
		f.add(fmt.Sprint(i), now)
		if len(f.byName) > 100 || f.order.Len() != len(f.byName) {
			t.Fatalf("%d names, %d in order", len(f.byName), f.order.Len())
		}
	}
	if f.wait("victim", now) == 0 {
		t.Error("a flood of names frees the guesser")
	}
}

// However tries, successes and time are mixed, n failures in a row take at
// least the sum of their delays, and nobody waits longer than maxDelay.
func TestLimiterProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		clock := testkit.NewClock()
		l := NewLimiter(clock.Now)
		let := map[string][]time.Time{}
		for i := range rapid.IntRange(1, 200).Draw(t, "n") {
			name := rapid.SampledFrom([]string{"a@x", "b@x"}).Draw(t, "name")
			a, wait := l.Begin(name, addr(i))
			if wait < 0 || wait > maxDelay || (a == nil) != (wait > 0) {
				t.Fatalf("waits %s", wait)
			}
			if a != nil {
				let[name] = append(let[name], clock.Now())
				if rapid.IntRange(0, 9).Draw(t, "outcome") == 0 {
					a.Succeeded()
					let[name] = nil
				}
			}
			if n := len(let[name]); n > freeFailures+1 {
				if gap := let[name][n-1].Sub(let[name][n-2]); gap < firstDelay {
					t.Fatalf("try %d after %s", n, gap)
				}
			}
			clock.Advance(time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "pass")))
		}
	})
}

// A clock that goes back does not lock anybody out.
func TestClockGoesBack(t *testing.T) {
	clock := testkit.NewClock()
	l := NewLimiter(clock.Now)
	for i := range freeFailures {
		l.Begin("a@b.test", addr(i))
	}
	clock.Advance(-24 * time.Hour)
	if _, wait := l.Begin("a@b.test", addr(9)); wait != firstDelay {
		t.Errorf("waits %s", wait)
	}
	clock.Advance(firstDelay)
	if _, wait := l.Begin("a@b.test", addr(9)); wait != 0 {
		t.Errorf("still waits %s", wait)
	}
}
