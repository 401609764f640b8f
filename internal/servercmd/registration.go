package servercmd

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/keytether/keytether/internal/authserver"
	"github.com/keytether/keytether/internal/config"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/policy"
	"github.com/keytether/keytether/internal/secret"
	"github.com/spf13/cobra"
)

func registrationTokenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "registration-token NAME",
		Short: "Make an initial access token for client registration",
		Long: "Make an initial access token (RFC 7591), by which programs register themselves as clients. It is\n" +
			"printed once, with the line for the config's registration.tokens_file, which holds its hash alone.\n" +
			"NAME stands in the audit log. Clients are registered for as long as a line with the name they came by\n" +
			"stands in that file: to replace a token, replace the hash; to end its clients, remove the line.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if !config.CheckTokenName(args[0]) {
				return usageError{errors.New("NAME is up to 64 letters, digits, dots, dashes and underscores")}
			}
			var random [32]byte
			if _, err := rand.Read(random[:]); err != nil {
				return err
			}
			token := secret.Mint(secret.Initial, random)
			_, err := fmt.Fprintf(c.OutOrStdout(), "The initial access token, shown this once:\n\n  %s\n\nThe line for the tokens_file:\n\n  %s %s\n",
				token.Reveal(), args[0], token.Hash().Base64())
			return err
		},
	}
}

// registration turns the config's words into the server's.
func registration(cfg *config.Config) *authserver.Registration {
	r := cfg.Registration
	if r == nil {
		return nil
	}
	out := &authserver.Registration{Disabled: r.Disabled, Like: authserver.Client{
		Resources: r.Resources, DefaultResource: r.Resources[0], Lifetimes: grant.DefaultLifetimes(), Device: deviceRules(r.Device),
	}}
	for _, t := range r.Tokens {
		out.Tokens = append(out.Tokens, authserver.InitialToken{Name: t.Name, Hash: t.Hash})
	}
	return out
}

func deviceRules(d config.Device) policy.DeviceRules {
	return policy.DeviceRules{
		SameNetwork: policy.Action(d.SameNetwork), OtherNetwork: policy.Action(d.OtherNetwork), NarrowTo: d.NarrowTo, Grant: d.Grant,
	}
}

// grantTypes gives the wire's names: the device grant's is a URN (RFC 8628 §3.4).
func grantTypes(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		if out[i] = n; n == config.GrantDevice {
			out[i] = oauth.GrantDeviceCode
		}
	}
	return out
}
