package command

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/harden"
)

type tokenFlags struct {
	resource, scope, nonce string
	proof, show            bool
}

func (a *app) tokenCmd() *cobra.Command {
	var f tokenFlags
	c := &cobra.Command{
		Use:   "token [--proof METHOD URL [--nonce N]]",
		Short: "Print a short-lived access token, or the headers of one request",
		Long: `Prints an access token for a program that can only take a token. It ends in minutes; ask again
instead of keeping it. A token of type DPoP is of no use without a proof for each request:
--proof prints both header lines for one request. Sent as Bearer, such a token is taken for a
copy, and ended.

An API that answers 401 with the header DPoP-Nonce wants that nonce in the proof: ask again with
--nonce and the header's value. Package login does so by itself.

A token is not printed on a terminal, where it stays in the scrollback, unless --show asks for it.`,
		Example: `  keytether token --proof GET https://api.example.test/reports | curl -H @- https://api.example.test/reports`,
		Args: func(c *cobra.Command, args []string) error {
			if f.proof {
				return exactly(2, "METHOD and URL after --proof")(c, args)
			}
			if f.nonce != "" {
				return usage("--nonce is for a proof", "Use it with --proof METHOD URL")
			}
			return exactly(0, "")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error { return a.token(c.Context(), f, args) },
	}
	a.profileFlag(c)
	c.Flags().StringVar(&f.resource, "resource", "", "the API the token is for, if not the login's own")
	c.Flags().StringVar(&f.scope, "scope", "", "less than the login's scope, names separated by spaces")
	c.Flags().BoolVar(&f.proof, "proof", false, "print Authorization and DPoP header lines for one request")
	c.Flags().StringVar(&f.nonce, "nonce", "", "the API's last DPoP-Nonce, for the proof")
	c.Flags().BoolVar(&f.show, "show", false, "print it even on a terminal")
	a.jsonFlag(c, "as JSON: access_token, token_type, expires_at, scope, resource; with --proof: authorization, dpop")
	return c
}

func (a *app) token(ctx context.Context, f tokenFlags, args []string) error {
	if isTerminal(a.Stdout) && !f.show {
		return agentwire.NewError(agentwire.Usage, "the token was not printed", "standard output is a terminal, and what it shows is kept in its scrollback and in recordings",
			"Pipe it to the program that needs it, or use --show", nil)
	}
	name, err := a.profileName()
	if err != nil {
		return err
	}
	agent, err := a.quickAgent()
	if err != nil {
		return err
	}
	if f.proof {
		return a.proof(ctx, agent, agentwire.AuthorizeRequest{
			Profile: name, Resource: f.resource, Scope: f.scope, Method: strings.ToUpper(args[0]), URL: args[1], Nonce: f.nonce,
		})
	}
	t, err := agent.Token(ctx, agentwire.TokenRequest{Profile: name, Resource: f.resource, Scope: f.scope})
	if err != nil {
		return connectError(err)
	}
	holdsToken()
	if a.json {
		return a.printJSON(t)
	}
	return a.println(t.AccessToken.Reveal())
}

func (a *app) proof(ctx context.Context, agent *agentwire.Client, r agentwire.AuthorizeRequest) error {
	if err := r.Validate(); err != nil {
		return err
	}
	res, err := agent.Authorize(ctx, r)
	if err != nil {
		return connectError(err)
	}
	holdsToken()
	if a.json {
		return a.printJSON(struct {
			Authorization agentwire.Secret `json:"authorization"`
			DPoP          agentwire.Secret `json:"dpop,omitzero"`
		}{res.Authorization, res.DPoP})
	}
	lines := "Authorization: " + res.Authorization.Reveal()
	if !res.DPoP.IsZero() {
		lines += "\nDPoP: " + res.DPoP.Reveal()
	}
	return a.println(lines)
}

// holdsToken closes this process once a token is in it: no core dump, and no other process of the
// user reads its memory. Before, the agent may look who asks. Where the system cannot, it goes on.
func holdsToken() { _ = harden.Memory() }
