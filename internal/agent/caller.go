package agent

import (
	"context"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/peersock"
)

// caller is whom a call is for. Where a program runs keytether to ask, it is that
// program: the one that gets what keytether prints.
type caller struct {
	peersock.Program
	pid     int
	through string // the keytether in between
	host    string // of the forwarded socket
}

type hostKey struct{}

// overHost marks a request that came over a forwarded socket.
func overHost(ctx context.Context, host string) context.Context {
	return context.WithValue(ctx, hostKey{}, host)
}

func callerOf(ctx context.Context) caller {
	p, _ := peersock.PeerFrom(ctx)
	c := caller{Program: p.Program, pid: p.PID}
	if p.Ours {
		c = caller{Program: p.Parent, pid: p.ParentPID, through: p.Executable}
	}
	c.host, _ = ctx.Value(hostKey{}).(string)
	return c
}

// name is what a person reads.
func (c caller) name() string {
	s := c.Executable
	if s == "" {
		s = "a program that cannot be told"
	}
	if c.Script != "" {
		s += " (" + c.Script + ")"
	}
	if c.through != "" {
		s += " through keytether"
	}
	if c.host != "" {
		s += " for host " + c.host
	}
	return s
}

// key is what one program is, whatever it says that it runs.
func (c caller) key() callerKey {
	return callerKey{c.Executable, c.through, c.host, c.Replaced}
}

type callerKey struct {
	executable, through, host string
	replaced                  bool
}

// door is all that came to ask of one profile.
type door struct {
	programs map[callerKey]*program
	fresh    bucket // programs that never asked before
}

// program is one executable that asks, with what it says that it runs.
type program struct {
	scripts map[string]*agentwire.Caller
	last    time.Time
	calls   bucket
	forced  bucket // renewals by its word that a token was refused
	listed  listed
}

// listed is the last yes of a list.
type listed struct {
	at       time.Time
	resource string
	by       []Allow
}

// note finds or makes the record of a caller. known is false for a program's first
// call, ok is false where too many new ones came.
func (d *door) note(c caller, now time.Time) (p *program, seen *agentwire.Caller, known, ok bool) {
	p, known = d.programs[c.key()], true
	if p == nil {
		if !d.fresh.take(now, freshRate, freshBurst) {
			return nil, nil, false, false
		}
		if len(d.programs) >= maxCallers {
			delete(d.programs, oldest(d.programs, func(p *program) time.Time { return p.last }))
		}
		p, known = &program{scripts: map[string]*agentwire.Caller{}}, false
		d.programs[c.key()] = p
	}
	seen = p.scripts[c.Script]
	if seen == nil {
		if len(p.scripts) >= maxScripts {
			delete(p.scripts, oldest(p.scripts, func(s *agentwire.Caller) time.Time { return s.LastAt }))
		}
		seen = &agentwire.Caller{Executable: c.Executable, Script: c.Script, Through: c.through, Host: c.host, Replaced: c.Replaced}
		p.scripts[c.Script] = seen
	}
	p.last = now
	seen.PID, seen.LastAt = c.pid, now
	seen.Calls++
	return p, seen, known, true
}

func oldest[K comparable, V any](m map[K]V, at func(V) time.Time) (out K) {
	var first time.Time
	for k, v := range m {
		if t := at(v); first.IsZero() || t.Before(first) {
			out, first = k, t
		}
	}
	return out
}

// bucket is a rate limit. The zero value is full.
type bucket struct {
	used float64
	at   time.Time
}

// take takes one, if there is one: burst at once, rate in a second.
func (b *bucket) take(now time.Time, rate, burst float64) bool {
	_, ok := b.queue(now, rate, burst, 0)
	return ok
}

// queue takes one that is there within most, and says when.
func (b *bucket) queue(now time.Time, rate, burst float64, most time.Duration) (wait time.Duration, ok bool) {
	if gone := now.Sub(b.at).Seconds(); gone > 0 {
		b.used = max(0, b.used-gone*rate)
	}
	b.at = now
	if wait = time.Duration(max(0, b.used+1-burst) / rate * float64(time.Second)); wait > most {
		return 0, false
	}
	b.used++
	return wait, true
}
