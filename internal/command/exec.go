package command

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
)

// What a shell exits with when it cannot run a command.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

func (a *app) execCmd() *cobra.Command {
	var env string
	c := &cobra.Command{
		Use:   "exec [--env VAR] -- COMMAND…",
		Short: "Run a command as a login; mask secrets in what it prints",
		Long: `Runs a command that knows by KEYTETHER_PROFILE and KEYTETHER_SOCKET which login to use, and masks
tokens, codes and private keys in what it prints. Its standard output and error are pipes, even
where ours are a terminal. The exit code is the command's own.

Only with --env does the command also get an access token, in that variable: every process that
it starts inherits it, so prefer a tool that asks the agent. The token ends in minutes and is not
renewed there.`,
		Example: `  keytether exec -- ./deploy.sh
  keytether exec --env API_TOKEN -- some-tool upload`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("exec wants a command", "Write it after --, as in `keytether exec -- some-tool`")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.exec(c.Context(), env, args) },
	}
	c.Flags().SetInterspersed(false)
	c.Flags().StringVar(&env, "env", "", "give the command an access token in this variable")
	a.profileFlag(c)
	return c
}

func (a *app) exec(ctx context.Context, env string, args []string) error {
	name, err := a.profileName()
	if err != nil {
		return err
	}
	if env != "" && !validVariable(env) {
		return usage("--env is not a variable's name", "Use letters, digits and underscores, as in API_TOKEN")
	}
	socket, err := a.socket()
	if err != nil {
		return err
	}
	set := []string{"KEYTETHER_PROFILE=" + name, "KEYTETHER_SOCKET=" + socket}
	var token string
	if env != "" {
		agent, err := a.agent(ctx)
		if err != nil {
			return err
		}
		t, err := agent.Token(ctx, agentwire.TokenRequest{Profile: name})
		if err != nil {
			return err
		}
		token = t.AccessToken.Reveal()
		set = append(set, env+"="+token)
	}
	return a.runChild(args, childEnv(a.Environ, set), token)
}

// childEnv is the environment with some variables replaced.
func childEnv(environ, set []string) []string {
	out := make([]string, 0, len(environ)+len(set))
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		replaced := false
		for _, s := range set {
			replaced = replaced || strings.HasPrefix(s, name+"=")
		}
		if !replaced {
			out = append(out, kv)
		}
	}
	return append(out, set...)
}

func validVariable(s string) bool {
	return s != "" && !(s[0] >= '0' && s[0] <= '9') && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9')
	})
}

// runChild runs the command to its end. Signals go to it, not to us: it decides what they mean.
func (a *app) runChild(args, env []string, token string) error {
	c := exec.Command(args[0], args[1:]...)
	c.Env = env
	c.Stdin = a.Stdin
	stdout, stderr := mask(a.Stdout, token), mask(a.Stderr, token)
	c.Stdout, c.Stderr = stdout, stderr

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, childSignals()...)
	defer signal.Stop(signals)
	if err := c.Start(); err != nil {
		return notRun(args[0], err)
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				if !a.fromTerminal(s) {
					_ = c.Process.Signal(s)
				}
			case <-ended:
				return
			}
		}
	}()
	err := c.Wait()
	close(ended)
	for _, w := range []io.Closer{stdout, stderr} {
		if cerr := w.Close(); err == nil {
			err = said(0, cerr)
		}
	}
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return exitError(childExit(e.ProcessState))
	}
	return err
}

// fromTerminal says that a person pressed the key for s: then the terminal has sent it to every
// process in the foreground, the command among them.
func (a *app) fromTerminal(s os.Signal) bool {
	return keyboard(s) && (isTerminal(a.Stdin) || isTerminal(a.Stderr))
}

func notRun(name string, err error) error {
	code := exitNotExecutable
	why := cause(err)
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		code = exitNotFound
	}
	return &childError{words: agentwire.NewError(agentwire.Failed, "the command "+quote(name)+" was not run", why.Error(), "", err), code: code}
}

// childError is a failure with an exit code as a shell has it.
type childError struct {
	words *agentwire.Error
	code  int
}

// Error gives the words.
func (e *childError) Error() string { return e.words.Error() }

// Unwrap gives the words.
func (e *childError) Unwrap() error { return e.words }
