// Package servercmd is the command keytether-server: it wires config, store,
// keys, the authorization server and its HTTP edge together, and runs them.
package servercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/keytether/keytether/internal/config"
	"github.com/keytether/keytether/internal/redact"
	"github.com/spf13/cobra"
)

// Exit codes (design §5).
const (
	ExitFailed = 1
	ExitUsage  = 2
)

// usageError is wrong usage of the command line.
type usageError struct{ error }

// Main runs the command and gives its exit code.
func Main(ctx context.Context, args []string, stdout, stderr io.Writer, version string) int {
	root := rootCommand(version)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "keytether-server: %s\n", redact.String(err.Error()))
	if usage := (usageError{}); errors.As(err, &usage) {
		return ExitUsage
	}
	return ExitFailed
}

func rootCommand(version string) *cobra.Command {
	root := &cobra.Command{
		Use:           "keytether-server",
		Short:         "Authorization server for command-line tools",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	o := &options{version: version}
	root.AddCommand(serveCommand(o), checkCommand(o), backupCommand(o), restoreCommand(o), keysCommand(o), registrationTokenCommand())
	root.Args = cobra.NoArgs
	root.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	wrongArgs(root)
	return root
}

// wrongArgs makes wrong arguments of c and of every command under it wrong usage.
func wrongArgs(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{fmt.Errorf("%w; see `%s --help`", err, c.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		wrongArgs(sub)
	}
}

// options are the flags that all subcommands share.
type options struct {
	version   string
	configure string // --config
	data      string // --data
	listen    string // --listen
	logLevel  string
	logJSON   bool
}

func (o *options) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.configure, "config", "", "config `FILE` (docs/config.md)")
	c.Flags().StringVar(&o.data, "data", "", "data `DIR`, instead of a config")
}

func (o *options) logFlags(c *cobra.Command) {
	c.Flags().StringVar(&o.logLevel, "log-level", "info", "debug, info, warn or error")
	c.Flags().BoolVar(&o.logJSON, "log-json", false, "log JSON lines")
}

// load reads the config, or makes the default one for a data folder. fresh says
// that there is no file.
func (o *options) load() (cfg *config.Config, fresh bool, err error) {
	if o.configure != "" {
		if o.data != "" {
			return nil, false, usageError{errors.New("--config and --data do not go together; with --config write `data:` in the file")}
		}
		if o.listen != "" {
			return nil, false, usageError{errors.New("--listen goes with --data; with --config write `listen:` in the file")}
		}
		cfg, err = config.Load(o.configure)
		return cfg, false, err
	}
	data, listen := o.data, o.listen
	if data == "" {
		data = defaultData()
	}
	if listen == "" {
		listen = "127.0.0.1:8430"
	}
	cfg, err = config.Defaults(data, listen)
	return cfg, true, err
}

// defaultData is where a server without a config keeps its data.
func defaultData() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "keytether-server")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state", "keytether-server")
	}
	return "keytether-data"
}

// logger logs to w, at the level of the flag, and redacts what must not be seen.
func (o *options) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return nil, usageError{fmt.Errorf("--log-level: %w", err)}
	}
	ho := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(w, ho)
	if o.logJSON {
		h = slog.NewJSONHandler(w, ho)
	}
	return slog.New(redact.Handler(h)), nil
}
