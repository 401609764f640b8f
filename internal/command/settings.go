package command

import (
	"cmp"
	"errors"
	"net/url"
	"strings"

	"github.com/keytether/keytether/internal/agentwire"
)

// builtinClient is meant where nobody names another: every Keytether server has it.
const builtinClient = "keytether"

// profileName is the flag, the environment or the default, in this order.
func (a *app) profileName() (string, error) {
	name, from := a.profile, "--profile"
	if name == "" {
		name, from = a.getenv("KEYTETHER_PROFILE"), "KEYTETHER_PROFILE"
	}
	if name == "" {
		return agentwire.DefaultProfile, nil
	}
	if !validProfile(name) {
		return "", usage(from+" is not a profile's name", "Use up to 64 letters, digits, dots, dashes and underscores")
	}
	return name, nil
}

func validProfile(name string) bool {
	return name != "" && len(name) <= 64 && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_')
	})
}

// wanted is what a person asked a login for; empty where nobody said.
type wanted struct {
	Profile, Issuer, Client, Resource, Scope string

	Registered string // the client that an earlier login registered
}

// resolve fills w from the environment, then from the config, then from what is built in. The
// config's client, resource and scope are those of its issuer: for another one they do not count.
func (a *app) resolve(w wanted, c config) (wanted, error) {
	w.Issuer = cmp.Or(w.Issuer, a.getenv("KEYTETHER_ISSUER"))
	w.Client = cmp.Or(w.Client, a.getenv("KEYTETHER_CLIENT"))
	p := c.Profiles[w.Profile]
	if w.Issuer == "" || sameIssuer(w.Issuer, p.Issuer) {
		w.Issuer = cmp.Or(w.Issuer, p.Issuer)
		if w.Client == "" || w.Client == cmp.Or(p.Client, builtinClient) {
			w.Client = cmp.Or(w.Client, p.Client)
			w.Registered = p.Registered
			// A scope is a resource's: with another resource it does not count either.
			if w.Resource == "" || w.Resource == p.Resource {
				w.Resource = cmp.Or(w.Resource, p.Resource)
				w.Scope = cmp.Or(w.Scope, p.Scope)
			}
		}
	}
	if w.Issuer == "" {
		return w, agentwire.NewError(agentwire.Usage, "no issuer is named", "keytether must know which server to log in at, and profile "+w.Profile+" does not name one yet",
			"Use --issuer URL or KEYTETHER_ISSUER; after the first login the profile remembers it", nil)
	}
	if err := checkURL("the issuer", w.Issuer); err != nil {
		return w, err
	}
	if w.Resource != "" {
		if u, err := url.Parse(w.Resource); err != nil || u.Scheme == "" || strings.Contains(w.Resource, "#") {
			return w, usage("the resource is not an absolute URI without a fragment (RFC 8707)", "Use --resource as the API's documentation has it")
		}
	}
	return w, nil
}

func sameIssuer(a, b string) bool { return strings.TrimSuffix(a, "/") == strings.TrimSuffix(b, "/") }

var errUserInfo = errors.New("it names a user or a password")

func checkURL(what, s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.RawQuery != "", u.Fragment != "":
		return usage(what+" is not a URL that begins with https:// and has no query", "Write it as the server's documentation has it, for example https://auth.example.test")
	case u.User != nil:
		return agentwire.NewError(agentwire.Usage, what+" is not usable", errUserInfo.Error(), "Leave it out: you sign in in the browser", nil)
	}
	return nil
}
