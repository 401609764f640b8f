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
// account, so that a delay tells nothing either. Where an account has signed in
// from lately, its failures are counted apart: a stranger who fails all the time,
// elsewhere, does not keep its person out.
type Limiter struct {
	now       func() time.Time
	mu        sync.Mutex
	accounts  *failures // an account, from wherever it is not at home
	addresses *failures
	homes     *failures // an account at one address from where it has signed in
}

// NewLimiter takes the clock.
func NewLimiter(now func() time.Time) *Limiter {
	return &Limiter{
		now:       now,
		accounts:  newFailures(freeFailures, maxTracked, forgetAfter),
		addresses: newFailures(freeAddressFailures, maxTracked, forgetAfter),
		homes:     newFailures(freeFailures, maxTracked, homeLife),
	}
}

// Attempt is one sign-in that was let through.
type Attempt struct {
	l       *Limiter
	account string
	address string
	home    string
	atHome  bool
}

// Begin asks to try a password for email (as typed) from an address. If it is
// too early it returns how long to wait, for Retry-After (RFC 9110 §10.2.3):
// do not look at the password then. Otherwise the attempt counts as a failure
// from now on, so that parallel guesses do not all slip through, until
// Succeeded is called.
func (l *Limiter) Begin(email string, address netip.Addr) (*Attempt, time.Duration) {
	a := &Attempt{l: l, account: FoldEmail(email), address: network(address)}
	a.home = a.account + " " + a.address
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	a.atHome = l.homes.get(a.home, now) != nil
	f, name := a.counter()
	if wait := max(f.wait(name, now), l.addresses.wait(a.address, now)); wait > 0 {
		return nil, wait
	}
	f.add(name, now)
	l.addresses.add(a.address, now)
	return a, 0
}

// counter is where this attempt's account is counted.
func (a *Attempt) counter() (*failures, string) {
	if a.atHome {
		return a.l.homes, a.home
	}
	return a.l.accounts, a.account
}

// Succeeded forgets the account's failures, remembers that it is at home here,
// and takes this attempt off the address's count. (An address is not forgiven
// everything: a guesser has an account of his own.)
func (a *Attempt) Succeeded() {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	if !a.atHome { // at home, a stranger's failures elsewhere are not forgiven
		a.l.accounts.forget(a.account)
	}
	a.l.homes.add(a.home, a.l.now())
	a.l.homes.settle(a.home)
	a.l.addresses.sub(a.address)
}

// Abandoned takes the attempt back: the password was not looked at, for the
// server was busy.
func (a *Attempt) Abandoned() {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	if f, name := a.counter(); !a.atHome {
		f.sub(name)
	} else if v := f.get(name, a.l.now()); v != nil && v.count > 0 {
		v.count-- // and it stays at home
	}
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

// failures counts per name, until keep after the last one, and forgets the
// longest untouched when full.
type failures struct {
	free, size int
	keep       time.Duration
	byName     map[string]*list.Element
	order      *list.List // of *failure, most recently touched first
}

type failure struct {
	name  string
	count int
	last  time.Time
}

func newFailures(free, size int, keep time.Duration) *failures {
	return &failures{free: free, size: size, keep: keep, byName: map[string]*list.Element{}, order: list.New()}
}

func (f *failures) get(name string, now time.Time) *failure {
	e, ok := f.byName[name]
	if !ok {
		return nil
	}
	v := e.Value.(*failure)
	if now.Sub(v.last) >= f.keep {
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

// settle leaves a name there, without failures.
func (f *failures) settle(name string) {
	if e, ok := f.byName[name]; ok {
		e.Value.(*failure).count = 0
	}
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
