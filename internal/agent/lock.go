package agent

import (
	"net/http"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/secret"
)

// lock is the state of `keytether agent lock`. The passphrase is kept as a hash.
type lock struct {
	on        bool
	why       string
	hash      secret.Hash // of an empty passphrase where none was given
	lastWrong time.Time
}

// refusal is what calls get. The agent's mu is held.
func (l *lock) refusal() error {
	return agentwire.NewError(agentwire.Locked, "the agent is locked", l.why, "Run `keytether agent unlock`", nil)
}

func (a *agent) checkLock() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lock.on {
		return a.lock.refusal()
	}
	return nil
}

func (a *agent) setLock(r *http.Request) (any, error) {
	var req agentwire.LockRequest
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lock.on { // between the check and here
		return nil, a.lock.refusal()
	}
	a.shut(lock{why: "somebody locked it", hash: secret.New(req.Passphrase.Reveal()).Hash()})
	return agentwire.Empty{}, nil
}

// shut locks, and drops the tokens that can be had again. The agent's mu is held.
func (a *agent) shut(l lock) {
	l.on = true
	a.lock = l
	for _, p := range a.profiles {
		p.forgetTokens()
	}
	a.background(a.shutStore)
}

// unlock looks at one passphrase a second after a wrong one.
func (a *agent) unlock(r *http.Request) (any, error) {
	var req agentwire.LockRequest
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	given := secret.New(req.Passphrase.Reveal()).Hash()
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	switch {
	case !a.lock.on:
	case !a.lock.lastWrong.IsZero() && now.Sub(a.lock.lastWrong) < wrongWait && now.After(a.lock.lastWrong):
		return nil, agentwire.NewError(agentwire.Locked, "the agent stays locked", "a wrong passphrase was given just now", "Wait a second and try again", nil)
	case !a.lock.hash.Equal(given):
		a.lock.lastWrong = now
		return nil, agentwire.NewError(agentwire.Locked, "the agent stays locked", "the passphrase is not the one it was locked with", "Try again, or end it with `keytether agent stop`", nil)
	}
	a.lock = lock{}
	return agentwire.Empty{}, nil
}
