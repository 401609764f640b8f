package identity

import (
	"container/list"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Limiter delays sign-ins after failures, per account and per address. It
// lives in memory and is bounded; a restart forgets it. It is safe for
// concurrent use.
//
// The counting is by what was typed as email, whether or not there is such an
// account, so that a delay tells nothing either.
type Limiter struct {
	now       func() time.Time
	mu        sync.Mutex
	accounts  *failures
	addresses *failures
}

// NewLimiter takes the clock.
func NewLimiter(now func() time.Time) *Limiter {
	return &Limiter{
		now:       now,
		accounts:  newFailures(freeFailures, maxTracked),
		addresses: newFailures(freeAddressFailures, maxTracked),
	}
}

// Attempt is one sign-in that was let through.
type Attempt struct {
	l       *Limiter
	account string
	address string
}

// Begin asks to try a password for email (as typed) from an address. If it is
// too early it returns how long to wait, for Retry-After (RFC 9110 §10.2.3):
// do not look at the password then. Otherwise the attempt counts as a failure
// from now on, so that parallel guesses do not all slip through, until
// Succeeded is called.
func (l *Limiter) Begin(email string, address netip.Addr) (*Attempt, time.Duration) {
	a := &Attempt{l: l, account: FoldEmail(email), address: network(address)}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if wait := max(l.accounts.wait(a.account, now), l.addresses.wait(a.address, now)); wait > 0 {
		return nil, wait
	}
	l.accounts.add(a.account, now)
	l.addresses.add(a.address, now)
	return a, 0
}

// Succeeded forgets the account's failures and takes this attempt off the
// address's count. (An address is not forgiven everything: a guesser has an
// account of his own.)
func (a *Attempt) Succeeded() {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	a.l.accounts.forget(a.account)
	a.l.addresses.sub(a.address)
}

// Abandoned takes the attempt back: the password was not looked at, for the
// server was busy.
func (a *Attempt) Abandoned() {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	a.l.accounts.sub(a.account)
	a.l.addresses.sub(a.address)
}

// network groups addresses by what one person commonly has: an IPv4 address, an
// IPv6 /64.
func network(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

// failures counts per name, and forgets the longest untouched when full.
type failures struct {
	free, size int
	byName     map[string]*list.Element
	order      *list.List // of *failure, most recently touched first
}

type failure struct {
	name  string
	count int
	last  time.Time
}

func newFailures(free, size int) *failures {
	return &failures{free: free, size: size, byName: map[string]*list.Element{}, order: list.New()}
}

func (f *failures) get(name string, now time.Time) *failure {
	e, ok := f.byName[name]
	if !ok {
		return nil
	}
	v := e.Value.(*failure)
	if now.Sub(v.last) >= forgetAfter {
		f.forget(name)
		return nil
	}
	return v
}

// wait is how long name must wait yet.
func (f *failures) wait(name string, now time.Time) time.Duration {
	v := f.get(name, now)
	if v == nil || v.count < f.free {
		return 0
	}
	delay := maxDelay
	if n := v.count - f.free; n < 16 {
		delay = min(firstDelay<<n, maxDelay)
	}
	if v.last.After(now) {
		v.last = now // the clock went back; nobody is to wait for it
	}
	return max(v.last.Add(delay).Sub(now), 0)
}

func (f *failures) add(name string, now time.Time) {
	if v := f.get(name, now); v != nil {
		v.count++
		v.last = now
		f.order.MoveToFront(f.byName[name])
		return
	}
	for f.order.Len() >= f.size {
		f.forget(f.order.Back().Value.(*failure).name)
	}
	name = strings.Clone(name)
	f.byName[name] = f.order.PushFront(&failure{name: name, count: 1, last: now})
}

func (f *failures) sub(name string) {
	e, ok := f.byName[name]
	if !ok {
		return
	}
	if v := e.Value.(*failure); v.count > 1 {
		v.count--
		return
	}
	f.forget(name)
}

func (f *failures) forget(name string) {
	if e, ok := f.byName[name]; ok {
		f.order.Remove(e)
		delete(f.byName, name)
	}
}

// String counts what is tracked.
func (l *Limiter) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("limiter of %d accounts, %d addresses", len(l.accounts.byName), len(l.addresses.byName))
}
