// Package command is the keytether command: its subcommands, what they print, what they exit
// with, and the browser that they open. It holds no key and speaks no OAuth: it asks the agent
// (package agentwire) and shows the answer. The agent itself is injected by cmd/keytether, so
// that nothing here can reach a key.
//
// # Exit codes
//
//	0 done                              4 denied by the person or by policy
//	1 failed                            5 expired or timed out
//	2 wrong usage                       6 server not reachable
//	3 not logged in                     7 credential store not usable
//
// Errors go to stderr as what happened, why, what to do. Answers go to stdout and nothing else
// does; with --json an answer is one JSON object (login: one a line), whose fields are named as
// in the RFCs.
package command

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// Program is what the command stands in: cmd/keytether gives it the process's own.
type Program struct {
	Version string
	Args    []string // without the program's name
	Environ []string // as os.Environ gives it
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Now     func() time.Time

	// RunAgent runs the agent until ctx ends or it is told to stop.
	RunAgent func(ctx context.Context, o AgentOptions) error
	// ProbeStores opens the credential stores that a login would try, in their order, by the
	// environment that getenv shows. choose is the one that the config names, if it names one.
	ProbeStores func(ctx context.Context, getenv func(string) string, choose string) []StoreReport
	// OpenURL opens a URL in the desktop's own browser. A BROWSER of the environment goes before it.
	OpenURL func(url string) error
}

// AgentOptions is what `keytether agent run` was told.
type AgentOptions struct {
	Version string
	Getenv  func(string) string
	Log     io.Writer // where its log goes
	Debug   bool

	Rules   func(profile string) (ProfileRules, error) // nil: there is no config
	Confirm bool                                       // ask the person for every profile

	Store         string        // where logins are kept, if all of them are to go there
	LockAfter     time.Duration // lock when nobody asked for so long; zero: never
	LockOnSuspend bool
}

// Main runs one command and gives the exit code. Ending ctx cancels it.
func Main(ctx context.Context, p Program) int {
	a := newApp(p)
	root := a.root()
	root.SetArgs(p.Args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	return a.report(err)
}

// app is one run of the command.
type app struct {
	Program
	profile string // --profile
	json    bool   // --json
}

func newApp(p Program) *app {
	if p.Now == nil {
		p.Now = time.Now
	}
	if p.OpenURL == nil {
		p.OpenURL = openURL
	}
	return &app{Program: p}
}

// getenv gives the first value of a variable, as getenv(3) does.
func (a *app) getenv(name string) string {
	for _, kv := range a.Environ {
		if len(kv) > len(name) && kv[len(name)] == '=' && kv[:len(name)] == name {
			return kv[len(name)+1:]
		}
	}
	return ""
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "keytether",
		Short: "Browser login for command-line tools, governed",
		Long: `keytether logs you in with your browser and lets tools on this computer call APIs as you.

What a tool gets is short-lived and bound to a key that never leaves the agent, a small
program of your own that starts when it is needed. You can end it all with one command
(keytether logout) or one click at the server (/me).`,
		Example: `  keytether login --issuer https://auth.example.test
  keytether whoami
  keytether logout`,
		Version:           a.Version,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetVersionTemplate("keytether {{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(err.Error(), "See `"+c.CommandPath()+" --help`")
	})
	group(root)
	a.addCommands(root)
	return root
}

// addCommands adds the command that was named, or all of them where none is named for certain:
// making them all costs a short command a tenth of its time.
func (a *app) addCommands(root *cobra.Command) {
	all := []struct {
		name string
		make func() *cobra.Command
	}{
		{"login", a.loginCmd},
		{"logout", a.logoutCmd},
		{"whoami", a.whoamiCmd},
		{"status", a.statusCmd},
		{"token", a.tokenCmd},
		{"exec", a.execCmd},
		{"proxy", a.proxyCmd},
		{"helper", a.helperCmd},
		{"agent", a.agentCmd},
		{"approve", a.approveCmd},
		{"decoy", a.decoyCmd},
		{"audit", a.auditCmd},
		{"scan", a.scanCmd},
		{"doctor", a.doctorCmd},
		{"version", a.versionCmd},
		{"completion", a.completionCmd},
	}
	for _, c := range all {
		// Completion scripts are made of the whole tree.
		if len(a.Args) > 0 && a.Args[0] == c.name && c.name != "completion" {
			root.AddCommand(c.make())
			return
		}
	}
	for _, c := range all {
		root.AddCommand(c.make())
	}
}

// group makes c a command that only has subcommands: alone it shows its help, and an unknown
// name is wrong usage.
func group(c *cobra.Command) {
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		do := "See `" + c.CommandPath() + " --help`"
		if c.SuggestionsMinimumDistance <= 0 {
			c.SuggestionsMinimumDistance = 2
		}
		if near := c.SuggestionsFor(args[0]); len(near) > 0 {
			do = "Did you mean `" + c.CommandPath() + " " + near[0] + "`?"
		}
		return usage("there is no command "+quote(c.CommandPath()+" "+args[0]), do)
	}
}

// exactly wants n arguments, which want names.
func exactly(n int, want string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		if n == 0 {
			return usage("there is no argument "+quote(args[0])+" to "+c.Name(), "See `"+c.CommandPath()+" --help`")
		}
		return usage(c.Name()+" wants "+want, "See `"+c.CommandPath()+" --help`")
	}
}

func (a *app) profileFlag(c *cobra.Command) {
	c.Flags().StringVar(&a.profile, "profile", "", "which login, if you have several (KEYTETHER_PROFILE)")
}

func (a *app) jsonFlag(c *cobra.Command, what string) {
	c.Flags().BoolVar(&a.json, "json", false, what)
}

func (a *app) versionCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  exactly(0, ""),
		RunE: func(*cobra.Command, []string) error {
			if a.json {
				return a.printJSON(struct {
					Version string `json:"version"`
				}{a.Version})
			}
			return a.println("keytether " + a.Version)
		},
	}
	a.jsonFlag(c, "as JSON")
	return c
}

// isTerminal says whether w is a terminal.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && f != nil && terminal(f.Fd())
}
