package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
)

func (a *app) agentCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "agent",
		Short: "The agent that holds your logins",
		Long: `The agent is a program of your own that holds proof keys and refresh tokens: in the first credential
store that works here, else in its memory alone (keytether status says where). It starts when it is
needed and answers your programs only, over a local socket.`,
	}
	group(c)
	c.AddCommand(a.agentRunCmd(), a.agentStatusCmd(), a.agentLockCmd(), a.agentUnlockCmd(), a.agentStopCmd(), a.agentForwardCmd(), a.agentConfirmCmd())
	return c
}

func (a *app) agentRunCmd() *cobra.Command {
	var debug, confirm bool
	var store string
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the agent here, until it is told to stop",
		Long: `Runs the agent in the foreground. You need not: a login starts it. A service manager may want
to. The socket is KEYTETHER_SOCKET, else agent.sock in $XDG_RUNTIME_DIR/keytether, else in the
user's state folder. Its log is agent.log in keytether in the state folder; with -v it goes to
stderr, and says more.

--store, else store in config.yaml, says where new logins are kept: auto (the first that works
here), keychain, kernel, tpm, file or memory. lock_after in config.yaml (such as 30m) locks the agent
when nobody has asked it for that long, lock_on_suspend: true when the machine was suspended. A
termination signal, or a socket that was removed, is the end of the session: what does not outlive
that is wiped.`,
		Args: exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			if a.RunAgent == nil {
				return fail("the agent was not started", errors.New("this program was built without it"), "")
			}
			o, err := a.agentOptions(store)
			if err != nil {
				return err
			}
			o.Debug, o.Confirm = debug, confirm
			err = a.RunAgent(c.Context(), o)
			if err != nil {
				return fail("the agent was not started", err, "")
			}
			return nil
		},
	}
	c.Flags().StringVar(&store, "store", "", "where logins are kept, whatever config.yaml says: "+strings.Join(agentwire.Stores(), ", "))
	c.Flags().BoolVar(&confirm, "confirm", false, "ask you before a program uses a login for the first time")
	c.Flags().BoolVarP(&debug, "verbose", "v", false, "log to stderr, and log more")
	return c
}

// agentOptions takes from the config what an agent needs for as long as it runs. Which store each
// login goes to comes with the login; --store is for all of them.
func (a *app) agentOptions(store string) (AgentOptions, error) {
	o := AgentOptions{Version: a.Version, Getenv: a.getenv, Log: a.Stderr, Store: store}
	if store != "" && !slices.Contains(agentwire.Stores(), store) {
		return o, usage("--store is none of "+strings.Join(agentwire.Stores(), ", "), "Use one of them")
	}
	c, err := a.readConfig()
	if err != nil {
		return o, err
	}
	o.Rules = a.rules()
	o.LockAfter, o.LockOnSuspend = time.Duration(c.LockAfter), c.LockOnSuspend
	return o, nil
}

func (a *app) agentStatusCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show whether an agent runs; exits with 1 if none does",
		Args:  exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			s, running, err := a.statusOf(c.Context(), a.runningAgent)
			if err != nil {
				return err
			}
			if err := a.showStatus(s, running, false); err != nil {
				return err
			}
			if !running {
				return exitError(exitFailed)
			}
			return nil
		},
	}
	a.jsonFlag(c, "as JSON")
	return c
}

const passphraseHelp = "read a passphrase from the first line of standard input"

func (a *app) agentLockCmd() *cobra.Command {
	var ask bool
	c := &cobra.Command{
		Use:   "lock",
		Short: "Make the agent refuse tokens, proofs and logins until it is unlocked",
		Args:  exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			r, agent, err := a.lockRequest(c.Context(), ask)
			if err != nil {
				return err
			}
			if err := agent.Lock(c.Context(), r); err != nil {
				return err
			}
			return a.println("Locked. `keytether agent unlock` opens it again.")
		},
	}
	c.Flags().BoolVar(&ask, "passphrase-stdin", false, passphraseHelp)
	return c
}

func (a *app) agentUnlockCmd() *cobra.Command {
	var ask, store bool
	c := &cobra.Command{
		Use:   "unlock",
		Short: "Undo lock; with --store, open the sealed file",
		Long: `Undoes keytether agent lock. With --store it opens the sealed file that logins are kept in, which
wants its passphrase after a restart of the agent and after a lock. It is asked for on the terminal.`,
		Args: exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			if store {
				return a.unlockStore(c.Context(), ask)
			}
			r, agent, err := a.lockRequest(c.Context(), ask)
			if err != nil {
				return err
			}
			if err := agent.Unlock(c.Context(), r); err != nil {
				return err
			}
			return a.println("Unlocked.")
		},
	}
	c.Flags().BoolVar(&store, "store", false, "open the sealed file, not the agent")
	c.Flags().BoolVar(&ask, "passphrase-stdin", false, passphraseHelp)
	return c
}

func (a *app) lockRequest(ctx context.Context, ask bool) (agentwire.LockRequest, *agentwire.Client, error) {
	var r agentwire.LockRequest
	if ask {
		p, err := a.passphraseLine("--passphrase-stdin")
		if err != nil {
			return r, nil, err
		}
		r.Passphrase = p
	}
	agent, err := a.runningAgent(ctx)
	return r, agent, err
}

func (a *app) agentStopCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "stop",
		Short: "Stop the agent; logins that are held in memory end here",
		Long: `Stops the agent. Logins that are in its memory alone are gone with it; at the server their grants
live on until they expire. keytether logout --all revokes them first. Logins in other stores stay, and
the next agent finds them.`,
		Args: exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			s, running, err := a.statusOf(c.Context(), a.runningAgent)
			if err != nil {
				return err
			}
			if !running {
				return a.println("No agent is running.")
			}
			agent, err := a.runningAgent(c.Context())
			if err != nil {
				return err
			}
			if err := agent.Stop(c.Context(), agentwire.StopRequest{}); err != nil {
				return err
			}
			lost := ""
			if s.Agent.Grants == 1 {
				lost = " One login ended with it."
			} else if s.Agent.Grants > 1 {
				lost = fmt.Sprintf(" %d logins ended with it.", s.Agent.Grants)
			}
			return a.println("The agent has stopped." + lost)
		},
	}
	return c
}
