package identity

import (
	"testing"
	"time"
)

// TestStrangerDoesNotLockOut: a stranger takes every try that an account has,
// for days. Its person still signs in where they did before, and even there
// nobody has more tries than elsewhere.
func TestStrangerDoesNotLockOut(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	l := NewLimiter(func() time.Time { return now })
	const person = "person@example.test"
	sign := func(from int) *Attempt {
		a, _ := l.Begin(person, addr(from))
		return a
	}
	sign(1).Succeeded()
	away, home := 0, 0
	for second := range 2 * 24 * 3600 {
		now = now.Add(time.Second)
		sign(666)
		if second < 3600 || second%600 != 0 {
			continue
		}
		if a := sign(2); a != nil {
			away++
			a.Abandoned()
		}
		if a := sign(1); a != nil {
			home++
			a.Succeeded()
		}
	}
	if home != 47*6 {
		t.Errorf("let in at home %d times of %d", home, 47*6)
	}
	if away != 0 {
		t.Errorf("somewhere else %d tries were let through beside the stranger's", away)
	}
	tries := 0
	for range 3600 {
		now = now.Add(time.Second)
		if sign(1) != nil {
			tries++
		}
	}
	if tries > freeFailures+8+12 {
		t.Errorf("%d wrong passwords in an hour at home", tries)
	}
	now = now.Add(homeLife)
	for range 20 {
		sign(3)
	}
	if sign(1) != nil {
		t.Error("at home for ever")
	}
}

// TestAbandonedAtHome: an attempt that the server was too busy for is none, and
// home stays home.
func TestAbandonedAtHome(t *testing.T) {
	now := time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)
	l := NewLimiter(func() time.Time { return now })
	begin := func(from int) *Attempt {
		a, _ := l.Begin("person@example.test", addr(from))
		return a
	}
	begin(1).Succeeded()
	for range 20 {
		begin(2)
		a := begin(1)
		if a == nil {
			t.Fatal("not let in at home")
		}
		a.Abandoned()
	}
}
