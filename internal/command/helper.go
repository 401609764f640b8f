package command

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/helper"
	"github.com/keytether/keytether/internal/outbound"
	"github.com/keytether/keytether/internal/secret"
)

func (a *app) helperCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "helper",
		Short: "Give other programs a password by their own protocol: git, docker, kubectl, aws, pip",
		Long: `Programs that cannot prove a key ask a helper for a password. What they get is an access token that
ends in minutes, for the login whose resource covers the address they ask for, and only where the
server lets client and resource do without proofs. They are given nothing to keep.

Where a login's resource does not cover the address the helper says so in the protocol's way, and
the program asks elsewhere.`,
	}
	group(c)
	c.AddCommand(a.helperGitCmd(), a.helperDockerCmd(), a.helperKubectlCmd(), a.helperAWSCmd(), a.helperKeyringCmd())
	return c
}

func (a *app) helperGitCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "git get|store|erase",
		Short: "A credential helper for git over HTTP",
		Long: `Answers git's credential protocol. The first of the two lines below matters: it takes out the other
helpers that git has, for this address. git hands what it got to every one, and some write it to a
file: where one is left, or stands behind these lines, git is given nothing.`,
		Example: `  git config --global --replace-all credential.https://git.example.test.helper ""
  git config --global --add credential.https://git.example.test.helper "!keytether helper git"`,
		Args:      cobra.MatchAll(exactly(1, "get, store or erase"), oneOf("get", "store", "erase")),
		ValidArgs: []string{"get", "store", "erase"},
		RunE: func(c *cobra.Command, args []string) error {
			q, err := helper.ReadGit(a.Stdin)
			if err != nil {
				return notAsked(err, "git")
			}
			switch args[0] {
			case "get":
				return a.helpGit(c.Context(), q)
			case "erase":
				return a.refused(c.Context(), q.URL(), q.Password)
			}
			return nil // what git has to keep is dropped
		},
	}
	a.profileFlag(c)
	return c
}

func (a *app) helpGit(ctx context.Context, q helper.GitQuestion) error {
	t, err := a.unbound(ctx, q.URL(), "")
	if others := a.gitOthers(ctx, q); err == nil && len(others) > 0 {
		err = agentwire.NewError(agentwire.Failed, "git was given no token", "it would hand it to its other helper "+quote(strings.Join(others, ", "))+" to be kept",
			"Put the lines of `keytether helper git --help` behind that one; `git config --show-origin --get-regexp 'credential.*helper'` says where it stands", nil)
	}
	if err == nil {
		return said(0, helper.WriteGit(a.Stdout, q, t))
	}
	var e *agentwire.Error
	if errors.Is(err, errNoLogin) && errors.As(err, &e) {
		writeError(a.Stderr, e, a.colour(a.Stderr))
		return nil // git asks the next one
	}
	_ = a.println("quit=1") // and here nobody else: a password would do no good
	return err
}

// gitOthers asks git which other helpers it would hand a token to. A git that sends tokens itself
// tells them that this one is not to be kept.
func (a *app) gitOthers(ctx context.Context, q helper.GitQuestion) []string {
	if q.Bearer {
		return nil
	}
	c := exec.CommandContext(ctx, "git", "config", "--null", "--get-regexp", helper.GitConfigKeys)
	c.Env = a.Environ
	config, _ := c.Output() // none is there, or no git
	return q.Others(string(config))
}

func (a *app) helperDockerCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "docker get|store|erase|list",
		Short: "A credential helper for docker and its like",
		Long: `Answers docker's credential helper protocol. docker wants a program of the name
docker-credential-NAME: make it a link to keytether, which knows by that name what it is.`,
		Example: `  ln -s "$(command -v keytether)" ~/.local/bin/docker-credential-keytether
  # in ~/.docker/config.json:  "credHelpers": {"registry.example.test": "keytether"}`,
		Args:      cobra.MatchAll(exactly(1, "get, store, erase or list"), oneOf("get", "store", "erase", "list")),
		ValidArgs: []string{"get", "store", "erase", "list"},
		RunE:      func(c *cobra.Command, args []string) error { return a.helpDocker(c.Context(), args[0]) },
	}
	a.profileFlag(c)
	return c
}

