package command

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/login"
)

// scopeAccount is what a login for the issuer's own API needs to decide about another.
const scopeAccount = "account"

const notDecided = "nothing was decided"

// maxAnswer bounds an answer of the server's API, in bytes.
const maxAnswer = 256 << 10

// approvable is a device login as the server shows it (docs/api.md).
type approvable struct {
	DeviceID     string      `json:"device_id"`
	UserCode     string      `json:"user_code"`
	ClientID     string      `json:"client_id"`
	Client       string      `json:"client"`
	Resource     string      `json:"resource"`
	ResourceName string      `json:"resource_name"`
	Scopes       []scopeWord `json:"scopes"`
	Host         string      `json:"host"`
	OSUser       string      `json:"os_user"`
	Platform     string      `json:"platform"`
	Address      string      `json:"address"`
	StartedAt    time.Time   `json:"started_at"`
	ExpiresAt    time.Time   `json:"expires_at"`
	Lifetime     int64       `json:"grant_lifetime"` // seconds
	Account      string      `json:"account"`
	Elsewhere    bool        `json:"other_network"`
	Narrowed     bool        `json:"narrowed"`
	Wanting      string      `json:"wanting"`
}

type scopeWord struct {
	Name  string `json:"name"`
	Words string `json:"words"`
}

func (a *app) approveCmd() *cobra.Command {
	var deny bool
	c := &cobra.Command{
		Use:   "approve CODE",
		Short: "Allow a login on another computer by its code",
		Long: `Shows what a login with a code would be allowed to do and where it was started, asks, and sends
your decision, signed by the key of this installation. Use it where the page of the server says that
a login can be allowed only at a computer where you are logged in already.

It needs a login with your browser, on this computer, for the server's own API with the scope
account; without --profile it finds that login by itself. It asks on a terminal and never decides
without. Never approve a code that somebody else sent you.`,
		Example: `  keytether login --profile me --issuer https://auth.example.test \
      --resource https://auth.example.test/api/v1 --scope account
  keytether approve BCDF-GHJK`,
		Args: exactly(1, "the code that the other computer shows"),
		RunE: func(c *cobra.Command, args []string) error {
			code, err := secret.ReadUserCode(args[0])
			if err != nil {
				return usage("this is not a code", "Write the eight letters as the other computer shows them, for example BCDF-GHJK")
			}
			if !isTerminal(a.Stdin) || !isTerminal(a.Stderr) {
				return agentwire.NewError(agentwire.Usage, notDecided, "there is no terminal to show the login on and to ask at", "Run it in a terminal, or open the server's page for codes", nil)
			}
			return a.approve(c.Context(), code, deny)
		},
	}
	c.Flags().BoolVar(&deny, "deny", false, "deny the login instead")
	a.profileFlag(c)
	a.jsonFlag(c, "as JSON: decision, and the login as the server shows it")
	return c
}

// approve shows a login, asks, and sends the decision. It takes no notice of Ctrl-C: until the
// decision is sent, that ends the program with nothing decided.
func (a *app) approve(ctx context.Context, code string, deny bool) error {
	agent, err := a.agent(ctx)
	if err != nil {
		return err
	}
	who, err := a.approver(ctx, agent)
	if err != nil {
		return err
	}
	api, err := a.ownAPI(who)
	if err != nil {
		return err
	}
	var v approvable
	if err := api.post(ctx, "/device/view", map[string]string{"user_code": code}, &v); err != nil {
		return err
	}
	if err := a.showApprovable(v); err != nil {
		return err
	}
	decision, question := agentwire.DecisionAllow, "Allow it? [y/N] "
	if deny {
		decision, question = agentwire.DecisionDeny, "Deny it? [y/N] "
	} else if err := api.wanting(v.Wanting); err != nil {
		return err
	}
	yes, err := a.ask(question)
	if err != nil {
		return err
	}
	if !yes {
		return agentwire.NewError(agentwire.Denied, notDecided, "you did not say yes; until the code ends, the login still waits", "If you did not start it, run `keytether approve "+v.UserCode+" --deny`", nil)
	}
	var shown []string
	for _, s := range v.Scopes {
		shown = append(shown, s.Name)
	}
	signed, err := agent.Approval(ctx, agentwire.ApprovalRequest{
		Profile: who.Profile, Device: v.DeviceID, UserCode: v.UserCode, Decision: decision, Scope: shown,
	})
	if err != nil {
		return connectError(err)
	}
	api.what = "it is not known whether the decision arrived"
	err = api.post(ctx, "/device/decide", map[string]string{
		"user_code": v.UserCode, "decision": decision, "approval": signed.Approval.Reveal(),
	}, &struct{}{})
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			Decision string `json:"decision"`
			approvable
		}{decision, v})
	}
	if deny {
		return a.println("Denied. The login there ends.")
	}
	return a.println("Allowed. The login there goes on by itself; you can end it at " + clean(who.Issuer) + "/me")
}

