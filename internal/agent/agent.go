// Package agent is the per-user agent, an ssh-agent for OAuth: it runs logins,
// holds proof keys and refresh tokens, renews once for all processes, and hands
// out short access tokens and proofs over the user's own socket (packages
// agentwire and peersock). Refresh tokens and private keys have no way out.
//
//	server.go     the calls            login.go   a login's stream
//	flow.go       which flow         ways.go    browser and device, side by side
//	second.go     the code beside a browser, and how a login ends
//	profile.go    one login's tokens   renew.go   single-flight renewal
//	home.go       the kinds of stores  keep.go    where a login is kept, and where next when that fails
//	restore.go    an earlier agent's logins       watch.go   what nobody tells the agent
//	sealed.go     the store that is sealed with a passphrase
//	approval.go   the signature under a decision about a login elsewhere
//	authorize.go  one request's headers, only where confine.go lets it go
//	gate.go       who asks, and may: caller.go, allow.go, confirm.go
//
// A renewal whose answer was lost repeats the same refresh token later, as the
// server allows; only the server's word that the grant is over ends a login.
//
// A login's proxy and certificate variables are its caller's; they are kept with
// the profile, and its renewals use them too.
package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/harden"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/peersock"
	"github.com/keytether/keytether/internal/redact"
)

// Options is what an agent needs. Socket is a must; the rest has defaults.
type Options struct {
	Socket  string // path of the socket (peersock.Path)
	Version string // as `keytether --version` prints it

	Clock func() time.Time // default time.Now
	Rand  io.Reader        // default crypto/rand's

	// Log gets what happens, without secrets. Default: agent.log in StateDir (0600,
	// turned over at 1 MiB) from LogLevel on, or stderr where that cannot be written; without
	// StateDir nothing is logged.
	Log      *slog.Logger
	StateDir string
	LogLevel slog.Level

	// Kinds are the stores that this machine may have, in the order in which a login tries
	// them; default memory alone. Memory is the last resort also where it is not among them.
	Kinds  []keystore.Kind
	Passed map[string]string // the names of those that "auto" passes over, and why
	Store  string            // the choice for every login: a kind's name or "auto"; empty: each login's own

	LockAfter     time.Duration // lock when nobody asked for so long; zero: never
	LockOnSuspend bool          // lock when the machine was suspended (Linux)

	// HTTP makes the client for a login from its caller's variables. Default:
	// oauthclient.NewHTTP.
	HTTP func(env map[string]string) (oauthclient.HTTP, error)

	// Facts fill what a login request does not say about this installation.
	Facts agentwire.Facts

	IdleTime  time.Duration // default 30 min without grants, logins and calls
	LoginTime time.Duration // of a browser login; default 15 min
	FallTime  time.Duration // until a browser that does not come back has a device code beside it; default 1 min

	// Rules says who may use a profile, asked anew for each call; an error refuses them all. nil:
	// every program of the user's may.
	Rules func(profile string) (Rules, error)
	// Confirm has the person asked for every profile, whatever Rules says.
	Confirm bool
	// Ask shows a question where the person is, until ctx ends, and gives agentwire's decision, or
	// nothing. nil: `keytether agent confirm` alone.
	Ask func(ctx context.Context, q agentwire.Confirmation) (decision string, err error)

	// Ready is called once the socket answers.
	Ready func()

	here       func() machine       // what this process runs in
	endTime    time.Duration        // until what a login left running is given up; default endTime
	slept      func() time.Duration // how long the machine was suspended since it started
	watchEvery time.Duration
	storeTime  time.Duration // of one use of a store; default storeTime

	confirmTime time.Duration // default confirmTime
}

// errIdle is why an agent that had nothing to hold ended; Run gives nil for it.
var errIdle = errors.New("agent: nothing to hold and nobody asked")

// errStopped: somebody asked for the end. What outlives this process stays.
var errStopped = errors.New("agent: stopped on request")