func (a *app) helpDocker(ctx context.Context, verb string) error {
	if verb == "list" {
		s, _, err := a.agentStatus(ctx)
		if err != nil {
			return err
		}
		var servers []string
		for _, p := range s.Profiles {
			servers = append(servers, p.Resource)
		}
		return said(0, helper.WriteDockerList(a.Stdout, servers))
	}
	if verb == "store" {
		return agentwire.NewError(agentwire.Failed, "nothing was stored", "keytether keeps no password of others", "Run `keytether login --resource` for the registry in place of `docker login`", nil)
	}
	server, err := helper.ReadDocker(a.Stdin)
	if err != nil {
		return notAsked(err, "docker")
	}
	if verb == "erase" {
		return nil
	}
	t, err := a.unbound(ctx, server, "")
	if errors.Is(err, errNoLogin) {
		if err := a.println(helper.DockerNotFound); err != nil {
			return err
		}
		return exitError(exitFailed)
	}
	if err != nil {
		return err
	}
	return said(0, helper.WriteDocker(a.Stdout, server, t))
}

func (a *app) helperKubectlCmd() *cobra.Command {
	var resource string
	c := &cobra.Command{
		Use:   "kubectl [--resource URL]",
		Short: "An exec plugin for kubectl",
		Long: `Answers kubectl's client authentication protocol (ExecCredential, v1 and v1beta1). The cluster's
address says which login is meant, if the kubeconfig has provideClusterInfo: true; else --resource
does.`,
		Example: `  # in the kubeconfig, at the user:
  #   exec: {apiVersion: client.authentication.k8s.io/v1, command: keytether, args: [helper, kubectl],
  #          provideClusterInfo: true, interactiveMode: Never}`,
		Args: exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error {
			q, err := helper.ReadKube(a.getenv("KUBERNETES_EXEC_INFO"))
			if err != nil {
				return notAsked(err, "kubectl")
			}
			t, err := a.unbound(c.Context(), q.Server, resource)
			if err != nil {
				return err
			}
			return said(0, helper.WriteKube(a.Stdout, q, t))
		},
	}
	a.profileFlag(c)
	c.Flags().StringVar(&resource, "resource", "", "the login's resource, if it is not the cluster's address")
	return c
}

type awsFlags struct{ role, session, sts, resource string }

func (a *app) helperAWSCmd() *cobra.Command {
	var f awsFlags
	c := &cobra.Command{
		Use:   "aws --role-arn ARN [--resource URL]",
		Short: "A credential_process for the AWS SDKs",
		Long: `Has AWS exchange an access token for temporary credentials (AssumeRoleWithWebIdentity) and prints
them as the SDKs want them. The issuer must be an identity provider of the AWS account, and the
role must trust it for this resource and subject.`,
		Example: `  # in ~/.aws/config, at the profile:
  # credential_process = keytether helper aws --role-arn arn:aws:iam::123456789012:role/reports`,
		Args: exactly(0, ""),
		RunE: func(c *cobra.Command, _ []string) error { return a.helpAWS(c.Context(), f) },
	}
	a.profileFlag(c)
	c.Flags().StringVar(&f.role, "role-arn", "", "the role to assume")
	c.Flags().StringVar(&f.session, "session-name", "keytether", "what AWS's log calls the session")
	c.Flags().StringVar(&f.sts, "sts", "https://sts.amazonaws.com", "the security token service")
	c.Flags().StringVar(&f.resource, "resource", "", "the login's resource, if there are several logins")
	return c
}