// approver finds the login that decides: the one that was named, else the only one that can.
func (a *app) approver(ctx context.Context, agent *agentwire.Client) (agentwire.Whoami, error) {
	name, err := a.profileName()
	if err != nil {
		return agentwire.Whoami{}, err
	}
	if a.profile == "" && a.getenv("KEYTETHER_PROFILE") == "" {
		s, err := agent.Status(ctx)
		if err != nil {
			return agentwire.Whoami{}, connectError(err)
		}
		var fit []agentwire.Whoami
		for _, p := range s.Profiles {
			if approves(p.Whoami) {
				fit = append(fit, p.Whoami)
			}
		}
		switch {
		case len(fit) == 1:
			return fit[0], nil
		case len(fit) > 1:
			return agentwire.Whoami{}, usage("several logins could decide", "Name one with --profile; see `keytether status`")
		}
	}
	who, err := agent.Whoami(ctx, name)
	if err != nil {
		return who, connectError(err)
	}
	if !approves(who) {
		return who, agentwire.NewError(agentwire.ResourceNotAllowed, notDecided,
			"profile "+who.Profile+" is not logged in for the server's own API with the scope account", loginForAPI("me", who.Issuer), nil)
	}
	return who, nil
}

func approves(w agentwire.Whoami) bool {
	return w.Resource == strings.TrimSuffix(w.Issuer, "/")+apiPath && slices.Contains(strings.Fields(w.Scope), scopeAccount)
}

func loginForAPI(profile, issuer string) string {
	return "Log in for it: keytether login --profile " + profile + " --issuer " + issuer +
		" --resource " + strings.TrimSuffix(issuer, "/") + apiPath + " --scope " + scopeAccount
}

// showApprovable shows on stderr what the server's page would show.
func (a *app) showApprovable(v approvable) error {
	say := func(s string) error { return said(fmt.Fprintln(a.Stderr, s)) }
	var scopes []string
	for _, s := range v.Scopes {
		scopes = append(scopes, s.Words+" ("+s.Name+")")
	}
	err := say("A login on another computer wants to act for you:\n")
	if err == nil {
		err = a.writeFields(a.Stderr, []field{
			{"Tool", v.Client + " (" + v.ClientID + ")"},
			{"As", v.Account},
			{"It could", strings.Join(scopes, "; ")},
			{"At", v.ResourceName + " (" + v.Resource + ")"},
			{"For", "at most " + span(time.Duration(v.Lifetime)*time.Second)},
			{"Computer", v.Host},
			{"User there", v.OSUser},
			{"Platform", v.Platform},
			{"Address", v.Address},
			{"Started", span(max(0, a.Now().Sub(v.StartedAt))) + " ago"},
		})
	}
	if err == nil {
		err = say("\nComputer, user and platform are reported by the tool. Nobody has checked them.")
	}
	if err == nil && v.Narrowed {
		err = say("It asked for more. From where it was started, no more is given.")
	}
	if err == nil && v.Elsewhere && v.Address == "" {
		err = say("Whether it was started on your network, the server cannot tell.")
	} else if err == nil && v.Elsewhere {
		err = say(paint("It was started on another network than yours: "+clean(v.Address)+".", red, a.colour(a.Stderr)))
	}
	if err == nil {
		err = say("Did you not start it yourself, a moment ago? Then do not allow it: somebody else may be asking\nfor your access. Nobody who helps you needs this.")
	}
	return err
}

