package command

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
)

const notUnlocked = "nothing was unlocked"

func (a *app) decoyUnlockCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "unlock [COMPUTER]",
		Short: "Unlock another computer of yours, after a decoy there was used",
		Long: `Shows which of your computers is locked, since when and from where the decoy was used, asks, and
unlocks it. A computer cannot unlock itself: whoever read its files may be on it. There, or where you
have no other, sign in at the server's page /me and press Unlock.

It asks on a terminal and never unlocks without.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("unlock wants one computer", "See `keytether decoy unlock --help`")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if !isTerminal(a.Stdin) || !isTerminal(a.Stderr) {
				return agentwire.NewError(agentwire.Usage, notUnlocked, "there is no terminal to ask at", "Run it in a terminal, or open the server's page /me", nil)
			}
			return a.decoyUnlock(c.Context(), strings.Join(args, ""))
		},
	}
	a.profileFlag(c)
	a.jsonFlag(c, "as JSON: installation, host, unlocked")
	return c
}

func (a *app) decoyUnlock(ctx context.Context, name string) error {
	api, list, err := a.decoys(ctx, notUnlocked)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(d decoyDoc) bool {
		return !d.Locked || name != "" && name != d.Host && name != d.Installation
	})
	slices.Reverse(list) // the first that fired is told of
	seen := map[string]bool{}
	list = slices.DeleteFunc(list, func(d decoyDoc) bool {
		again := seen[d.Installation]
		seen[d.Installation] = true
		return again
	})
	switch {
	case len(list) == 0 && name == "":
		return a.println("No computer of yours is locked.")
	case len(list) == 0:
		return agentwire.NewError(agentwire.Failed, notUnlocked, "no computer "+quote(name)+" of yours is locked", "See `keytether decoy list`", nil)
	case len(list) > 1:
		return usage("several computers are locked", "Name one by its installation: "+ids(list))
	}
	d := list[0]
	where := d.Host
	if where == "" {
		where = d.Installation
	}
	used := d.fields()
	if err := a.writeFields(a.Stderr, append([]field{{"Locked", where}}, used...)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(a.Stderr, "\nSomebody read a file there that was meant for nobody. Find out who, and what else they read,\nbefore you unlock it."); err != nil {
		return said(0, err)
	}
	yes, err := a.ask("Unlock it? [y/N] ")
	if err != nil {
		return err
	}
	if !yes {
		return agentwire.NewError(agentwire.Denied, notUnlocked, "you did not say yes", "To end its logins for good, open "+api.who.Issuer+"/me", nil)
	}
	api.what = "it is not known whether it was unlocked"
	if err := api.post(ctx, "/installations/"+url.PathEscape(d.Installation)+"/unlock", struct{}{}, &struct{}{}); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			Installation string `json:"installation"`
			Host         string `json:"host,omitempty"`
			Unlocked     bool   `json:"unlocked"`
		}{d.Installation, d.Host, true})
	}
	return a.println("Unlocked: " + clean(where) + ". Its tools go on by themselves. Plant new decoys there.")
}

func ids(list []decoyDoc) string {
	var out []string
	for _, d := range list {
		out = append(out, d.Installation+" ("+d.Host+")")
	}
	return strings.Join(out, ", ")
}