func (a *app) helpAWS(ctx context.Context, f awsFlags) error {
	if f.role == "" {
		return usage("helper aws wants --role-arn", "Name the role as AWS does, for example arn:aws:iam::123456789012:role/reports")
	}
	if err := checkURL("--sts", f.sts); err != nil {
		return err
	}
	if u, err := url.Parse(f.sts); err != nil || u.Scheme != "https" && !isLoopback(u.Hostname()) {
		return usage("--sts is not an https address", "Correct it: the token would go out in clear")
	}
	t, err := a.unbound(ctx, "", f.resource)
	if err != nil {
		return err
	}
	client, err := outbound.New(outbound.Options{Env: agentwire.CallerEnv(a.Environ)})
	if err != nil {
		return fail("AWS was not asked", err, "")
	}
	defer client.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(f.sts, "/")+"/", strings.NewReader(helper.AWSRequest(f.role, f.session, t).Encode()))
	if err != nil {
		return fail("AWS was not asked", err, "")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := client.Do(req)
	if err != nil {
		return agentwire.NewError(agentwire.Unreachable, "AWS was not asked", err.Error(), "", err)
	}
	if res.Status != http.StatusOK {
		why := http.StatusText(res.Status)
		if code := helper.AWSProblem(res.Body); code != "" {
			why = "it says " + clean(code)
		}
		return agentwire.NewError(agentwire.Denied, "AWS gave no credentials", why, "Check that the role trusts this issuer, resource and subject", nil)
	}
	keys, err := helper.ReadAWS(res.Body)
	if err != nil {
		return agentwire.NewError(agentwire.Failed, "AWS gave no credentials", "its answer was not understood", "Check --sts", err)
	}
	return said(0, helper.WriteAWS(a.Stdout, keys))
}

func (a *app) helperKeyringCmd() *cobra.Command {
	c := &cobra.Command{
		Use:   "keyring get SERVICE [USER]",
		Short: "The keyring command that pip and uv run",
		Long: `Answers "keyring get", which pip and uv run to learn the password for an index. They look for a
program of the name keyring: make it a link to keytether where you have no other. In Python itself
the package keytether is a keyring backend, which needs no link.`,
		Example: `  ln -s "$(command -v keytether)" ~/.local/bin/keyring
  uv pip install --keyring-provider subprocess --index-url https://keytether@pypi.example.test/simple reports`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 || len(args) > 3 || args[0] != "get" {
				return usage("helper keyring answers `get SERVICE [USER]` alone", "keytether keeps no password of others")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			t, err := a.unbound(c.Context(), args[1], "")
			if errors.Is(err, errNoLogin) {
				return exitError(exitFailed) // as keyring does for what it does not know
			}
			if err != nil {
				return err
			}
			return a.println(t.Value.Reveal())
		},
	}
	a.profileFlag(c)
	return c
}

func isLoopback(host string) bool {
	at, err := netip.ParseAddr(host)
	return err == nil && at.IsLoopback()
}

// Args gives the arguments of a program that was called by one of the names that others look for:
// docker-credential-NAME, git-credential-NAME and keyring.
func Args(argv []string) []string {
	name := strings.TrimSuffix(filepath.Base(argv[0]), ".exe")
	switch {
	case strings.HasPrefix(name, "docker-credential-"):
		return append([]string{"helper", "docker"}, argv[1:]...)
	case strings.HasPrefix(name, "git-credential-"):
		return append([]string{"helper", "git"}, argv[1:]...)
	case name == "keyring":
		return append([]string{"helper", "keyring"}, argv[1:]...)
	}
	return argv[1:]
}

// oneOf wants the first argument to be one of these.
func oneOf(words ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		for _, w := range words {
			if args[0] == w {
				return nil
			}
		}
		return usage("there is no "+quote(c.Name()+" "+args[0]), "Use one of "+strings.Join(words, ", "))
	}
}

