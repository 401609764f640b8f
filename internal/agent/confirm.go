package agent

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/peersock"
)

// questionKey is what an answer is for.
type questionKey struct {
	callerKey
	profile, resource string
}

// question is one that the person was asked. The gate's mu guards all but
// done.
type question struct {
	shown    agentwire.Confirmation
	n        int
	decision string // empty: none yet
	again    time.Time
	done     chan struct{} // closed when nobody waits any more
}

// confirmed lets a caller in that the person allowed, and asks about others. All
// calls of one program wait for the same answer.
func (a *agent) confirmed(ctx context.Context, c caller, who agentwire.Whoami, scope string) error {
	key := questionKey{c.key(), who.Profile, who.Resource}
	a.gate.mu.Lock()
	q := a.gate.questions[key]
	switch {
	case q == nil || q.decision == "" && !q.shown.Waiting && !a.now().Before(q.again):
		var err error
		if q, err = a.pose(key, c, who, scope); err != nil {
			a.gate.mu.Unlock()
			return err
		}
	case q.decision != "" || !q.shown.Waiting:
		defer a.gate.mu.Unlock()
		return q.verdict(c)
	}
	a.gate.mu.Unlock()
	select {
	case <-q.done:
		a.gate.mu.Lock()
		defer a.gate.mu.Unlock()
		return q.verdict(c)
	case <-ctx.Done(): // the question stays
		return context.Cause(ctx)
	}
}

// verdict is what a question that nobody waits for any more came to.
func (q *question) verdict(c caller) error {
	switch q.decision {
	case agentwire.DecisionAllow:
		return nil
	case agentwire.DecisionDeny:
		return agentwire.NewError(agentwire.Denied, notGiven, c.name()+" may not use profile "+q.shown.Profile+": you said no", "If that was a mistake, `keytether agent stop` forgets it, and all logins", nil)
	}
	return agentwire.NewError(agentwire.Denied, notGiven, c.name()+" asks for profile "+q.shown.Profile+" for the first time, and nobody answered",
		"Run `keytether agent confirm`, then try again", nil)
}

// pose asks the person. The gate's mu is held.
func (a *agent) pose(key questionKey, c caller, who agentwire.Whoami, scope string) (*question, error) {
	waiting := 0
	for _, q := range a.gate.questions {
		if q.shown.Waiting {
			waiting++
		}
	}
	full := len(a.gate.questions) >= maxQuestions && a.gate.questions[key] == nil && !a.dropQuestion()
	if waiting >= maxWaiting || full {
		return nil, agentwire.NewError(agentwire.Denied, notGiven, "too many questions wait for an answer", "Run `keytether agent confirm`, then try again", nil)
	}
	a.gate.asked++
	now := a.now()
	q := &question{n: a.gate.asked, done: make(chan struct{}), shown: agentwire.Confirmation{
		ID: strconv.Itoa(a.gate.asked), Profile: who.Profile, Resource: who.Resource, Scope: cmp.Or(scope, who.Scope),
		Executable: c.Executable, Script: c.Script, Through: c.through, Host: c.host, PID: c.pid,
		Waiting: true, AskedAt: agentwire.Moment(now), ExpiresAt: agentwire.Moment(now.Add(a.opt.confirmTime)),
	}}
	a.gate.questions[key] = q
	a.log.Info("the person is asked", "question", q.shown.ID, "profile", who.Profile, "executable", c.Executable, "script", c.Script, "host", c.host, "pid", c.pid)
	shown := q.shown
	a.background(func() { a.await(q, shown) })
	return q, nil
}

// dropQuestion makes room: the oldest goes that nobody answered or waits for. The
// gate's mu is held.
func (a *agent) dropQuestion() bool {
	var key questionKey
	var old *question
	for k, q := range a.gate.questions {
		if q.decision == "" && !q.shown.Waiting && (old == nil || q.n < old.n) {
			key, old = k, q
		}
	}
	delete(a.gate.questions, key)
	return old != nil
}

// await waits for an answer, by notice or call, for a time.
func (a *agent) await(q *question, shown agentwire.Confirmation) {
	ctx, cancel := context.WithTimeout(a.ctx, a.opt.confirmTime)
	defer cancel()
	if a.opt.Ask != nil {
		a.background(func() {
			decision, err := a.opt.Ask(ctx, shown)
			if err != nil && ctx.Err() == nil {
				a.log.Info("no notice was shown", "err", err)
			}
			if decision == agentwire.DecisionAllow || decision == agentwire.DecisionDeny {
				a.settleQuestion(q, decision, "notice", 0)
			}
		})
	}
	select {
	case <-q.done:
	case <-ctx.Done():
		a.settleQuestion(q, "", "", 0)
	}
}

// settleQuestion takes the first answer, or ends the waiting without one.
func (a *agent) settleQuestion(q *question, decision, by string, pid int) bool {
	a.gate.mu.Lock()
	defer a.gate.mu.Unlock()
	if q.decision != "" || decision == "" && !q.shown.Waiting {
		return false
	}
	q.decision = decision
	if q.shown.Waiting {
		q.shown.Waiting, q.again = false, a.now().Add(unansweredTime)
		close(q.done)
	}
	a.log.Info("the person's answer", "question", q.shown.ID, "executable", q.shown.Executable, "profile", q.shown.Profile, "decision", cmp.Or(decision, "none"), "by", by, "pid", pid)
	return true
}

// openQuestions lists those without an answer, the oldest first.
func (a *agent) openQuestions() []agentwire.Confirmation {
	a.gate.mu.Lock()
	defer a.gate.mu.Unlock()
	var open []*question
	for _, q := range a.gate.questions {
		if q.decision == "" {
			open = append(open, q)
		}
	}
	slices.SortFunc(open, func(x, y *question) int { return cmp.Compare(x.n, y.n) })
	var out []agentwire.Confirmation
	for _, q := range open {
		out = append(out, q.shown)
	}
	return out
}

func (a *agent) confirmations(*http.Request) (any, error) {
	out := agentwire.ConfirmationsResponse{Confirmations: a.openQuestions()}
	if out.Confirmations == nil {
		out.Confirmations = []agentwire.Confirmation{}
	}
	return out, nil
}

// answerConfirmation takes an answer from the command alone, where the system tells
// programs apart: whoever asks must not answer with the same breath.
func (a *agent) answerConfirmation(r *http.Request) (any, error) {
	var req agentwire.ConfirmationRequest
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	const not = "the answer was not taken"
	p, _ := peersock.PeerFrom(r.Context())
	if peersock.Identifies && !p.Ours {
		return nil, agentwire.NewError(agentwire.Denied, not, "answers come from `keytether agent confirm` alone, and of the agent's own version", "Run it on a terminal", nil)
	}
	a.gate.mu.Lock()
	var found *question
	for _, q := range a.gate.questions {
		if q.shown.ID == req.ID {
			found = q
		}
	}
	a.gate.mu.Unlock()
	if found == nil || !a.settleQuestion(found, req.Decision, p.Parent.Executable, p.PID) {
		return nil, agentwire.NewError(agentwire.Failed, not, "no question of that name waits", "See `keytether agent confirm`", nil)
	}
	return agentwire.Empty{}, nil
}
