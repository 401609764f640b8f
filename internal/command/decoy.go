package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/scan"
	"github.com/keytether/keytether/internal/secret"
)

// decoyDoc is a decoy as the server shows it (docs/api.md), and where it was written, as the agent
// remembers.
type decoyDoc struct {
	ID           string     `json:"id"`
	Installation string     `json:"installation"`
	Host         string     `json:"host,omitempty"`
	Here         bool       `json:"here"`
	Kind         string     `json:"kind"`
	Ending       string     `json:"ends_with"`
	PlantedAt    time.Time  `json:"planted_at"`
	FiredAt      *time.Time `json:"fired_at,omitempty"`
	FiredFrom    string     `json:"fired_from,omitempty"`
	UnlockedAt   *time.Time `json:"unlocked_at,omitempty"`
	Locked       bool       `json:"locked"`
	Path         string     `json:"path,omitempty"`
}

const notPlanted = "no decoy was planted"

func (a *app) decoyCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "decoy",
		Short: "Plant strings that nobody honest uses, and hear of it when somebody does",
		Long: `A decoy looks exactly like a token of yours, and opens nothing. Whoever finds it in a file and tries
it gives themselves away: the server locks what this computer is logged in to, and tells you, at its
page /me and at your other computers. Nothing is lost: you unlock it, and everything goes on.

It needs a login, with your browser on this computer, for the server's own API with the scope account.`,
		Example: `  keytether decoy plant ~/backup/.env
  keytether decoy list
  keytether decoy unlock laptop      # on another computer of yours`,
	}
	group(c)
	c.AddCommand(a.decoyPlantCmd(), a.decoyListCmd(), a.decoyUnlockCmd())
	return c
}

func (a *app) decoyPlantCmd() *cobra.Command {
	var kind string
	var how planting
	c := &cobra.Command{
		Use:   "plant [PATH]",
		Short: "Write a decoy to a file",
		Long: `Writes a decoy to a file that only you can read, in the form that the file's name asks for; without
PATH, to standard output. Nothing in the file says that it is one, and no list of them is kept on
disk: keytether decoy list knows the file as long as the agent runs, and the decoy's last letters always.

Put it where you would not look for it yourself, but somebody who looks through your files would.`,
		Example: `  keytether decoy plant ~/old-project/.env
  keytether decoy plant --append ~/.netrc`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("plant wants one file", "See `keytether decoy plant --help`")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			path := ""
			if len(args) == 1 {
				path = args[0]
			}
			return a.plant(c.Context(), path, kind, how)
		},
	}
	c.Flags().StringVar(&kind, "kind", "", "form: token, env, netrc, npmrc or json (by the file's name)")
	c.Flags().BoolVar(&how.append, "append", false, "add it to a file that is there")
	c.Flags().BoolVar(&how.force, "force", false, "replace a file that is there")
	a.profileFlag(c)
	a.jsonFlag(c, "as JSON: what the server says of the decoy, and the file")
	return c
}

// decoyAPI is the API of the server where decoys are planted.
func (a *app) decoyAPI(ctx context.Context, none string) (*ownAPI, *agentwire.Client, error) {
	agent, err := a.agent(ctx)
	if err != nil {
		return nil, nil, err
	}
	who, err := a.approver(ctx, agent)
	if err != nil {
		return nil, nil, err
	}
	api, err := a.ownAPI(who)
	if err != nil {
		return nil, nil, err
	}
	api.what, api.none = none, none
	return api, agent, nil
}

func (a *app) plant(ctx context.Context, path, kind string, how planting) error {
	if kind == "" {
		kind = kindOf(path)
	}
	if err := how.check(path, kind); err != nil {
		return err
	}
	api, agent, err := a.decoyAPI(ctx, notPlanted)
	if err != nil {
		return err
	}
	file, err := how.open(path)
	if err != nil {
		return err
	}
	defer file.discard()
	var d struct {
		decoyDoc
		Decoy string `json:"decoy"`
	}
	if err := api.post(ctx, "/decoys/plant", map[string]string{"kind": kind}, &d); err != nil {
		return err
	}
	text := form(kind, api.who, d.Decoy)
	if path == "" {
		if a.json {
			return a.printJSON(d)
		}
		_, err := a.Stdout.Write([]byte(text))
		return said(0, err)
	}
	if err := file.write(text); err != nil {
		return err
	}
	if d.Path, err = filepath.Abs(path); err != nil {
		d.Path = path
	}
	if err := agent.NoteDecoy(ctx, agentwire.Decoy{Issuer: api.who.Issuer, ID: d.ID, Path: d.Path, Fingerprint: scan.Fingerprint(secret.New(d.Decoy))}); err != nil {
		_, _ = fmt.Fprintln(a.Stderr, "keytether: where it is will not be listed: "+clean(connectError(err).Error()))
	}
	if a.json {
		return a.printJSON(d.decoyDoc)
	}
	return a.println("Planted in " + clean(path) + " (it ends with " + clean(d.Ending) + ").\nWhoever uses it locks this computer's logins at " +
		clean(api.who.Issuer) + " until you unlock them there, at /me.")
}

