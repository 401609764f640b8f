package agent

import (
	"errors"
	"time"

	"github.com/keytether/keytether/internal/secret"
)

// Why an agent ended without being asked over its socket.
var errSocketGone = errors.New("agent: its socket is gone: the session has ended")

// watch looks after what nobody tells the agent: that the session ended and took
// the socket's folder along, that nobody has asked for long, that the machine
// slept.
func (a *agent) watch(gone func() bool) {
	t := time.NewTicker(a.opt.watchEvery)
	defer t.Stop()
	slept := a.opt.slept()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-t.C:
		}
		if gone() {
			a.end(errSocketGone)
			return
		}
		if now := a.opt.slept(); now-slept > sleptMin {
			a.slept(now - slept)
			slept = now
			if a.opt.LockOnSuspend {
				a.lockItself("the machine was suspended")
			}
		}
		if a.opt.LockAfter > 0 && a.quiet() >= a.opt.LockAfter {
			a.lockItself("nobody used it for " + a.opt.LockAfter.String())
		}
	}
}

// slept counts the time of a suspension, which the clock leaves out, as time in which nobody asked.
func (a *agent) slept(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastUse = a.lastUse.Add(-d)
}

// quiet is for how long nobody asked.
func (a *agent) quiet() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.now().Sub(a.lastUse)
}

// lockItself locks without a passphrase, if there is something to lock.
func (a *agent) lockItself(why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lock.on || len(a.profiles) == 0 {
		return
	}
	a.shut(lock{why: why, hash: secret.New("").Hash()})
	a.log.Info("the agent locked itself", "why", why)
}
