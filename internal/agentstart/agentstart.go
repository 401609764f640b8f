// Package agentstart finds the user's agent, or starts it, and sees to it that agent and
// caller speak the same protocol.
//
// # Versions
//
// A newer command wants a newer agent, and an agent that keeps its grants in memory takes them
// along when it ends. So an older agent is asked to stop only if it is idle (no grant that
// would be lost, no login in progress), and the agent itself decides that, in the same step in
// which it stops: what this package read a moment ago may no longer hold. An agent that is not
// idle is used as it is while the protocols fit, and the Notice says so; if they do not fit,
// the caller gets an error that names the way out, and no login is ever ended for an update.
// An agent that is newer than the command is used as it is.
package agentstart

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/peersock"
)

// readyWithin is how long a started agent may take until it answers, and a stopped one to go.
const readyWithin = 5 * time.Second

// Sentinels, for errors.Is. ErrNotRunning of peersock is passed on by Find.
var (
	ErrNoBinary     = errors.New("agentstart: keytether is not installed")
	ErrNotReady     = errors.New("agentstart: the agent did not start")
	ErrIncompatible = errors.New("agentstart: agent and program do not speak the same protocol")
)

// Options says which agent is meant and how one is started.
type Options struct {
	Socket  string   // from peersock.Path; required
	Binary  string   // the keytether to start; empty: this program if it is keytether, else by PATH of Env
	Version string   // the caller's own version, to compare; empty: versions are not compared
	Env     []string // the caller's environment as os.Environ gives it; a minimum of it goes to the agent
	Log     *slog.Logger
}

// Notice is something that a person may want to know; empty if there is nothing.
type Notice string

// Find connects to a running agent and starts none: peersock.ErrNotRunning if there is none.
func Find(ctx context.Context, o Options) (*agentwire.Client, Notice, error) {
	c, v, err := connect(ctx, o)
	if err != nil {
		return nil, "", err
	}
	if err := compatible(v); err != nil {
		c.Close()
		return nil, "", err
	}
	if older(v.Version, o.Version) {
		return c, olderNotice(v, o), nil
	}
	return c, "", nil
}

// Ensure connects to the agent, and starts it if none runs. Of several callers at once one
// starts it and all use it. It returns within about 10 seconds.
func Ensure(ctx context.Context, o Options) (*agentwire.Client, Notice, error) {
	c, v, err := connect(ctx, o)
	if err == nil && !replaceable(v, o) {
		return settle(c, v, o)
	}
	if c != nil {
		c.Close()
	}
	if err != nil && !errors.Is(err, peersock.ErrNotRunning) {
		return nil, "", err
	}
	lockCtx, cancel := context.WithTimeoutCause(ctx, 2*readyWithin, fmt.Errorf("%w: another program has been starting it for too long", ErrNotReady))
	defer cancel()
	unlock, err := peersock.StartLock(lockCtx, o.Socket)
	if err != nil {
		return nil, "", err
	}
	defer unlock()
	// Somebody else may have done it while we waited.
	c, v, err = connect(ctx, o)
	switch {
	case err == nil && !replaceable(v, o):
		return settle(c, v, o)
	case err == nil:
		stopped, err := stopIdle(ctx, c, o)
		if err != nil {
			c.Close()
			return nil, "", err
		}
		if !stopped {
			return settle(c, v, o)
		}
		c.Close()
	case !errors.Is(err, peersock.ErrNotRunning):
		return nil, "", err
	}
	if err := start(ctx, o); err != nil {
		return nil, "", err
	}
	c, v, err = connect(ctx, o)
	if err != nil {
		return nil, "", err
	}
	return settle(c, v, o)
}

func settle(c *agentwire.Client, v agentwire.Version, o Options) (*agentwire.Client, Notice, error) {
	if err := compatible(v); err != nil {
		c.Close()
		return nil, "", err
	}
	if older(v.Version, o.Version) {
		return c, olderNotice(v, o), nil
	}
	return c, "", nil
}

// replaceable says whether it is worth asking the agent to make way. What it holds it says
// itself, and it decides again when it is asked.
func replaceable(v agentwire.Version, o Options) bool {
	return (older(v.Version, o.Version) || v.Protocol < agentwire.ProtocolMin) && v.Grants == 0 && v.Logins == 0
}

func compatible(v agentwire.Version) error {
	oldest := v.ProtocolMin
	if oldest == 0 {
		oldest = v.Protocol
	}
	if v.Protocol >= agentwire.ProtocolMin && oldest <= agentwire.Protocol {
		return nil
	}
	return fmt.Errorf("%w: the agent (version %s, process %d) speaks %d to %d, this program %d to %d. Update the older one; `keytether agent stop` ends the agent and the logins it holds in memory",
		ErrIncompatible, v.Version, v.PID, oldest, v.Protocol, agentwire.ProtocolMin, agentwire.Protocol)
}

