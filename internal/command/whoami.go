package command

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
)

func (a *app) whoamiCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "whoami",
		Short: "Show who is logged in",
		Long: `Shows whose login a profile is: account, issuer, client, scope, resource and when it ends.
Exits with 3 if nobody is logged in.`,
		Example: "  keytether whoami --json",
		Args:    exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			name, err := a.profileName()
			if err != nil {
				return err
			}
			agent, err := a.agent(c.Context())
			if err != nil {
				return err
			}
			w, err := agent.Whoami(c.Context(), name)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(w)
			}
			return a.writeFields(a.Stdout, a.loginFields(w))
		},
	}
	a.profileFlag(c)
	a.jsonFlag(c, "as JSON: issuer, subject, client_id, grant_id, scope, resource, flow, expires_at")
	return c
}

// loginFields is a login as a person reads it.
func (a *app) loginFields(w agentwire.Whoami) []field {
	account := w.Subject
	if w.Username != "" {
		account = w.Username + " (" + w.Subject + ")"
	}
	profile := w.Profile
	if profile == agentwire.DefaultProfile {
		profile = ""
	}
	return []field{
		{"Account", account},
		{"Issuer", w.Issuer},
		{"Tenant", tenantOf(w.Issuer)},
		{"Client", w.ClientID},
		{"Scope", strings.Join(strings.Fields(w.Scope), ", ")},
		{"Resource", w.Resource},
		{"Ends", a.moment(w.ExpiresAt)},
		{"Profile", profile},
	}
}

// tenantOf names a tenant that has a path of its own at the issuer's host.
func tenantOf(issuer string) string {
	_, name, ok := strings.Cut(issuer, "/t/")
	if !ok || strings.Contains(name, "/") {
		return ""
	}
	return name
}