// ask asks a person; what is not a yes is a no. What was typed before the question answers
// nothing: nobody had seen then what it is about.
func (a *app) ask(question string) (bool, error) {
	if f, ok := a.Stdin.(*os.File); ok && isTerminal(f) {
		if err := forgetTyped(f.Fd()); err != nil {
			return false, fail(notDecided, fmt.Errorf("what was typed ahead cannot be dropped: %w", err), "Open the server's page for codes instead")
		}
	}
	if _, err := io.WriteString(a.Stderr, question); err != nil {
		return false, said(0, err)
	}
	line, err := bufio.NewReader(io.LimitReader(a.Stdin, 256)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fail(notDecided, cause(err), "")
	}
	if err != nil { // the end of the input leaves the cursor behind the question
		_, _ = fmt.Fprintln(a.Stderr)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// ownAPI is the issuer's API, called as a profile.
type ownAPI struct {
	base string
	who  agentwire.Whoami
	http *http.Client
	what string // what it means that no answer came
	none string // and that the answer was no
}

func (a *app) ownAPI(who agentwire.Whoami) (*ownAPI, error) {
	socket, err := a.socket()
	if err != nil {
		return nil, err
	}
	api := strings.TrimSuffix(who.Issuer, "/") + apiPath
	c, err := login.New(login.Options{Profile: who.Profile, Resource: api, Socket: socket})
	if err != nil {
		return nil, err
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.DisableKeepAlives = true // two requests, with a person between them
	return &ownAPI{base: api, who: who, what: notDecided, none: notDecided, http: &http.Client{
		Transport: c.RoundTripper(tr), Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (o *ownAPI) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fail(o.none, err, "")
	}
	return o.call(ctx, http.MethodPost, path, body, out)
}

func (o *ownAPI) get(ctx context.Context, path string, out any) error {
	return o.call(ctx, http.MethodGet, path, nil, out)
}

func (o *ownAPI) call(ctx context.Context, method, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, o.base+path, bytes.NewReader(body))
	if err != nil {
		return fail(o.none, err, "")
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := o.http.Do(req)
	if err != nil {
		return o.unreached(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return o.unreached(err)
	}
	if res.StatusCode != http.StatusOK {
		return o.refused(res.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return agentwire.NewError(agentwire.Failed, o.none, "the server's answer is not understood", "", err)
	}
	return nil
}

// unreached says why there was no answer: the agent's own errors stay what they are.
func (o *ownAPI) unreached(err error) error {
	if e, ok := errors.AsType[*agentwire.Error](err); ok {
		return e
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return agentwire.NewError(agentwire.Unreachable, o.what, err.Error(), "Check the network, then try again", err)
}

// refused puts an answer that is an error into the command's words and codes.
func (o *ownAPI) refused(status int, answer []byte) error {
	var doc struct {
		Description string `json:"error_description"`
		Code        string `json:"keytether_code"`
	}
	if json.Unmarshal(answer, &doc) != nil || doc.Description == "" {
		doc.Description = statusError(status).Error()
	}
	code, do := agentwire.Failed, ""
	switch {
	case doc.Code == "user_code_wrong":
		code, do = agentwire.Denied, "Compare the code with what the other computer shows, or start the login there again"
	case doc.Code == "user_code_limit", status == http.StatusTooManyRequests:
		code, do = agentwire.Denied, "Wait a few minutes, then try again"
	case doc.Code == "decoys_full":
		code, do = agentwire.Denied, "Use the decoys that there are (keytether decoy list), or wait an hour"
	case doc.Code == "unlocker_unfit":
		code, do = agentwire.Denied, "Sign in at "+strings.TrimSuffix(o.who.Issuer, "/")+"/me and press Unlock"
	case doc.Code == "approver_unfit":
		code, do = agentwire.Denied, "Approve in the browser, or at a computer where you logged in with its own browser"
	case status == http.StatusForbidden:
		code = agentwire.Denied
	case status == http.StatusUnauthorized:
		code, do = agentwire.NotLoggedIn, loginForAPI(o.who.Profile, o.who.Issuer)
	case status == http.StatusNotFound:
		do = "This server has no such API, or it is over already; see " + strings.TrimSuffix(o.who.Issuer, "/") + "/me"
	case status >= http.StatusInternalServerError:
		code, do = agentwire.Unreachable, "Try again in a moment"
	}
	what := o.none
	if status >= http.StatusInternalServerError {
		what = o.what
	}
	return agentwire.NewError(code, what, doc.Description, do, nil)
}

// wanting says what is in the way of allowing, before anybody is asked.
func (o *ownAPI) wanting(what string) error {
	switch what {
	case "allow":
		return nil
	case "sign_in_again":
		return agentwire.NewError(agentwire.NotLoggedIn, notDecided, "your sign-in here is too old to allow a login", loginForAPI(o.who.Profile, o.who.Issuer), nil)
	}
	return agentwire.NewError(agentwire.Denied, notDecided, "this server does not allow a login that was started there", "Log in on the computer itself, or ask who runs the server; --deny ends it at once", nil)
}
