package command

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
)

func (a *app) agentForwardCmd() *cobra.Command {
	var profiles []string
	var end bool
	c := &cobra.Command{
		Use:   "forward HOST [--profile NAME]… | HOST --end",
		Short: "Make a socket for one remote host, to be forwarded there by ssh",
		Long: `Makes a socket of its own for one remote host. Forwarded there by ssh, it gives programs on that
host short tokens and proofs of the named profiles, and nothing else: no login, no other profile,
no refresh token, no key. keytether status lists it; --end ends it and every connection over it.

HOST is a name of yours for the host.`,
		Example: `  keytether agent forward build7 --profile work
  ssh -R /run/user/1000/keytether/agent.sock:SOCKET build7     # SOCKET as the command prints it
  keytether agent forward build7 --end`,
		Args: exactly(1, "HOST"),
		RunE: func(c *cobra.Command, args []string) error {
			agent, err := a.agent(c.Context())
			if err != nil {
				return err
			}
			if end {
				if err := agent.EndForward(c.Context(), agentwire.ForwardEndRequest{Host: args[0]}); err != nil {
					return err
				}
				return a.println("Ended: " + clean(args[0]))
			}
			f, err := agent.Forward(c.Context(), agentwire.ForwardRequest{Host: args[0], Profiles: profiles})
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(f)
			}
			return a.writeFields(a.Stdout, append(a.forwardFields(f),
				field{"In ssh", "RemoteForward /run/user/UID/keytether/agent.sock " + f.Socket}))
		},
	}
	c.Flags().StringArrayVar(&profiles, "profile", nil, "profile that the host may use; may stand several times")
	c.Flags().BoolVar(&end, "end", false, "end what is forwarded to the host")
	a.jsonFlag(c, "as JSON: host, socket, profiles, resources, since")
	return c
}

func (a *app) forwardFields(f agentwire.Forward) []field {
	calls := ""
	if f.Calls > 0 {
		calls = strconv.FormatInt(f.Calls, 10) + ", the last at " + f.LastCall.Local().Format("2006-01-02 15:04")
	}
	return []field{
		{"Forwarded", clean(f.Host)},
		{"Profiles", clean(strings.Join(f.Profiles, ", "))},
		{"Resources", clean(strings.Join(f.Resources, ", "))},
		{"Since", f.Since.Local().Format("2006-01-02 15:04")},
		{"Calls", calls},
		{"Socket", f.Socket},
	}
}
