package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
)

const notGiven = "nothing was given to this program"

// gate decides which programs get tokens, proofs and signatures, and remembers who
// came. It has a lock of its own.
type gate struct {
	mu        sync.Mutex
	doors     map[string]*door // by profile
	questions map[questionKey]*question
	asked     int
}

// admit says whether the caller may use a profile. It waits where a person is asked.
func (a *agent) admit(ctx context.Context, login *profile, scope string) error {
	who := login.whoami()
	c := callerOf(ctx)
	p, seen, wait, err := a.enter(who.Profile, c)
	if err != nil {
		return err
	}
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err = a.judge(ctx, p, c, who, scope); err != nil {
		a.gate.mu.Lock()
		seen.Refused++
		a.gate.mu.Unlock()
	}
	return err
}

// enter records the caller and holds it to its rate: it has to wait, or is refused.
func (a *agent) enter(profile string, c caller) (_ *program, _ *agentwire.Caller, wait time.Duration, _ error) {
	now := a.now()
	a.gate.mu.Lock()
	d := a.gate.doors[profile]
	if d == nil {
		d = &door{programs: map[callerKey]*program{}}
		a.gate.doors[profile] = d
	}
	p, seen, known, ok := d.note(c, now)
	inTime := ok
	if ok {
		if wait, inTime = p.calls.queue(now, callRate, callBurst, callWait); !inTime {
			seen.Refused++
		}
	}
	a.gate.mu.Unlock()
	switch {
	case !ok:
		return nil, nil, 0, agentwire.NewError(agentwire.Busy, notGiven, fmt.Sprintf("more than %d programs asked for the first time in a short time", int(freshBurst)), "Look at `keytether status` for what asks, then try again in a minute", nil)
	case !inTime:
		return nil, nil, 0, agentwire.NewError(agentwire.Busy, notGiven, "it asks too often", "Ask once for each request, and try again in a second", nil)
	case !known:
		a.log.Info("a program asks for the first time", "profile", profile, "executable", c.Executable, "replaced", c.Replaced,
			"script", c.Script, "through", c.through, "host", c.host, "pid", c.pid, "started", c.StartedAt)
	}
	return p, seen, wait, nil
}

// judge asks the rules, then the person where the rules say so.
func (a *agent) judge(ctx context.Context, p *program, c caller, who agentwire.Whoami, scope string) error {
	var rules Rules
	if a.opt.Rules != nil {
		var err error
		if rules, err = a.opt.Rules(who.Profile); err != nil {
			return agentwire.NewError(agentwire.Denied, notGiven, "which programs may ask is not known: "+err.Error(), "Correct the config; the agent reads it again by itself", err)
		}
	}
	if err := a.listed(p, c, rules, who.Resource); err != nil {
		return agentwire.NewError(agentwire.Denied, notGiven, c.name()+" may not use profile "+who.Profile+": "+err.Error(), mendCaller(err), err)
	}
	if !rules.Confirm && !a.opt.Confirm {
		return nil
	}
	return a.confirmed(ctx, c, who, scope)
}

// listed is allowed, with a yes that holds for a moment: a busy program asks the file system
// about the same paths no more than once in listedTime.
func (a *agent) listed(p *program, c caller, r Rules, resource string) error {
	if len(r.Allow) == 0 {
		return nil
	}
	now := a.now()
	a.gate.mu.Lock()
	age := now.Sub(p.listed.at)
	known := age >= 0 && age < listedTime && p.listed.resource == resource && slices.EqualFunc(p.listed.by, r.Allow, Allow.equal)
	a.gate.mu.Unlock()
	if known {
		return nil
	}
	if err := allowed(c, r, resource); err != nil {
		return err
	}
	a.gate.mu.Lock()
	p.listed = listed{now, resource, r.Allow}
	a.gate.mu.Unlock()
	return nil
}

// mayForce says whether a caller's word that a token was refused may make the agent
// renew. The counted word costs the server a refresh.
func (a *agent) mayForce(ctx context.Context, profile string) bool {
	c := callerOf(ctx)
	a.gate.mu.Lock()
	defer a.gate.mu.Unlock()
	d := a.gate.doors[profile]
	if d == nil || d.programs[c.key()] == nil {
		return true
	}
	return d.programs[c.key()].forced.take(a.now(), forceRate, forceBurst)
}

// showCallers adds to a status who asked, the last first, and what waits for the
// person.
func (a *agent) showCallers(s *agentwire.StatusResponse) {
	a.gate.mu.Lock()
	for i := range s.Profiles {
		p := &s.Profiles[i]
		d := a.gate.doors[p.Profile]
		if d == nil {
			continue
		}
		for _, program := range d.programs {
			for _, c := range program.scripts {
				shown := *c
				shown.LastAt = agentwire.Moment(c.LastAt)
				p.Callers = append(p.Callers, shown)
			}
		}
		slices.SortFunc(p.Callers, func(x, y agentwire.Caller) int {
			return cmp.Or(y.LastAt.Compare(x.LastAt), cmp.Compare(x.Executable, y.Executable), cmp.Compare(x.Script, y.Script))
		})
		p.Callers = p.Callers[:min(len(p.Callers), maxCallers)]
	}
	a.gate.mu.Unlock()
	s.Confirmations = a.openQuestions()
}

// Bounds of what programs may ask for. An honest storm passes: fifty processes at
// once, or one that makes a thousand requests a second.
const (
	callRate, callBurst = 4000.0, 8000.0 // of one program, a second

	// callWait is how long a call beyond that is held up. Many processes of one program that each
	// wait for their answer are slowed down by it, and none is refused.
	callWait = time.Second / 2

	// A package that makes itself a new executable for each call is slowed down to
	// what a person can read.
	freshRate, freshBurst = 0.5, 30.0

	// A refused token is one that the server ended: rare.
	forceRate, forceBurst = 1.0 / 12, 5.0

	// listedTime is how long a list's yes is not looked up again.
	listedTime = time.Second

	maxCallers = 64 // programs that are remembered for a profile
	maxScripts = 16 // of one program

	// confirmTime is how long a program waits for the person, unansweredTime how long
	// it is refused after that before the person is asked again.
	confirmTime    = time.Minute
	unansweredTime = 5 * time.Minute

	maxWaiting   = 8   // questions at a time: no flood of notices
	maxQuestions = 512 // with their answers
)
