package command

import (
	"context"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
)

func (a *app) agentConfirmCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "confirm",
		Short: "Decide about programs that ask for a login for the first time",
		Long: `Shows each program that waits for your word, and asks. The answer holds until the agent ends. With
confirm: true at a profile in config.yaml, or keytether agent run --confirm, the first use of a
login by a program waits for you, at most a minute; what came meanwhile can still be answered here,
and holds for the program's next try.

The script that an interpreter runs is what the program says itself. Nobody has checked it.`,
		Args: exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return a.confirm(c.Context()) },
	}
	a.jsonFlag(c, "as JSON, and without asking: confirmations")
	return c
}

func (a *app) confirm(ctx context.Context) error {
	if !a.json && (!isTerminal(a.Stdin) || !isTerminal(a.Stderr)) {
		return agentwire.NewError(agentwire.Usage, notDecided, "there is no terminal to show the program on and to ask at", "Run it in a terminal, or with --json to see what waits", nil)
	}
	agent, err := a.agent(ctx)
	if err != nil {
		return err
	}
	r, err := agent.Confirmations(ctx)
	if err != nil {
		return connectError(err)
	}
	if a.json {
		return a.printJSON(r)
	}
	if len(r.Confirmations) == 0 {
		return a.println("No program waits for your word.")
	}
	for _, q := range r.Confirmations {
		if err := said(io.WriteString(a.Stderr, "A program asks for a login of yours for the first time:\n\n")); err != nil {
			return err
		}
		if err := a.writeFields(a.Stderr, a.questionFields(q)); err != nil {
			return err
		}
		yes, err := a.ask("\nAllow it until the agent ends? [y/N] ")
		if err != nil {
			return err
		}
		decision, done := agentwire.DecisionDeny, "Denied."
		if yes {
			decision, done = agentwire.DecisionAllow, "Allowed."
		}
		if err := agent.Confirm(ctx, agentwire.ConfirmationRequest{ID: q.ID, Decision: decision}); err != nil {
			return connectError(err)
		}
		if !q.Waiting {
			done += " Start it again: it waits no more."
		}
		if err := a.println(done); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) questionFields(q agentwire.Confirmation) []field {
	executable := q.Executable
	if executable == "" {
		executable = "cannot be told"
	}
	process := ""
	if q.PID > 0 {
		process = strconv.Itoa(q.PID)
	}
	return []field{
		{"Program", executable},
		{"Script", q.Script},
		{"Through", q.Through},
		{"Process", process},
		{"Host", q.Host},
		{"Profile", q.Profile},
		{"For", q.Resource},
		{"Scope", q.Scope},
		{"Asked", span(max(0, a.Now().Sub(q.AskedAt))) + " ago"},
	}
}

// maxShownCallers is how many of a profile's programs status shows; --json has all.
const maxShownCallers = 5

// callerFields say which programs asked, the last first.
func callerFields(callers []agentwire.Caller) []field {
	var out []field
	for i, c := range callers {
		label := ""
		if i == 0 {
			label = "Asked"
		}
		if i == maxShownCallers {
			return append(out, field{label, strconv.Itoa(len(callers)-i) + " more, which --json shows"})
		}
		out = append(out, field{label, callerWords(c)})
	}
	return out
}

func callerWords(c agentwire.Caller) string {
	s := c.Executable
	if s == "" {
		s = "a program that cannot be told"
	}
	if c.Replaced {
		s += " (replaced since it started)"
	}
	if c.Script != "" {
		s += " running " + c.Script
	}
	if c.Through != "" {
		s += " through keytether"
	}
	if c.Host != "" {
		s += " on " + c.Host
	}
	s += ", " + strconv.FormatInt(c.Calls, 10) + "×"
	if c.Refused > 0 {
		s += ", " + strconv.FormatInt(c.Refused, 10) + " refused"
	}
	return s + ", the last " + c.LastAt.Local().Format("2006-01-02 15:04")
}