// Run serves until ctx ends, a termination signal comes, somebody stops the
// agent or it was idle for long. It forbids core dumps and reading of its memory
// by other processes of the user, where the system can. When it returns, nothing
// secret is left in the memory store. Errors wrap those of peersock.Listen; a
// regular end is nil.
func Run(ctx context.Context, o Options) error {
	if err := harden.Process(); err != nil && o.Log != nil {
		o.Log.Warn("this process could not be closed to others", "err", err)
	}
	ctx, cancel := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer cancel()
	return serve(ctx, o)
}

func serve(ctx context.Context, o Options) error {
	closeLog := o.fill()
	defer closeLog()
	ln, err := peersock.Listen(o.Socket)
	if err != nil {
		return err
	}
	a := newAgent(ctx, o)
	ln.OnRefused(func(err error) { a.log.Warn("a connection was refused", "err", err) })
	srv := &http.Server{
		Handler:           a.handler(),
		ConnContext:       peersock.ConnContext,
		ReadHeaderTimeout: 10 * time.Second, // a ReadTimeout would end logins
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	a.background(a.restore)
	a.background(a.watchIdle)
	a.background(func() { a.watch(ln.Gone) })
	a.log.Info("the agent is up", "version", o.Version, "pid", os.Getpid())
	if o.Ready != nil {
		o.Ready()
	}
	select {
	case <-a.ctx.Done():
		err = nil
	case err = <-served:
		a.end(err)
	}
	why := context.Cause(a.ctx)
	a.log.Info("the agent ends", "why", why)
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	if srv.Shutdown(bye) != nil {
		_ = srv.Close()
	}
	a.closeForwards()
	a.settle()
	a.wipeAll(why)
	if at := a.vault.sealed(); at != nil {
		at.lock()
	}
	return err
}

// fill sets the defaults.
func (o *Options) fill() (closeLog func()) {
	closeLog = func() {}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Kinds == nil {
		o.Kinds = []keystore.Kind{memoryKind()}
	}
	if o.slept == nil {
		o.slept = slept
	}
	if o.storeTime <= 0 {
		o.storeTime = storeTime
	}
	if o.watchEvery <= 0 {
		o.watchEvery = watchEvery
	}
	if o.HTTP == nil {
		o.HTTP = oauthclient.NewHTTP
	}
	if o.IdleTime <= 0 {
		o.IdleTime = idleTime
	}
	if o.LoginTime <= 0 {
		o.LoginTime = loginTime
	}
	if o.FallTime <= 0 {
		o.FallTime = fallTime
	}
	if o.endTime <= 0 {
		o.endTime = endTime
	}
	if o.confirmTime <= 0 {
		o.confirmTime = confirmTime
	}
	if o.here == nil {
		o.here = here
	}
	if o.Facts.AgentVersion == "" {
		o.Facts.AgentVersion = o.Version
	}
	switch {
	case o.Log == nil && o.StateDir == "":
		o.Log = slog.New(slog.DiscardHandler)
	case o.Log == nil:
		f, err := openLog(o.StateDir)
		if err != nil {
			// A home that is read-only or full keeps nobody from a login in memory.
			o.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: o.LogLevel}))
			o.Log.Warn("the log goes to stderr", "err", err)
			break
		}
		closeLog = func() { _ = f.Close() }
		o.Log = slog.New(slog.NewJSONHandler(f, &slog.HandlerOptions{Level: o.LogLevel}))
	}
	o.Log = slog.New(redact.Handler(o.Log.Handler()))
	return closeLog
}

