package command

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
)

func (a *app) statusCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "status",
		Short: "Show the agent and every login it holds",
		Long: `Shows the agent and all its logins. That no agent runs is an answer too: nobody is logged in
then, and the next login starts one.`,
		Args: exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			s, running, err := a.agentStatus(c.Context())
			if err != nil {
				return err
			}
			return a.showStatus(s, running, true)
		},
	}
	a.jsonFlag(c, "as JSON: agent (null if none runs) and profiles")
	return c
}

// agentStatus asks the agent; running is false when there is none to ask.
func (a *app) agentStatus(ctx context.Context) (s agentwire.StatusResponse, running bool, err error) {
	return a.statusOf(ctx, a.agent)
}

func (a *app) statusOf(ctx context.Context, find func(context.Context) (*agentwire.Client, error)) (s agentwire.StatusResponse, running bool, err error) {
	agent, err := find(ctx)
	if err == nil {
		s, err = agent.Status(ctx)
	}
	if errors.Is(err, agentwire.NotLoggedIn) {
		return s, false, nil
	}
	return s, err == nil, err
}

func (a *app) showStatus(s agentwire.StatusResponse, running, profiles bool) error {
	switch {
	case a.json && !running:
		return said(a.Stdout.Write([]byte(`{"agent":null,"profiles":[]}` + "\n")))
	case a.json:
		if s.Profiles == nil {
			s.Profiles = []agentwire.ProfileStatus{}
		}
		return a.printJSON(s)
	case !running:
		return a.println("No agent is running; nobody is logged in.")
	}
	locked := ""
	if s.Agent.Locked {
		locked = "yes: it gives nothing out until `keytether agent unlock`"
	}
	waiting := ""
	if n := len(s.Confirmations); n > 0 {
		waiting = strconv.Itoa(n) + " to decide: `keytether agent confirm`"
	}
	err := a.writeFields(a.Stdout, []field{
		{"Agent", "version " + s.Agent.Version.Version + ", process " + strconv.Itoa(s.Agent.PID)},
		{"Since", s.Agent.StartedAt.Local().Format("2006-01-02 15:04")},
		{"Locked", locked},
		{"Waiting", waiting},
		{"Logins", strconv.Itoa(len(s.Profiles))},
	})
	if !profiles {
		return err
	}
	for _, p := range s.Profiles {
		if err == nil {
			err = a.println("\n" + paint(clean(p.Profile), green, a.colour(a.Stdout)))
		}
		if err == nil {
			err = a.writeFields(a.Stdout, a.profileFields(p))
		}
	}
	for _, p := range s.Stores {
		if err == nil {
			err = a.writeFields(a.Stdout, []field{
				{"", ""},
				{"Store", clean(p.Store) + " holds logins and cannot be opened: " + clean(p.Why)},
				{"", clean(p.Do)},
			})
		}
	}
	for _, f := range s.Forwards {
		if err == nil {
			err = a.println("")
		}
		if err == nil {
			err = a.writeFields(a.Stdout, a.forwardFields(f))
		}
	}
	return err
}

func (a *app) profileFields(p agentwire.ProfileStatus) []field {
	token := "none in hand; the next use renews"
	if p.AccessTokenExpiresAt.After(a.Now()) {
		token = p.TokenType + ", for " + span(p.AccessTokenExpiresAt.Sub(a.Now())) + " more"
	}
	problem := ""
	if p.LastError != nil {
		problem = p.LastError.Error()
	}
	p.Profile = "" // it is the heading
	fields := append(a.loginFields(p.Whoami),
		field{"Token", token}, field{"Key", keptIn(p)})
	fields = append(fields, passedOver(p.KeyStoreWhy)...)
	fields = append(fields, field{"Problem", problem})
	fields = append(fields, callerFields(p.Callers)...)
	fields = append(fields, missingFields(p.Missing)...)
	return append(fields, noticeFields(p)...)
}

// missingFields say what a login lacks, and what follows of it.
func missingFields(missing []string) []field {
	var out []field
	for _, lack := range missing {
		words := lackWords(lack)
		if words == "" {
			continue
		}
		label := ""
		if out == nil {
			label = "Missing"
		}
		out = append(out, field{label, words})
	}
	return out
}

// lackWords says what is missing and what follows; empty for what a newer agent names.
func lackWords(lack string) string {
	switch lack {
	case agentwire.LackDPoP:
		return "DPoP: tokens are bearer tokens, and can be used by whoever copies them"
	case agentwire.LackPAR:
		return "PAR: what is asked for stands in the browser's address and history"
	case agentwire.LackISS:
		return "iss: an answer does not name its server, so another server's is not always told apart"
	case agentwire.LackFormPost:
		return "form_post: the code stands in the browser's address and history for a moment"
	case agentwire.LackHandshake:
		return "handshake: a login that somebody else started can be finished by you, if you are talked into it"
	case agentwire.LackRevocation:
		return "revocation endpoint: logout only forgets here; what was given stays good until it ends"
	case agentwire.LackDevice:
		return "device flow: no login where there is no browser"
	case agentwire.LackNonce:
		return "nonces: a proof can be made ahead by who has the key for a moment"
	case agentwire.LackRotation:
		return "rotation: a copied refresh token works beside yours, and nobody notices"
	case agentwire.LackRefresh:
		return "refresh token: you log in again when the access token ends"
	case agentwire.LackIdentity:
		return "ID token: the server does not say who signed in"
	}
	return ""
}

// passedOver says, a line for each, why stores that come before were not taken.
func passedOver(why string) []field {
	var fields []field
	for _, w := range strings.Split(why, "; ") {
		fields = append(fields, field{"", clean(w)})
	}
	return fields
}

// keptIn names a login's store, and how long it stays there.
func keptIn(p agentwire.ProfileStatus) string {
	switch p.KeyStoreLife {
	case "process":
		return p.KeyStore + ", until the agent ends"
	case "session":
		return p.KeyStore + ", until your session here ends"
	}
	return p.KeyStore
}

// noticeFields tell of logins with a code elsewhere, and how to end one.
func noticeFields(p agentwire.ProfileStatus) []field {
	var out []field
	for _, n := range p.Notices {
		if n.Kind != "" && n.Kind != agentwire.NoticeLocked {
			continue
		}
		what := n.Client + " logged in with a code, " + n.At.Local().Format("2006-01-02 15:04")
		if n.Kind == agentwire.NoticeLocked {
			what = "locked, because a decoy was used, " + n.At.Local().Format("2006-01-02 15:04")
		}
		if n.Host != "" {
			what += ", on " + n.Host
		}
		if n.Address != "" {
			what += " (" + n.Address + ")"
		}
		out = append(out, field{"Notice", what})
	}
	if out != nil {
		out = append(out, field{"", "Was it not you? " + p.Issuer + "/me"})
	}
	return out
}
