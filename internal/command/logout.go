package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
)

func (a *app) logoutCmd() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "logout",
		Short: "End a login: revoke it at the server, then wipe it here",
		Long: `Revokes a login at its server and wipes it from the agent. It is wiped even when the server
cannot be reached; the exit code is 6 then, and the grant lives on at the server until it expires
or somebody revokes it there. A server without a revocation endpoint cannot revoke: then it is
forgotten here alone, and that is said.`,
		Args: exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			name, err := a.profileName()
			if err != nil {
				return err
			}
			r := agentwire.LogoutRequest{Profile: name}
			if all {
				if a.profile != "" {
					return usage("--profile and --all exclude each other", "Use one of them")
				}
				r = agentwire.LogoutRequest{All: true}
			}
			agent, err := a.agent(c.Context())
			if err != nil {
				return err
			}
			res, err := agent.Logout(c.Context(), r)
			if err != nil {
				return err
			}
			return a.loggedOut(res)
		},
	}
	a.profileFlag(c)
	c.Flags().BoolVar(&all, "all", false, "every login of this computer's agent")
	a.jsonFlag(c, "as JSON: profiles, revoked, wiped, warning")
	return c
}

func (a *app) loggedOut(res agentwire.LogoutResponse) error {
	var err error
	names := strings.Join(res.Profiles, ", ")
	switch {
	case a.json:
		err = a.printJSON(res)
	case len(res.Profiles) == 0 && res.Wiped:
		err = a.println("Nobody was logged in.")
	case res.Wiped:
		err = said(fmt.Fprintf(a.Stdout, "Logged out: %s\n", clean(names)))
	}
	switch {
	case err != nil:
		return err
	case !res.Wiped:
		return agentwire.NewError(agentwire.StoreUnusable, "not everything of the login could be wiped", res.Warning, "Run `keytether agent stop`, then look at `keytether status`", nil)
	case !res.Revoked && !res.NoRevocation:
		return agentwire.NewError(agentwire.Unreachable, "the login was wiped here, but not revoked at its server", res.Warning, "Revoke it at the server's page /me, or leave it to expire", nil)
	case res.Warning != "":
		_, _ = fmt.Fprintln(a.Stderr, "keytether: "+clean(res.Warning))
	}
	return nil
}
