package agent

import (
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/peersock"
	"github.com/keytether/keytether/internal/secret"
)

// call is one request: it gives the answer or an error.
type call func(*http.Request) (any, error)

func (a *agent) handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(method, path string, c call) {
		mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) { a.answer(w, r, c) })
	}
	handle(http.MethodGet, agentwire.PathVersion, a.version)
	handle(http.MethodGet, agentwire.PathStatus, a.status)
	handle(http.MethodGet, agentwire.PathWhoami, a.unlocked(a.whoami))
	handle(http.MethodPost, agentwire.PathLoginCode, a.unlocked(a.loginCode))
	handle(http.MethodPost, agentwire.PathLogout, a.leavable(a.logout))
	handle(http.MethodPost, agentwire.PathToken, a.unlocked(a.token))
	handle(http.MethodPost, agentwire.PathAuthorize, a.unlocked(a.authorize))
	handle(http.MethodPost, agentwire.PathApproval, a.unlocked(a.approval))
	handle(http.MethodPost, agentwire.PathDecoys, a.unlocked(a.noteDecoy))
	handle(http.MethodGet, agentwire.PathDecoys, a.unlocked(a.listDecoys))
	handle(http.MethodGet, agentwire.PathConfirmations, a.unlocked(a.confirmations))
	handle(http.MethodPost, agentwire.PathConfirmations, a.unlocked(a.answerConfirmation))
	handle(http.MethodPost, agentwire.PathLock, a.unlocked(a.setLock))
	handle(http.MethodPost, agentwire.PathUnlock, a.unlock)
	handle(http.MethodPost, agentwire.PathUnlockStore, a.unlocked(a.unlockStore))
	handle(http.MethodPost, agentwire.PathStop, a.stop)
	handle(http.MethodPost, agentwire.PathForward, a.unlocked(a.openForward))
	handle(http.MethodPost, agentwire.PathForwardEnd, a.endForward)
	mux.HandleFunc(http.MethodPost+" "+agentwire.PathLogin, a.login)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.answer(w, r, func(*http.Request) (any, error) {
			return nil, agentwire.NewError(agentwire.Unsupported, "the agent does not know this call", "there is no such path or method", "", nil)
		})
	})
	return mux
}

// answer writes what a call gives, and logs who asked for what: no body, no
// query.
func (a *agent) answer(w http.ResponseWriter, r *http.Request, c call) {
	a.used()
	v, err := c(r)
	a.logCall(r, err)
	if err != nil {
		_ = agentwire.WriteError(w, wireError(err, "the agent could not do this"))
		return
	}
	_ = agentwire.WriteResponse(w, v)
}

func (a *agent) logCall(r *http.Request, err error) {
	pid := 0
	if p, ok := peersock.PeerFrom(r.Context()); ok {
		pid = p.PID
	}
	if err == nil {
		a.log.Debug("call", "path", r.URL.Path, "pid", pid)
		return
	}
	a.log.Info("call failed", "path", r.URL.Path, "pid", pid, "err", err)
}

func (a *agent) used() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastUse = a.now()
}

// unlocked refuses a call while the agent is locked.
func (a *agent) unlocked(c call) call {
	return func(r *http.Request) (any, error) {
		if err := a.awaitRestored(r.Context()); err != nil {
			return nil, err
		}
		if err := a.checkLock(); err != nil {
			return nil, err
		}
		return c(r)
	}
}

// leavable is unlocked for a logout. A lock without a passphrase does not stand in its way:
// whoever asks could take it off as well, and what a session's end runs must not fail at it.
func (a *agent) leavable(c call) call {
	strict := a.unlocked(c)
	return func(r *http.Request) (any, error) {
		a.mu.Lock()
		free := a.lock.on && a.lock.hash.Equal(secret.New("").Hash())
		a.mu.Unlock()
		if !free {
			return strict(r)
		}
		if err := a.awaitRestored(r.Context()); err != nil {
			return nil, err
		}
		return c(r)
	}
}

func (a *agent) version(*http.Request) (any, error) {
	a.dropExpired()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.versionLocked(), nil
}

func (a *agent) versionLocked() agentwire.Version {
	return agentwire.Version{
		Version: a.opt.Version, Protocol: agentwire.Protocol, ProtocolMin: agentwire.ProtocolMin,
		PID: os.Getpid(), StartedAt: agentwire.Moment(a.started), Grants: a.losable(), Logins: a.logins,
	}
}

func (a *agent) status(r *http.Request) (any, error) {
	if err := a.awaitRestored(r.Context()); err != nil {
		return nil, err
	}
	a.dropExpired()
	a.findAgain()
	a.mu.Lock()
	defer a.mu.Unlock()
	s := agentwire.StatusResponse{
		Agent:    agentwire.AgentStatus{Version: a.versionLocked(), Locked: a.lock.on},
		Profiles: []agentwire.ProfileStatus{},
	}
	if a.lock.on {
		return s, nil // whose logins they are is not said
	}
	for _, p := range a.profiles {
		if now := a.now(); !p.ended(now) {
			s.Profiles = append(s.Profiles, p.status(now))
		}
	}
	s.Stores = a.missingStores()
	s.Forwards = a.shownForwards()
	slices.SortFunc(s.Profiles, func(x, y agentwire.ProfileStatus) int { return strings.Compare(x.Profile, y.Profile) })
	a.showCallers(&s)
	return s, nil
}

// missingStores names the stores that hold logins and cannot be opened. The
// agent's mu is held.
func (a *agent) missingStores() []agentwire.StoreProblem {
	var out []agentwire.StoreProblem
	for p := range a.missing {
		if err := p.trouble(); err != nil {
			out = append(out, agentwire.StoreProblem{Store: p.kind.Name, Why: p.reason(err), Do: mend(err)})
		}
	}
	slices.SortFunc(out, func(x, y agentwire.StoreProblem) int { return strings.Compare(x.Store, y.Store) })
	return out
}

func (a *agent) whoami(r *http.Request) (any, error) {
	p, err := a.profile(r.URL.Query().Get("profile"))
	if err != nil {
		return nil, err
	}
	return p.whoami(), nil
}

func (a *agent) stop(r *http.Request) (any, error) {
	var req agentwire.StopRequest
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	if req.IfIdle && !a.stopIfIdle(0) {
		return nil, agentwire.NewError(agentwire.Busy, "the agent was not stopped", "it holds a login, or one is in progress", "Run `keytether logout --all` first, or stop it all the same", nil)
	}
	a.mu.Lock()
	a.stopping = true
	a.mu.Unlock()
	// Shutdown lets this answer go out.
	a.end(errStopped)
	return agentwire.Empty{}, nil
}

// errStopping refuses what would begin while the agent ends.
func errStopping() error {
	return agentwire.NewError(agentwire.Busy, "the agent is ending", "somebody stopped it", "Try again; it starts anew by itself", errStopped)
}
