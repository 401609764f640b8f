package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
)

type loginFlags struct {
	issuer, client, resource, flow, account string
	scopes                                  []string
	noBrowser                               bool
	callbackPort                            int
	tokenFile                               string
	passphrase                              bool
}

func (a *app) loginCmd() *cobra.Command {
	var f loginFlags
	c := &cobra.Command{
		Use:   "login",
		Short: "Log in with your browser",
		Long: `Opens your browser at the issuer, where you sign in and allow what is asked for. The browser must
run on this computer, since it comes back to a port of this computer alone.

Where no browser can be opened (over SSH, in a container, without a display), or with --flow device,
it shows an address and a code instead: open the address on any device, enter the code, and sign in.
If your browser was opened and does not come back within a minute, or when you press Enter on the
terminal, a code is offered beside it; whichever you finish first counts.

It logs in at any OAuth server. Where no client is named and the server is not a Keytether server
but takes registrations (RFC 7591), it registers once for the profile. keytether status says what a
server lacks, and what follows.

Where store in config.yaml is file and there is no TPM, the file is sealed with a passphrase. It is
asked for on the terminal when it is wanted, or taken by --store-passphrase-stdin.

What is not named by a flag or by KEYTETHER_ISSUER and KEYTETHER_CLIENT is what the profile's last
login was for. BROWSER names another browser than the desktop's: a list of commands, in which %s
stands for the link.`,
		Example: `  keytether login --issuer https://auth.example.test
  keytether login --profile work --resource https://api.example.test --scope read --scope write`,
		Args: exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return a.login(c.Context(), f) },
	}
	fs := c.Flags()
	fs.StringVar(&f.issuer, "issuer", "", "the server to log in at (KEYTETHER_ISSUER)")
	fs.StringVar(&f.client, "client", "", "client id at the issuer (KEYTETHER_CLIENT; default keytether, or one that is registered for the profile)")
	fs.StringArrayVar(&f.scopes, "scope", nil, "what to ask for; may stand several times")
	fs.StringVar(&f.resource, "resource", "", "URL of the API that it is for (RFC 8707)")
	fs.StringVar(&f.account, "login-hint", "", "the account meant, by mail address or subject; if another signs in, the login is refused and revoked")
	fs.StringVar(&f.tokenFile, "registration-token-file", "", "file with the initial access token for registering at a server that wants one (RFC 7591); - is standard input")
	fs.StringVar(&f.flow, "flow", agentwire.FlowAuto, "auto, browser or device")
	fs.BoolVar(&f.noBrowser, "no-browser", false, "print the link instead of opening it (KEYTETHER_NO_BROWSER)")
	fs.IntVar(&f.callbackPort, "callback-port", 0, "the port that the browser comes back to, where only some are forwarded; 0 is any")
	fs.BoolVar(&f.passphrase, "store-passphrase-stdin", false, "read the passphrase of the sealed file, where it wants one, from the first line of standard input")
	a.profileFlag(c)
	a.jsonFlag(c, "one event a line as JSON: browser, device_code, waiting, done, error")
	return c
}

// login runs one login, and says how it went in the way that was asked for.
func (a *app) login(ctx context.Context, f loginFlags) error {
	ctx, stop := interruptible(ctx)
	defer stop()
	v := a.newView()
	err := cancelled(ctx, a.loginWith(ctx, f, v))
	if err != nil && a.json && !v.final {
		// The stream also tells what no agent told.
		if werr := a.printJSON(agentwire.Event{Event: agentwire.EventError, Error: describe(err)}); werr != nil {
			return werr
		}
	}
	return err
}

