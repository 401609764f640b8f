package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/outbound"
	"github.com/keytether/keytether/internal/scan"
)

type scanFlags struct {
	issuers                              []string
	burn, sarif, staged, hook, noHistory bool
}

func (a *app) scanCmd() *cobra.Command {
	var f scanFlags
	c := &cobra.Command{
		Use:   "scan [PATH…]",
		Short: "Find credentials that lie about: histories, logs, temporary files, a git history",
		Long: `Looks for what a login must not leave: secrets minted by Keytether (by their checksum, so that
look-alikes are none), tokens of the issuers that you know, and codes in the callback URLs of
logins on this machine. It says where they are and shows none. Decoys that were planted since the
agent started are left out.

Without PATH it looks where they lie on a person's machine: histories of shells and interpreters,
dotfiles, logs, and temporary files of yours. A PATH is a file, a folder, a git repository (with
all that was ever committed to it), or - for standard input.

Known issuers are --issuer, KEYTETHER_ISSUER, those in the config, and those you are logged in at.
Exits with 1 if something was found.`,
		Example: `  keytether scan
  journalctl --since today | keytether scan -
  keytether scan --burn ~/src/project
  keytether scan --install-hook     # in a repository: no commit with a credential`,
		RunE: func(c *cobra.Command, args []string) error { return a.scan(c.Context(), f, args) },
	}
	c.Flags().StringArrayVar(&f.issuers, "issuer", nil, "an issuer whose tokens are looked for; may stand several times")
	c.Flags().BoolVar(&f.burn, "burn", false, "have what was found revoked by its issuer")
	c.Flags().BoolVar(&f.sarif, "sarif", false, "as SARIF 2.1.0, for CI")
	c.Flags().BoolVar(&f.staged, "staged", false, "what the next commit of the repository here would hold")
	c.Flags().BoolVar(&f.hook, "install-hook", false, "write a pre-commit hook for the repository here")
	c.Flags().BoolVar(&f.noHistory, "no-history", false, "leave out the history of git repositories")
	a.jsonFlag(c, "as JSON: findings (kind, source, line, column, fingerprint, …), files, bytes, unread")
	return c
}

func (a *app) scan(ctx context.Context, f scanFlags, paths []string) error {
	if err := f.check(paths, a.json); err != nil {
		return err
	}
	if f.hook {
		return a.installHook(ctx)
	}
	issuers, err := a.knownIssuers(ctx, f.issuers)
	if err != nil {
		return err
	}
	s := scan.New(scan.Rules{Issuers: issuers, Ignore: a.decoysHere(ctx)})
	done := a.scanProgress(s)
	err = a.scanAll(ctx, s, f, paths)
	done()
	if err != nil {
		return err
	}
	r := s.Report()
	if err := a.showScan(r, f); err != nil {
		return err
	}
	if f.burn && len(r.Findings) > 0 {
		if err := a.burn(ctx, issuers, r.Findings); err != nil {
			return err
		}
	}
	for _, u := range r.Unread {
		if slices.Contains(paths, u.Source) { // what a person named, and not something below it
			return agentwire.NewError(agentwire.Failed, "not all was scanned", clean(u.Source)+" was not read: "+clean(u.Why), "Mend that; what is no file goes to standard input, and is scanned with -", nil)
		}
	}
	if len(r.Findings) > 0 {
		return exitError(exitFailed)
	}
	return nil
}

// decoysHere are the fingerprints of the decoys that were planted on this machine, as far as the
// agent remembers: what is there to be found is no finding, and burning it would set it off.
func (a *app) decoysHere(ctx context.Context) map[string]struct{} {
	known := map[string]struct{}{}
	agent, err := a.agent(ctx)
	if err != nil {
		return known
	}
	list, err := agent.Decoys(ctx)
	if err != nil {
		return known
	}
	for _, d := range list.Decoys {
		if d.Fingerprint != "" {
			known[d.Fingerprint] = struct{}{}
		}
	}
	return known
}

// check refuses flags that mean nothing together.
func (f scanFlags) check(paths []string, json bool) error {
	switch {
	case f.sarif && json:
		return usage("--sarif and --json are two formats", "Choose one")
	case (f.staged || f.hook) && len(paths) > 0:
		return usage("--staged and --install-hook are about the repository here, and take no PATH", "Change into it")
	case f.staged && f.hook:
		return usage("--staged and --install-hook are two different things", "Choose one")
	}
	for _, p := range paths {
		if _, err := os.Stat(p); p != "-" && err != nil {
			return agentwire.NewError(agentwire.Usage, "there is nothing to scan at "+quote(p), cause(err).Error(), "Correct the path", err)
		}
	}
	return nil
}

func (a *app) scanAll(ctx context.Context, s *scan.Scanner, f scanFlags, paths []string) error {
	if f.staged {
		return scanned(ctx, s.Staged(ctx, "."))
	}
	if len(paths) == 0 {
		home, _ := os.UserHomeDir()
		paths = scan.Places(cmp.Or(a.getenv("HOME"), home), a.getenv)
	}
	var files []string
	for _, p := range paths {
		if p == "-" {
			if err := s.Stream(ctx, "-", a.Stdin, &scan.Buffer{}); err != nil {
				return scanned(ctx, err)
			}
			continue
		}
		files = append(files, p)
		if !f.noHistory && scan.IsRepository(p) {
			if err := s.History(ctx, p); err != nil {
				return scanned(ctx, err)
			}
		}
	}
	return scanned(ctx, s.Walk(ctx, files))
}

