package agent

import (
	"errors"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/peersock"
)

// maxForwards bounds the sockets for remote hosts.
const maxForwards = 32

const couldNotForward = "the agent was not forwarded"

// forward is a socket of its own for one remote host. Over it nobody can log in
// or out, lock, stop or look around: it gives short tokens and proofs of the
// profiles that were named, and ends when the person says so. It is the path
// that tells hosts apart, since every connection comes from the user's own ssh.
type forward struct {
	host     string
	socket   string
	profiles []string
	since    time.Time
	srv      *http.Server
	calls    int64
	last     time.Time
}

// openForward answers agentwire.PathForward. A host that has a socket gets a new
// one: what was forwarded before ends.
func (a *agent) openForward(r *http.Request) (any, error) {
	var req agentwire.ForwardRequest
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	if len(req.Profiles) == 0 {
		req.Profiles = []string{agentwire.DefaultProfile}
	}
	for _, name := range req.Profiles {
		if _, err := a.profile(name); err != nil {
			return nil, err
		}
	}
	a.closeForward(req.Host)
	f := &forward{
		host: req.Host, socket: filepath.Join(filepath.Dir(a.opt.Socket), "remote-"+req.Host+".sock"),
		profiles: req.Profiles, since: a.now(),
	}
	ln, err := peersock.Listen(f.socket)
	if err != nil {
		return nil, agentwire.NewError(agentwire.Failed, couldNotForward, "its socket cannot be made", "Choose a shorter name for the host", err)
	}
	f.srv = &http.Server{
		Handler: a.remoteHandler(f), ConnContext: peersock.ConnContext,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	a.mu.Lock()
	full := len(a.forwards) >= maxForwards || a.stopping
	if !full {
		a.forwards[f.host] = f
	}
	a.mu.Unlock()
	if full {
		return nil, errors.Join(agentwire.NewError(agentwire.Busy, couldNotForward, "there are too many forwarded sockets", "End some of them", nil), ln.Close())
	}
	a.background(func() { _ = f.srv.Serve(ln) })
	a.log.Info("forwarded", "host", f.host, "profiles", f.profiles)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.shown(f), nil
}

// shown is what a person sees of a forward. The agent's mu is held.
func (a *agent) shown(f *forward) agentwire.Forward {
	out := agentwire.Forward{
		Host: f.host, Socket: f.socket, Profiles: f.profiles, Resources: []string{},
		Since: agentwire.Moment(f.since), Calls: f.calls,
	}
	if !f.last.IsZero() {
		out.LastCall = agentwire.Moment(f.last)
	}
	for _, name := range f.profiles {
		if p := a.profiles[name]; p != nil && !slices.Contains(out.Resources, p.who.Resource) {
			out.Resources = append(out.Resources, p.who.Resource)
		}
	}
	return out
}

// shownForwards lists them by host. The agent's mu is held.
func (a *agent) shownForwards() []agentwire.Forward {
	var out []agentwire.Forward
	for _, f := range a.forwards {
		out = append(out, a.shown(f))
	}
	slices.SortFunc(out, func(x, y agentwire.Forward) int { return strings.Compare(x.Host, y.Host) })
	return out
}

// endForward answers agentwire.PathForwardEnd.
func (a *agent) endForward(r *http.Request) (any, error) {
	var req agentwire.ForwardEndRequest
	if err := agentwire.ReadRequest(r, &req); err != nil {
		return nil, err
	}
	if !a.closeForward(req.Host) {
		return nil, agentwire.NewError(agentwire.Failed, "nothing was ended", "nothing is forwarded to a host of that name", "See `keytether status`", nil)
	}
	return agentwire.Empty{}, nil
}

// closeForward ends a host's socket with every connection over it.
func (a *agent) closeForward(host string) bool {
	a.mu.Lock()
	f := a.forwards[host]
	delete(a.forwards, host)
	a.mu.Unlock()
	if f == nil {
		return false
	}
	_ = f.srv.Close()
	a.log.Info("a forward ended", "host", host)
	return true
}

// closeForwards ends them all, when the agent does.
func (a *agent) closeForwards() {
	a.mu.Lock()
	hosts := make([]string, 0, len(a.forwards))
	for h := range a.forwards {
		hosts = append(hosts, h)
	}
	a.mu.Unlock()
	for _, h := range hosts {
		a.closeForward(h)
	}
}

// remoteHandler is the restricted wire.
func (a *agent) remoteHandler(f *forward) http.Handler {
	mux := http.NewServeMux()
	handle := func(method, path string, c call) {
		mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
			a.mu.Lock()
			f.calls++
			f.last = a.now()
			a.mu.Unlock()
			a.answer(w, r.WithContext(overHost(r.Context(), f.host)), c)
		})
	}
	handle(http.MethodGet, agentwire.PathVersion, a.remoteVersion)
	handle(http.MethodPost, agentwire.PathToken, a.unlocked(func(r *http.Request) (any, error) {
		var req agentwire.TokenRequest
		if err := agentwire.ReadRequest(r, &req); err != nil {
			return nil, err
		}
		var err error
		if req.Profile, err = a.remoteProfile(f, req.Profile, req.Resource); err != nil {
			return nil, err
		}
		return a.tokenFor(r.Context(), req)
	}))
	handle(http.MethodPost, agentwire.PathAuthorize, a.unlocked(func(r *http.Request) (any, error) {
		var req agentwire.AuthorizeRequest
		if err := agentwire.ReadRequest(r, &req); err != nil {
			return nil, err
		}
		var err error
		if req.Profile, err = a.remoteProfile(f, req.Profile, req.Resource); err != nil {
			return nil, err
		}
		return a.authorizeFor(r.Context(), req)
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		a.answer(w, r, func(*http.Request) (any, error) {
			return nil, agentwire.NewError(agentwire.Unsupported, "the agent does not do this for a remote host", "over a forwarded socket it gives tokens and proofs alone", "Do it on the computer that the agent runs on", nil)
		})
	})
	return mux
}

// remoteVersion says no more than the wire's version: not what else is held.
func (a *agent) remoteVersion(*http.Request) (any, error) {
	return agentwire.Version{
		Version: a.opt.Version, Protocol: agentwire.Protocol, ProtocolMin: agentwire.ProtocolMin, StartedAt: agentwire.Moment(a.started),
	}, nil
}

// remoteProfile finds which of a forward's profiles a call means: the one that
// it names, else the one for the resource that it names, else the only one.
func (a *agent) remoteProfile(f *forward, name, resource string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range f.profiles {
		switch {
		case name != "" && name != agentwire.DefaultProfile:
			if p == name {
				return p, nil
			}
		case resource != "":
			if held := a.profiles[p]; held != nil && held.who.Resource == resource {
				return p, nil
			}
		case len(f.profiles) == 1 || p == agentwire.DefaultProfile:
			return p, nil
		}
	}
	return "", agentwire.NewError(agentwire.ResourceNotAllowed, "no token was given", "what was asked for is not forwarded to this host", "Forward its profile with `keytether agent forward "+f.host+" --profile NAME`", nil)
}