func (a *app) loginWith(ctx context.Context, f loginFlags, v *view) error {
	reason, err := a.checkFlow(f)
	if err != nil {
		return err
	}
	name, err := a.profileName()
	if err != nil {
		return err
	}
	c, err := a.readConfig()
	if err != nil {
		return err
	}
	w, err := a.resolve(wanted{
		Profile: name, Issuer: f.issuer, Client: f.client, Resource: f.resource,
		Scope: strings.Join(strings.Fields(strings.Join(f.scopes, " ")), " "),
	}, c)
	if err != nil {
		return err
	}
	if f.passphrase && f.tokenFile == "-" {
		return usage("standard input cannot be both the initial access token and the passphrase", "Name a file with --registration-token-file")
	}
	token, err := a.registrationToken(f.tokenFile)
	if err != nil {
		return err
	}
	var passphrase agentwire.Secret
	if f.passphrase && !isTerminal(a.Stdin) {
		if passphrase, err = a.passphraseLine("--store-passphrase-stdin"); err != nil {
			return err
		}
	}
	folder, _ := os.Getwd() // without one, a relative path says nothing
	r := agentwire.LoginRequest{
		Profile: w.Profile, Issuer: w.Issuer, ClientID: w.Client, Scope: w.Scope, Resource: w.Resource,
		RegisteredClient: w.Registered, RegistrationToken: token,
		Store: c.Store, Flow: f.flow, NoBrowser: reason != "", CallbackPort: f.callbackPort, LoginHint: f.account,
		Env: agentwire.CallerEnv(a.Environ).In(folder), Facts: facts(),
	}
	if err := r.Validate(); err != nil {
		return err
	}
	agent, err := a.ensureAgent(ctx)
	if err != nil {
		return err
	}
	v.issuer, v.noBrowser, v.auto = w.Issuer, reason, f.flow == agentwire.FlowAuto
	v.askCode = func(ctx context.Context, login string) error {
		return agent.LoginCode(ctx, agentwire.LoginCodeRequest{Login: login})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	who, err := v.follow(ctx, func(on func(agentwire.Event) error) error {
		err := agent.Login(ctx, r, on)
		if !errors.Is(err, agentwire.PassphraseWanted) && !errors.Is(err, agentwire.NewPassphraseWanted) {
			return err
		}
		if err := a.openStore(ctx, agent, passphrase, err); err != nil {
			return err
		}
		return agent.Login(ctx, r, on)
	})
	if err != nil {
		return err
	}
	if w.Registered = ""; who.ClientRegistered {
		w.Registered = who.ClientID
	}
	if err := a.remember(w); err != nil {
		_, _ = fmt.Fprintln(a.Stderr, "keytether: you are logged in, but the profile was not remembered: "+clean(configError(err)))
	}
	if a.json {
		return nil
	}
	if err := a.println(paint("Logged in", green, a.colour(a.Stdout))); err != nil {
		return err
	}
	return a.writeFields(a.Stdout, a.loginFields(who))
}

// configError is short: the login stands, and this is only a note below it.
func configError(err error) string {
	if e, ok := errors.AsType[*agentwire.Error](err); ok {
		return e.Error()
	}
	return err.Error()
}

// checkFlow says whether this login can be run at all, and why no browser is opened for it.
func (a *app) checkFlow(f loginFlags) (reason string, err error) {
	switch f.flow {
	case agentwire.FlowAuto:
		if a.inCI() {
			return "", agentwire.NewError(agentwire.Usage, "the login was not started", "this is a CI job (CI is set): no browser is opened and nobody is asked here",
				"Log in on a person's computer; a login by workload identity is not in this version", nil)
		}
	case agentwire.FlowBrowser, agentwire.FlowDevice:
	case agentwire.FlowWorkload:
		return "", agentwire.NewError(agentwire.Usage, "the login was not started", "--flow "+f.flow+" is not in this version", "Use --flow browser or --flow device", nil)
	default:
		return "", usage("--flow is none of auto, browser and device", "Use one of them")
	}
	if f.callbackPort < 0 || f.callbackPort > 65535 {
		return "", usage("--callback-port is not between 0 and 65535", "Use a port that is forwarded, or 0 for any")
	}
	if f.noBrowser {
		return "--no-browser was given", nil
	}
	return a.noBrowserHere(), nil
}

// facts are what the consent page shows about where a login was started.
func facts() agentwire.Facts {
	f := agentwire.Facts{Platform: runtime.GOOS + "/" + runtime.GOARCH}
	f.Host, _ = os.Hostname()
	if u, err := user.Current(); err == nil {
		f.OSUser = u.Username
	}
	return f
}
