// Command keytether logs a person in with the browser and lets the tools on this computer call
// APIs as them. This package is wiring: package command is the program, package agent the agent
// that it starts.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/keytether/keytether/internal/agent"
	"github.com/keytether/keytether/internal/agentstart"
	"github.com/keytether/keytether/internal/command"
	"github.com/keytether/keytether/internal/notify"
)

var version = "dev" // set by the linker

func main() { os.Exit(run()) }

func run() int {
	return command.Main(context.Background(), command.Program{
		Version: version, Args: command.Args(os.Args), Environ: os.Environ(),
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		RunAgent: runAgent, ProbeStores: probeStores,
	})
}

func runAgent(ctx context.Context, o command.AgentOptions) error {
	socket, err := agentstart.Socket(o.Getenv)
	if err != nil {
		return err
	}
	state := agentstart.StateDir(o.Getenv)
	opt := agent.Options{
		Socket: socket, Version: o.Version, StateDir: state,
		Store: o.Store, LockAfter: o.LockAfter, LockOnSuspend: o.LockOnSuspend,
	}
	if o.Rules != nil {
		opt.Rules = func(profile string) (agent.Rules, error) {
			r, err := o.Rules(profile)
			out := agent.Rules{Confirm: r.Confirm}
			for _, e := range r.Allow {
				out.Allow = append(out.Allow, agent.Allow{Executable: string(e.Executable), Resources: e.Resources})
			}
			return out, err
		}
	}
	opt.Confirm, opt.Ask = o.Confirm, notify.Asker(o.Getenv)
	opt.Kinds, opt.Passed = kinds(o.Getenv, state)
	if o.Debug {
		opt.Log = slog.New(slog.NewTextHandler(o.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return agent.Run(ctx, opt)
}
