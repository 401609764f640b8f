package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/keytether/keytether/internal/agentstart"
	"github.com/keytether/keytether/internal/agentwire"
)

func (a *app) socket() (string, error) {
	path, err := agentstart.Socket(a.getenv)
	if err != nil {
		return "", agentwire.NewError(agentwire.Usage, "the agent's socket is not known", err.Error(), "", err)
	}
	return path, nil
}

// agent connects to the agent, which it starts if one would find a login that outlived the last
// one; without one, nobody is logged in.
func (a *app) agent(ctx context.Context) (*agentwire.Client, error) {
	return a.connect(ctx, agentstart.Wake)
}

// runningAgent connects to the agent that runs, and starts none.
func (a *app) runningAgent(ctx context.Context) (*agentwire.Client, error) {
	return a.connect(ctx, agentstart.Find)
}

// quickAgent is agent without the question for its version, for the call that tools make all the
// time. What its calls give must go through connectError.
func (a *app) quickAgent() (*agentwire.Client, error) {
	path, err := a.socket()
	if err != nil {
		return nil, err
	}
	return agentstart.Once(agentstart.Options{Socket: path, Version: a.Version, Env: a.Environ}), nil
}

// ensureAgent connects to the agent and starts it if none runs.
func (a *app) ensureAgent(ctx context.Context) (*agentwire.Client, error) {
	return a.connect(ctx, agentstart.Ensure)
}

type connector func(context.Context, agentstart.Options) (*agentwire.Client, agentstart.Notice, error)

func (a *app) connect(ctx context.Context, by connector) (*agentwire.Client, error) {
	path, err := a.socket()
	if err != nil {
		return nil, err
	}
	c, notice, err := by(ctx, agentstart.Options{Socket: path, Version: a.Version, Env: a.Environ})
	if err != nil {
		return nil, connectError(err)
	}
	if notice != "" {
		_, _ = fmt.Fprintln(a.Stderr, "keytether: "+clean(string(notice)))
	}
	return c, nil
}

// connectError says why there is no agent to ask.
func connectError(err error) error {
	if errors.Is(err, agentstart.ErrNotRunning) {
		return agentwire.NewError(agentwire.NotLoggedIn, "you are not logged in", "no agent is running, and only an agent holds a login",
			"Run `keytether login`", err)
	}
	if e, ok := errors.AsType[*agentwire.Error](err); ok {
		return e
	}
	return agentwire.NewError(agentwire.AgentGone, "the agent cannot be used", err.Error(), "", err)
}