func olderNotice(v agentwire.Version, o Options) Notice {
	return Notice(fmt.Sprintf("the agent is version %s, older than this program (%s); it holds a login and is used as it is. `keytether agent stop` replaces it and ends its logins", v.Version, o.Version))
}

func connect(ctx context.Context, o Options) (*agentwire.Client, agentwire.Version, error) {
	// The first dial is apart, so that its reason is not wrapped in words about HTTP.
	conn, err := peersock.Dial(ctx, o.Socket)
	if err != nil {
		return nil, agentwire.Version{}, err
	}
	first := make(chan net.Conn, 1)
	first <- conn
	c := agentwire.NewClient(func(ctx context.Context) (net.Conn, error) {
		select {
		case conn := <-first:
			return conn, nil
		default:
			return peersock.Dial(ctx, o.Socket)
		}
	})
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, fmt.Errorf("%w: something listens at its socket and does not answer", ErrNotReady))
	defer cancel()
	v, err := c.Version(ctx)
	if err != nil {
		c.Close()
		return nil, v, err
	}
	return c, v, nil
}

// stopIdle asks the agent to stop if it is idle and waits until it is gone. An agent that is
// busy, or too old to be asked this, stays.
func stopIdle(ctx context.Context, c *agentwire.Client, o Options) (bool, error) {
	err := c.Stop(ctx, agentwire.StopRequest{IfIdle: true})
	switch {
	case errors.Is(err, agentwire.Busy), errors.Is(err, agentwire.Unsupported):
		return false, nil
	case err != nil && !errors.Is(err, agentwire.AgentGone):
		return false, err
	}
	gone := func() bool {
		conn, err := peersock.Dial(ctx, o.Socket)
		if err == nil {
			_ = conn.Close()
		}
		return errors.Is(err, peersock.ErrNotRunning)
	}
	if !poll(ctx, gone, nil) {
		return false, fmt.Errorf("%w: the older agent agreed to stop and did not", ErrNotReady)
	}
	return true, nil
}

func start(ctx context.Context, o Options) error {
	bin, err := binary(o)
	if err != nil {
		return err
	}
	cmd := exec.Command(bin, "agent", "run") // outlives ctx
	cmd.Dir = startDir()
	cmd.Env = agentEnv(o.Env, o.Socket)
	detach(cmd) // stdin, stdout, stderr stay nil: the null device
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: %s cannot be started: %w", ErrNotReady, bin, err)
	}
	if o.Log != nil {
		o.Log.Debug("agent started", "binary", bin, "pid", cmd.Process.Pid)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }() // reaps it, if we live longer than it
	ready := func() bool {
		conn, err := peersock.Dial(ctx, o.Socket)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	}
	if poll(ctx, ready, ended) {
		return nil
	}
	select {
	case <-ended:
		return fmt.Errorf("%w: it ended at once (%s). Run `keytether agent run` to see why", ErrNotReady, cmd.ProcessState)
	default:
		// It may hang half-way; nobody else knows of it.
		_ = cmd.Process.Kill()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w within %s. Run `keytether agent run` to see why", ErrNotReady, readyWithin)
	}
}

// poll asks until done, the time is up, ctx ends, or ended is closed (then it asks once more:
// another agent may have been quicker).
func poll(ctx context.Context, done func() bool, ended <-chan struct{}) bool {
	deadline := time.NewTimer(readyWithin)
	defer deadline.Stop()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		if done() {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-deadline.C:
			return false
		case <-ended:
			return done()
		case <-time.After(wait):
		}
	}
}

// binary finds keytether: as told, ourselves, or in the caller's PATH.
func binary(o Options) (string, error) {
	if o.Binary != "" {
		return o.Binary, nil
	}
	name := "keytether" + exeSuffix
	if self, err := os.Executable(); err == nil && strings.EqualFold(filepath.Base(self), name) {
		return self, nil
	}
	for _, dir := range filepath.SplitList(lookup(o.Env, "PATH")) {
		if !filepath.IsAbs(dir) {
			continue // never from the folder that we happen to be in
		}
		p := filepath.Join(dir, name)
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() && (exeSuffix != "" || fi.Mode()&0o111 != 0) {
			return p, nil
		}
	}
	return "", fmt.Errorf("%w: no %s in PATH. Install Keytether, or name the agent's socket in KEYTETHER_SOCKET", ErrNoBinary, name)
}

func lookup(env []string, name string) string {
	for _, kv := range env {
		if k, v, ok := strings.Cut(kv, "="); ok && sameName(k, name) {
			return v
		}
	}
	return ""
}

// agentEnv is all that an agent gets of the environment: where its home and folders are. What
// matters for one login (proxy, CA, browser) comes with that login; credentials of other
// things that stand in the environment never come.
func agentEnv(env []string, socket string) []string {
	out := []string{"KEYTETHER_SOCKET=" + socket}
	for _, name := range envNames {
		if v := lookup(env, name); v != "" {
			out = append(out, name+"="+v)
		}
	}
	return out
}