// scanned gives an error of a scan its words.
func scanned(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return agentwire.NewError(agentwire.Failed, "the scan was not finished", "it was called off", "", err)
	case errors.Is(err, scan.ErrGit):
		_, why, _ := strings.Cut(err.Error(), "refused: ")
		return agentwire.NewError(agentwire.Failed, "the repository was not scanned", "git says: "+why, "Mend that, or use --no-history", err)
	}
	return fail("the scan was not finished", cause(err), "")
}

// knownIssuers are those that a person named and those that this machine knows of.
func (a *app) knownIssuers(ctx context.Context, named []string) ([]string, error) {
	for _, i := range named {
		if err := checkURL("--issuer", i); err != nil {
			return nil, err
		}
	}
	issuers := append(slices.Clone(named), a.getenv("KEYTETHER_ISSUER"))
	c, err := a.readConfig()
	if err != nil {
		return nil, err
	}
	for _, p := range c.Profiles {
		issuers = append(issuers, p.Issuer)
	}
	if s, running, err := a.agentStatus(ctx); err == nil && running {
		for _, p := range s.Profiles {
			issuers = append(issuers, p.Issuer)
		}
	}
	slices.Sort(issuers)
	return slices.DeleteFunc(slices.Compact(issuers), func(s string) bool { return s == "" }), nil
}

func (a *app) showScan(r scan.Report, f scanFlags) error {
	if r.Findings == nil {
		r.Findings = []scan.Finding{}
	}
	switch {
	case f.sarif:
		return said(0, scan.WriteSARIF(a.Stdout, a.Version, r))
	case a.json:
		return a.printJSON(r)
	}
	now := a.Now()
	var b strings.Builder
	for _, x := range r.Findings {
		place := fmt.Sprintf("%s:%d:%d", clean(x.Source), x.Line, x.Column)
		if x.Commit != "" {
			place += " in commit " + clean(x.Commit[:min(12, len(x.Commit))])
		}
		about := x.Kind.About()
		if x.Expired(now) {
			about += " (its time is over)"
		}
		fmt.Fprintf(&b, "%s: %s [%s]\n", paint(place, bold, a.colour(a.Stdout)), about, x.Fingerprint[:8])
	}
	for i, u := range r.Unread {
		if i == 5 {
			fmt.Fprintf(a.Stderr, "keytether: and %d more could not be read (see --json)\n", len(r.Unread)-i)
			break
		}
		fmt.Fprintf(a.Stderr, "keytether: not read: %s: %s\n", clean(u.Source), clean(u.Why))
	}
	seen := fmt.Sprintf("in %d files, %s", r.Files, size(r.Bytes))
	if len(r.Findings) == 0 {
		return a.println("Nothing found " + seen + ".")
	}
	if !f.burn {
		defer fmt.Fprintln(a.Stderr, "keytether: revoke them with --burn, then remove them from where they are")
	}
	return said(io.WriteString(a.Stdout, b.String()+fmt.Sprintf("%d found %s.\n", len(r.Findings), seen)))
}

func size(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d bytes", n)
	case n < 10_000_000:
		return fmt.Sprintf("%d kB", n/1000)
	case n < 10_000_000_000:
		return fmt.Sprintf("%d MB", n/1_000_000)
	}
	return fmt.Sprintf("%d GB", n/1_000_000_000)
}

// scanProgress shows on a terminal how far a long scan is, until the function that it gives is
// called.
func (a *app) scanProgress(s *scan.Scanner) func() {
	if !a.smart(a.Stderr) {
		return func() {}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		t := time.NewTicker(200 * time.Millisecond)
		defer t.Stop()
		shown := false
		for {
			select {
			case <-t.C:
				files, n, found := s.Progress()
				_, _ = fmt.Fprintf(a.Stderr, "\r\x1b[K%d files, %s, %d found", files, size(n), found)
				shown = true
			case <-stop:
				if shown {
					_, _ = io.WriteString(a.Stderr, "\r\x1b[K")
				}
				return
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

// burn has what was found revoked.
func (a *app) burn(ctx context.Context, issuers []string, found []scan.Finding) error {
	env := agentwire.CallerEnv(a.Environ)
	client, err := outbound.New(outbound.Options{Env: env})
	if err != nil {
		return fail("nothing was burned", err, "")
	}
	defer client.Close()
	b := scan.Burner{HTTP: client, Issuers: issuers}
	failed := b.Burn(ctx, found)
	if len(failed) == 0 {
		_, err := fmt.Fprintln(a.Stderr, "keytether: all of it was given to its issuer to be revoked; remove it from where it is as well")
		return said(0, err)
	}
	var why []string
	for issuer, err := range failed {
		why = append(why, strings.TrimPrefix(issuer+": ", ": ")+strings.TrimPrefix(err.Error(), "scan: "))
	}
	slices.Sort(why)
	do := "Try again, or revoke the logins at the issuer's /me"
	if _, nobody := failed[""]; nobody {
		do = "Name the issuer with --issuer URL"
	}
	return agentwire.NewError(agentwire.Failed, "not all was burned", strings.Join(why, "; "), do, errors.Join(slices.Collect(maps.Values(failed))...))
}

func (a *app) installHook(ctx context.Context) error {
	path, err := scan.InstallHook(ctx, ".")
	if errors.Is(err, fs.ErrExist) {
		return agentwire.NewError(agentwire.Failed, "the hook was not written", clean(path)+" is there already, and not by us", "Add this line to it:  keytether scan --staged || exit 1", err)
	}
	if err != nil {
		return scanned(ctx, err)
	}
	return a.println("Wrote " + clean(path) + ". Commits with a credential are refused from now on.")
}
