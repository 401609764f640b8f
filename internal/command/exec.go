package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/redact"
	"github.com/keytether/keytether/internal/secret"
)

// What a shell exits with when it cannot run a command.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

func (a *app) execCmd() *cobra.Command {
	var env string
	var masked []string
	c := &cobra.Command{
		Use:   "exec [--env VAR] [--mask-env VAR]… -- COMMAND…",
		Short: "Run a command as a login; mask secrets in what it prints",
		Long: `Runs a command that knows by KEYTETHER_PROFILE and KEYTETHER_SOCKET which login to use, and masks
tokens, codes and private keys in what it prints, and with --mask-env the values of the variables
that you name. Where ours is a terminal the command has one too, which ends with it. Elsewhere exec
ends once nothing that the command started can print any more: a service that is to go on needs
another place to print to. The exit code and the signals are the command's own.

Only with --env does the command also get an access token, in that variable: every process that
it starts inherits it, so prefer a tool that asks the agent. The token ends in minutes and is not
renewed there.`,
		Example: `  keytether exec -- ./deploy.sh
  keytether exec --env API_TOKEN -- some-tool upload
  keytether exec --mask-env DB_PASSWORD,NPM_TOKEN -- make release`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("exec wants a command", "Write it after --, as in `keytether exec -- some-tool`")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.exec(c.Context(), env, masked, args) },
	}
	c.Flags().SetInterspersed(false)
	c.Flags().StringVar(&env, "env", "", "give the command an access token in this variable")
	c.Flags().StringSliceVar(&masked, "mask-env", nil, "mask the value of this variable of ours in what the command prints")
	a.profileFlag(c)
	return c
}

func (a *app) exec(ctx context.Context, env string, masked, args []string) error {
	name, err := a.profileName()
	if err != nil {
		return err
	}
	if env != "" && !validVariable(env) {
		return usage("--env is not a variable's name", "Use letters, digits and underscores, as in API_TOKEN")
	}
	known, err := a.masked(masked)
	if err != nil {
		return err
	}
	socket, err := a.socket()
	if err != nil {
		return err
	}
	set := []string{"KEYTETHER_PROFILE=" + name, "KEYTETHER_SOCKET=" + socket}
	if env != "" {
		agent, err := a.agent(ctx)
		if err != nil {
			return err
		}
		t, err := agent.Token(ctx, agentwire.TokenRequest{Profile: name})
		if err != nil {
			return err
		}
		holdsToken()
		token := t.AccessToken.Reveal()
		known = append(known, secret.New(token))
		set = append(set, env+"="+token)
	}
	return a.runChild(args, childEnv(a.Environ, set), known)
}

// masked gives the values of the variables that a person named.
func (a *app) masked(names []string) ([]secret.Value, error) {
	var known []secret.Value
	for _, n := range names {
		v := a.getenv(n)
		switch {
		case !validVariable(n):
			return nil, usage("--mask-env is not a variable's name", "Use letters, digits and underscores, as in DB_PASSWORD")
		case v == "":
			return nil, usage("--mask-env "+n+" has nothing to mask: the variable is not set, or empty", "Correct the name, or leave it out")
		case len(v) < redact.MinKnown:
			return nil, usage(fmt.Sprintf("--mask-env %s is too short to be masked: less than %d characters stand in all text", n, redact.MinKnown), "Leave it out")
		}
		known = append(known, secret.New(v))
	}
	return known, nil
}

// mask gives a writer that lets w see no secret of ours (package redact), nor the known ones,
// which nobody could tell by their looks. Close writes what is held back.
func mask(w io.Writer, known []secret.Value) io.WriteCloser {
	if len(known) == 0 {
		return redact.NewWriter(w)
	}
	return redact.NewKnown(redact.NewWriter(w), known...)
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
func (a *app) runChild(args, env []string, known []secret.Value) error {
	c := exec.Command(args[0], args[1:]...)
	c.Env = env
	c.Stdin = a.Stdin
	stdout, stderr := mask(a.Stdout, known), mask(a.Stderr, known)
	c.Stdout, c.Stderr = stdout, stderr
	tty, err := a.childTerminal(c)
	if err != nil {
		return fail("the command was not run", err, "Send its output to a file or through `cat`")
	}
	defer tty.close()

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, childSignals()...)
	defer signal.Stop(signals)
	if err := c.Start(); err != nil {
		return notRun(args[0], err)
	}
	tty.started()
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				if tty.signal(s); !tty.own && !a.fromTerminal(s) || tty.own && !keyboard(s) {
					_ = c.Process.Signal(s)
				}
			case <-ended:
				return
			}
		}
	}()
	err = c.Wait()
	close(ended)
	tty.drain()
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
