package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentstart"
	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/doctor"
)

// StoreReport is what came of opening a credential store, for ProbeStores.
type StoreReport = doctor.Store

func (a *app) doctorCmd() *cobra.Command {
	var issuer string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Find what would go wrong here, and say what mends it",
		Long: `Looks at what a login needs: config and state folders, the agent and its socket, credential stores,
TPM, browser, loopback, proxy and certificates, and the way to the issuer step by step, with the
clock. Each check is ok, a warning, a problem, or does not apply (-). It takes ten seconds at most,
asks nobody but this machine and the issuer, and prints no secret.

The issuer is --issuer, else KEYTETHER_ISSUER, else the profile's. Exits with 1 if there is a problem.`,
		Example: `  keytether doctor
  keytether doctor --issuer https://auth.example.test --json`,
		Args: exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return a.doctor(c.Context(), issuer) },
	}
	c.Flags().StringVar(&issuer, "issuer", "", "the server to try to reach (KEYTETHER_ISSUER)")
	a.profileFlag(c)
	a.jsonFlag(c, "as JSON: checks (name, state, found, why, do)")
	return c
}

func (a *app) doctor(ctx context.Context, issuer string) error {
	name, err := a.profileName()
	if err != nil {
		return err
	}
	found := doctor.Run(ctx, a.doctorOptions(name, issuer))
	if a.json {
		err = a.printJSON(struct {
			Checks []doctor.Finding `json:"checks"`
		}{found})
	} else {
		err = a.showFindings(found)
	}
	if err == nil && doctor.Bad(found) {
		return exitError(exitFailed)
	}
	return err
}

func (a *app) doctorOptions(profile, issuer string) doctor.Options {
	o := doctor.Options{
		GOOS: runtime.GOOS, Getenv: a.getenv, Env: agentwire.CallerEnv(a.Environ), Now: a.Now,
		Version: a.Version, State: agentstart.StateDir(a.getenv), UID: os.Geteuid(), NoBrowser: a.noBrowserHere(),
	}
	o.Config, _ = a.configPath()
	c, err := a.readConfig()
	if e, ok := errors.AsType[*agentwire.Error](err); ok {
		o.ConfigErr = errors.New(e.Why)
	} else {
		o.ConfigErr = err
	}
	w, err := a.resolve(wanted{Profile: profile, Issuer: issuer}, c)
	if o.Issuer = w.Issuer; err != nil && w.Issuer == "" {
		o.IssuerWhy = "none is known: name one with --issuer URL"
	}
	o.Socket, o.SocketErr = agentstart.Socket(a.getenv)
	o.Agent = a.askAgent(o.Socket)
	for _, b := range splitBrowsers(a.getenv("BROWSER")) {
		if argv := splitWords(b); len(argv) > 0 {
			o.Browsers = append(o.Browsers, argv[0])
		}
	}
	if a.ProbeStores != nil {
		o.Stores = func(ctx context.Context) []doctor.Store { return a.ProbeStores(ctx, a.getenv, c.Store) }
	}
	return o
}

// askAgent asks the agent that runs, and starts none.
func (a *app) askAgent(socket string) func(context.Context) (doctor.Agent, error) {
	return func(ctx context.Context) (doctor.Agent, error) {
		c, notice, err := agentstart.Find(ctx, agentstart.Options{Socket: socket, Version: a.Version, Env: a.Environ})
		if err != nil {
			return doctor.Agent{}, err
		}
		defer c.Close()
		s, err := c.Status(ctx)
		return doctor.Agent{Version: s.Agent.Version.Version, PID: s.Agent.PID, Notice: string(notice), Locked: s.Agent.Locked}, err
	}
}

// showFindings writes one line for what is well, and three for what is not.
func (a *app) showFindings(all []doctor.Finding) error {
	words := map[doctor.State]string{doctor.OK: "ok", doctor.Warning: "warning", doctor.Problem: "problem", doctor.None: "-"}
	colours := map[doctor.State]string{doctor.OK: green, doctor.Warning: bold, doctor.Problem: red, doctor.None: dim}
	count := map[doctor.State]int{}
	width := 0
	for _, f := range all {
		width = max(width, len(f.Name))
	}
	colour := a.colour(a.Stdout)
	var b strings.Builder
	for _, f := range all {
		count[f.State]++
		fmt.Fprintf(&b, "%s  %-*s  %s\n", paint(fmt.Sprintf("%-7s", words[f.State]), colours[f.State], colour), width, f.Name, clean(f.Found))
		if f.State != doctor.Warning && f.State != doctor.Problem {
			continue
		}
		for _, part := range []field{{"why:", f.Why}, {"do: ", f.Do}} {
			if part.value != "" {
				fmt.Fprintf(&b, "%*s%s %s\n", width+11, "", part.label, clean(part.value))
			}
		}
	}
	switch {
	case count[doctor.Problem]+count[doctor.Warning] == 0:
		b.WriteString("\nNothing wrong was found.\n")
	default:
		fmt.Fprintf(&b, "\n%s, %s.\n", plural(count[doctor.Problem], "problem"), plural(count[doctor.Warning], "warning"))
	}
	return said(io.WriteString(a.Stdout, b.String()))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
