package servercmd

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/keytether/keytether/internal/signer"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/store/sqlite"
	"github.com/spf13/cobra"
)

func checkCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "check",
		Short: "Check config, data and keys, and change nothing",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, _, err := o.load()
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(c.ErrOrStderr(), "warning:", w)
			}
			out := c.OutOrStdout()
			fmt.Fprintf(out, "config   ok: issuer %s, %d accounts, %d resources, %d clients\n",
				cfg.Issuer, len(cfg.Accounts), len(cfg.Resources), len(cfg.Clients))
			if _, err := os.Stat(filepath.Join(cfg.Data, databaseFile)); errors.Is(err, os.ErrNotExist) {
				fmt.Fprintf(out, "data     none yet in %s; `serve` makes it\n", cfg.Data)
				return nil
			}
			return withData(c.Context(), o, func(d *opened) error {
				size, err := d.store.Size(c.Context(), store.DefaultTenant)
				if err != nil {
					return err
				}
				fmt.Fprintf(out, "data     ok: %d audit records\nkeys     ok: root key from %s\n", size, d.root.Source())
				return nil
			})
		},
	}
	o.flags(c)
	return c
}

// withData opens existing data for a command and closes it again.
func withData(ctx context.Context, o *options, f func(*opened) error) error {
	cfg, _, err := o.load()
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(cfg.Data, databaseFile)); err != nil {
		return fmt.Errorf("there is no data in %s: %w. Name its folder with --data, or the config with --config", cfg.Data, err)
	}
	o.logLevel = "error"
	log, err := o.logger(os.Stderr)
	if err != nil {
		return err
	}
	d, err := open(ctx, cfg, log)
	if err != nil {
		return err
	}
	return errors.Join(f(d), d.store.Close())
}

func backupCommand(o *options) *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "backup --out FILE",
		Short: "Copy the database, also while the server runs",
		Long: "Copy the database as it is at one moment. The root key is not in it: keep that elsewhere, for\n" +
			"without it the copy's keys cannot be opened, and with it they can.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if to == "" {
				return usageError{errors.New("--out FILE is missing")}
			}
			return withData(c.Context(), o, func(d *opened) error {
				if err := d.store.Backup(c.Context(), to); err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "copied to %s\nThe root key (%s) is not in it; keep it elsewhere.\n", to, d.root.Source())
				return nil
			})
		},
	}
	o.flags(c)
	c.Flags().StringVar(&to, "out", "", "`FILE` to make")
	return c
}

func restoreCommand(o *options) *cobra.Command {
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup into an empty data folder",
		Long: "Put a backup into a data folder that has no database. Whatever was issued after the backup is\n" +
			"unknown to it: those refresh tokens are refused, and their people log in again. Auditors who hold a\n" +
			"newer checkpoint will see that the log was set back.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, _, err := o.load()
			if err != nil {
				return err
			}
			to := filepath.Join(cfg.Data, databaseFile)
			if _, err := os.Stat(to); err == nil {
				return fmt.Errorf("%s exists: move it away first; restore overwrites nothing", to)
			}
			if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
				return err
			}
			if err := restore(c.Context(), args[0], to); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "restored into %s; it needs the root key of then beside it\n", to)
			return nil
		},
	}
	o.flags(c)
	return c
}

// restore copies a backup and opens the copy once. One that does not open is
// taken away again.
func restore(ctx context.Context, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	err = errors.Join(err, out.Sync(), out.Close())
	if err == nil {
		var st *sqlite.Store
		if st, err = sqlite.Open(ctx, sqlite.Options{Path: to}); err == nil {
			err = st.Close()
		}
	}
	if err != nil {
		return errors.Join(fmt.Errorf("the backup cannot be used: %w", err), os.Remove(to))
	}
	return nil
}

func keysCommand(o *options) *cobra.Command {
	c := &cobra.Command{Use: "keys", Short: "List and rotate the server's keys"}
	c.AddCommand(keysListCommand(o), keysRotateCommand(o))
	return c
}

func keysListCommand(o *options) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the keys and where they stand in their lives",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return withData(c.Context(), o, func(d *opened) error {
				return printKeys(c.OutOrStdout(), d.ring.Keys(time.Now()), asJSON)
			})
		},
	}
	o.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printKeys(out io.Writer, keys []signer.Info, asJSON bool) error {
	if asJSON {
		rows := make([]map[string]any, 0, len(keys))
		for _, k := range keys {
			row := map[string]any{"kid": k.ID, "use": k.Use, "state": k.State, "created_at": k.CreatedAt, "not_before": k.NotBefore}
			if !k.RetiredAt.IsZero() {
				row["retired_at"] = k.RetiredAt
			}
			rows = append(rows, row)
		}
		return json.NewEncoder(out).Encode(rows)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KID\tUSE\tSTATE\tSIGNS FROM")
	for _, k := range keys {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, k.Use, k.State, k.NotBefore.UTC().Format(time.RFC3339))
	}
	return w.Flush()
}

func keysRotateCommand(o *options) *cobra.Command {
	var compromised bool
	c := &cobra.Command{
		Use:   "rotate USE",
		Short: "Make a new key for a use; a running server takes it up by itself",
		Long: "Make a new key for a use (see `keys list`). It is published at once and signs an hour later, so that\n" +
			"nobody meets a key that he does not know. --compromised is for a key that somebody else may have: the new\n" +
			"one signs at once, the old one is destroyed, and what it signed is refused. Send a running server SIGHUP\n" +
			"then, so that it takes the key up at once.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if !slices.Contains(signer.Uses(), signer.Use(args[0])) {
				return usageError{fmt.Errorf("%q is no use of a key; there are %v", args[0], signer.Uses())}
			}
			return withData(c.Context(), o, func(d *opened) error {
				return rotate(c.Context(), d, signer.Use(args[0]), compromised, c.OutOrStdout())
			})
		},
	}
	o.flags(c)
	c.Flags().BoolVar(&compromised, "compromised", false, "destroy the old key at once")
	return c
}

func rotate(ctx context.Context, d *opened, use signer.Use, compromised bool, out io.Writer) error {
	sealed, err := d.store.Keys(ctx, store.DefaultTenant)
	if err != nil {
		return err
	}
	env := signer.Env{Root: d.root, Tenant: store.DefaultTenant, Now: time.Now().UTC().Truncate(time.Microsecond), Random: rand.Reader}
	decide := signer.Rotate
	if compromised {
		decide = signer.RotateCompromised
	}
	change, ring, err := decide(env, sealed, use)
	if err != nil {
		return err
	}
	if err := d.store.Commit(ctx, store.DefaultTenant, change); err != nil {
		return err
	}
	return printKeys(out, slices.DeleteFunc(ring.Keys(env.Now), func(k signer.Info) bool { return k.Use != use }), false)
}