// agent is the state of the process. Nothing of it is kept anywhere else.
type agent struct {
	opt     Options
	log     *slog.Logger
	ctx     context.Context // the agent's life
	end     context.CancelCauseFunc
	wait    sync.WaitGroup // all that runs beside the calls
	started time.Time
	vault   *vault

	restored chan struct{} // closed when logins of an earlier agent were looked for
	marking  sync.Mutex
	list     os.FileInfo // the list of stores as it was last seen; under marking
	gate     gate
	shutting sync.Mutex // held while the sealed store is shut

	mu       sync.Mutex
	profiles map[string]*profile
	decoys   []agentwire.Decoy           // where they were written, as the agent was told
	ended    map[string]*agentwire.Error // why a profile is not there any more
	forwards map[string]*forward         // by remote host
	holds    int                         // logins begun so far, for names in the store
	clients  map[string]string           // registered at servers, by profile and issuer
	attempts map[string]*attempt         // logins in progress, by their name on the wire
	logins   int
	stopping bool
	lock     lock
	lastUse  time.Time
	missing  map[*home]bool // known to hold logins, and cannot be opened
	lastFind time.Time
	wrongAt  time.Time // when a wrong passphrase was given for the sealed store
	stale    []string  // of the marker that was found
}

func newAgent(ctx context.Context, o Options) *agent {
	a := &agent{
		opt: o, log: o.Log, started: o.Clock(), lastUse: o.Clock(), vault: newVault(o),
		restored: make(chan struct{}), missing: map[*home]bool{},
		profiles: map[string]*profile{}, ended: map[string]*agentwire.Error{}, forwards: map[string]*forward{},
		attempts: map[string]*attempt{}, clients: map[string]string{},
	}
	a.gate.doors, a.gate.questions = map[string]*door{}, map[questionKey]*question{}
	a.ctx, a.end = context.WithCancelCause(ctx)
	return a
}

func (a *agent) now() time.Time { return a.opt.Clock() }

// background runs f beside the calls; serve waits for it.
func (a *agent) background(f func()) { a.wait.Go(f) }

// watchIdle ends an agent that holds nothing and that nobody asks.
func (a *agent) watchIdle() {
	t := time.NewTicker(max(min(time.Minute, a.opt.IdleTime/4), time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-t.C:
			if a.stopIfIdle(a.opt.IdleTime) {
				a.end(errIdle)
				return
			}
		}
	}
}

// stopIfIdle decides and stops in one step: no login can begin in between. An
// agent that is to make way for another one may hold what that one will find.
func (a *agent) stopIfIdle(quiet time.Duration) bool {
	a.dropExpired()
	a.mu.Lock()
	defer a.mu.Unlock()
	held := a.losable()
	if quiet > 0 {
		held = a.held()
	}
	if held > 0 || a.logins > 0 || a.now().Sub(a.lastUse) < quiet {
		return false
	}
	a.stopping = true
	return true
}

// held counts the logins. The agent's mu is held.
func (a *agent) held() int { return a.count(func(*profile) bool { return true }) }

// losable counts those that end with this process.
func (a *agent) losable() int {
	return a.count(func(p *profile) bool { return p.life() == keystore.Process })
}

func (a *agent) count(which func(*profile) bool) (n int) {
	now := a.now()
	for _, p := range a.profiles {
		if which(p) && !p.ended(now) {
			n++
		}
	}
	return n
}

// wipeAll empties the stores of what must not outlive this process. An agent that
// is stopped on request leaves to the next one what its stores keep; one that a
// signal ends, or that lost its socket, ends with the session, and takes along
// what is the session's.
func (a *agent) wipeAll(why error) {
	keep := keystore.Machine
	if errors.Is(why, errStopped) || errors.Is(why, errIdle) {
		keep = keystore.Session
	}
	a.mu.Lock()
	var gone []*profile
	for name, p := range a.profiles {
		if p.life() < keep {
			gone = append(gone, p)
			delete(a.profiles, name)
		}
	}
	left := slices.Collect(maps.Values(a.profiles))
	a.mu.Unlock()
	for _, p := range gone {
		_ = a.wipe(p) // it has been logged
	}
	for _, p := range left {
		a.sweep(context.WithoutCancel(a.ctx), p)
		p.drop()
		p.close()
	}
	a.mark()
}