func notAsked(err error, who string) error {
	return agentwire.NewError(agentwire.Usage, "nothing was answered", "standard input is not a question of "+who+"'s", "Let "+who+" run this", err)
}

// errNoLogin: no login is for that address. The program may ask somebody else.
var errNoLogin = errors.New("command: no login covers this address")

// loginFor finds the login that is meant: the one that was named, or that of all whose resource
// covers the target most closely. An empty target is covered by every one.
func (a *app) loginFor(ctx context.Context, target, resource string) (agentwire.ProfileStatus, error) {
	named := ""
	if a.profile != "" || a.getenv("KEYTETHER_PROFILE") != "" {
		var err error
		if named, err = a.profileName(); err != nil {
			return agentwire.ProfileStatus{}, err
		}
	}
	s, _, err := a.agentStatus(ctx)
	if errors.Is(err, agentwire.Unsupported) { // a forwarded socket tells no logins, and gives the one that it is for
		return agentwire.ProfileStatus{Whoami: agentwire.Whoami{Profile: cmp.Or(named, agentwire.DefaultProfile), Resource: resource}}, nil
	}
	if err != nil {
		return agentwire.ProfileStatus{}, err
	}
	var best agentwire.ProfileStatus
	for _, p := range s.Profiles {
		switch {
		case named != "" && p.Profile != named, resource != "" && p.Resource != resource:
		case resource == "" && target != "" && !helper.Covers(p.Resource, target):
		case best.Profile == "" || len(p.Resource) > len(best.Resource):
			best = p
		}
	}
	if best.Profile == "" {
		return best, noLogin(cmp.Or(resource, target))
	}
	return best, nil
}

func noLogin(what string) error {
	return agentwire.NewError(agentwire.NotLoggedIn, "no login is for "+clean(what), "the resource of none of them covers it",
		"Run `keytether login --resource "+strings.TrimSuffix(clean(what), "/")+"`, or name the resource that it lies under", errNoLogin)
}

// unbound gives a token that is bound to no key, for what the target or the resource names.
func (a *app) unbound(ctx context.Context, target, resource string) (helper.Token, error) {
	if isTerminal(a.Stdout) {
		return helper.Token{}, usage("a helper's answer was not printed: it holds a token, and standard output is a terminal", "Let the program that needs it run this")
	}
	p, err := a.loginFor(ctx, target, resource)
	if err != nil {
		return helper.Token{}, err
	}
	agent, err := a.agent(ctx)
	if err != nil {
		return helper.Token{}, err
	}
	t, err := agent.Token(ctx, agentwire.TokenRequest{Profile: p.Profile, Resource: resource, TokenType: agentwire.TypeBearer})
	if err != nil {
		return helper.Token{}, err
	}
	if resource == "" && target != "" && !helper.Covers(t.Resource, target) {
		return helper.Token{}, noLogin(target)
	}
	holdsToken()
	if t.TokenType != agentwire.TypeBearer {
		return helper.Token{}, agentwire.NewError(agentwire.Denied, "there is no token for a program that cannot prove a key", "the agent gave one that is bound to its key", "Run `keytether agent stop`, so that an agent of this version starts", nil)
	}
	return helper.Token{Value: secret.New(t.AccessToken.Reveal()), ExpiresAt: t.ExpiresAt}, nil
}

// refused tells the agent that a token was refused, so that the next one is another.
func (a *app) refused(ctx context.Context, target, token string) error {
	if token == "" {
		return nil
	}
	p, err := a.loginFor(ctx, target, "")
	if errors.Is(err, errNoLogin) {
		return nil
	}
	if err != nil {
		return err
	}
	agent, err := a.agent(ctx)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(token))
	_, err = agent.Token(ctx, agentwire.TokenRequest{Profile: p.Profile, TokenType: agentwire.TypeBearer, Rejected: base64.RawURLEncoding.EncodeToString(sum[:])})
	return err
}