// kindOf is the form that a file's name asks for.
func kindOf(path string) string {
	switch name := filepath.Base(path); {
	case name == ".netrc", name == "_netrc":
		return "netrc"
	case name == ".npmrc":
		return "npmrc"
	case strings.HasPrefix(name, ".env"), strings.HasSuffix(name, ".env"):
		return "env"
	case strings.HasSuffix(name, ".json"):
		return "json"
	}
	return "token"
}

// form writes a decoy as it would lie about. The host of a netrc or npmrc line is one that there
// is not, so that no honest program sends the line.
func form(kind string, who agentwire.Whoami, decoy string) string {
	host := "internal.invalid"
	if u, err := url.Parse(who.Issuer); err == nil && u.Hostname() != "" && !strings.ContainsAny(u.Hostname(), ":") {
		host = "internal." + u.Hostname()
	}
	switch kind {
	case "env":
		return "KEYTETHER_ISSUER=" + who.Issuer + "\nKEYTETHER_REFRESH_TOKEN=" + decoy + "\n"
	case "netrc":
		return "machine " + host + "\n  login oauth2\n  password " + decoy + "\n"
	case "npmrc":
		return "//" + host + "/:_authToken=" + decoy + "\n"
	case "json":
		doc, _ := json.MarshalIndent(map[string]string{"issuer": who.Issuer, "client_id": who.ClientID, "refresh_token": decoy}, "", "  ")
		return string(doc) + "\n"
	}
	return decoy + "\n"
}

func (a *app) decoyListCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "Show what was planted, where and when, and whether it was used",
		Args:  exactly(0, ""),
		RunE:  func(c *cobra.Command, _ []string) error { return a.decoyList(c.Context()) },
	}
	a.profileFlag(c)
	a.jsonFlag(c, "as JSON: decoys, each as the server shows it, with path where the agent remembers it")
	return c
}

// decoys asks the server for the person's, and the agent for files.
func (a *app) decoys(ctx context.Context, none string) (*ownAPI, []decoyDoc, error) {
	api, agent, err := a.decoyAPI(ctx, none)
	if err != nil {
		return nil, nil, err
	}
	var list struct {
		Decoys []decoyDoc `json:"decoys"`
	}
	if err := api.get(ctx, "/decoys", &list); err != nil {
		return nil, nil, err
	}
	known, err := agent.Decoys(ctx)
	if err != nil {
		return nil, nil, connectError(err)
	}
	for i, d := range list.Decoys {
		at := slices.IndexFunc(known.Decoys, func(k agentwire.Decoy) bool { return k.ID == d.ID && k.Issuer == api.who.Issuer })
		if at >= 0 {
			list.Decoys[i].Path = known.Decoys[at].Path
		}
	}
	return api, list.Decoys, nil
}

func (a *app) decoyList(ctx context.Context) error {
	_, list, err := a.decoys(ctx, "the decoys are not known")
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			Decoys []decoyDoc `json:"decoys"`
		}{append([]decoyDoc{}, list...)})
	}
	if len(list) == 0 {
		return a.println("No decoys are planted.")
	}
	for i, d := range list {
		if i > 0 {
			if err := a.println(""); err != nil {
				return err
			}
		}
		if err := a.writeFields(a.Stdout, d.fields()); err != nil {
			return err
		}
	}
	return nil
}

func (d decoyDoc) fields() []field {
	where := d.Host
	if d.Here {
		where = strings.TrimSpace(d.Host + " (this computer)")
	}
	used := "no"
	if d.FiredAt != nil {
		used = d.FiredAt.Local().Format("2006-01-02 15:04")
		if d.FiredFrom != "" {
			used += ", from " + d.FiredFrom
		}
	}
	state := ""
	switch {
	case d.Locked:
		state = "locked"
	case d.UnlockedAt != nil:
		state = "unlocked, " + d.UnlockedAt.Local().Format("2006-01-02 15:04")
	}
	return []field{
		{"Decoy", d.Kind + ", ends with " + d.Ending},
		{"File", d.Path},
		{"Computer", where},
		{"Planted", d.PlantedAt.Local().Format("2006-01-02 15:04")},
		{"Used", used},
		{"State", state},
	}
}
