package config

import (
	"crypto/tls"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"

	"github.com/keytether/keytether/internal/identity"
	"github.com/keytether/keytether/internal/secret"
)

// keys are the allowed keys of each kind of mapping, in the order in which they
// are documented (docs/config.md).
var keys = map[string][]string{
	"":             {"issuer", "listen", "data", "database", "tls", "trusted_proxies", "accounts", "resources", "clients", "registration", "tripwire"},
	"registration": {"tokens_file", "resources", "disabled"},
	"tripwire":     {"revoke_grant"},
	"tls":          {"cert_file", "key_file"},
	"account":      {"email", "password_file", "roles"},
	"resource":     {"id", "name", "scopes", "bearer", "jwks_file"},
	"lifetimes":    {"access", "idle", "grant"},
	"device":       {"same_network", "other_network", "narrow_to", "grant"},
	"client": {
		"id", "name", "redirect_uris", "grants", "default_resource", "default_scopes",
		"resources", "scopes", "dpop", "handshake", "par", "response_modes", "id_token_alg", "lifetimes", "device",
		"token_endpoint_auth_method", "secret_file", "jwks_file",
	},
}

func parse(data []byte, dir, file string) (*Config, error) {
	r := &reader{dir: dir, file: file}
	root, ok := r.document(data)
	if !ok {
		return nil, r.problems
	}
	top, ok := r.object(root, place{line: 1, column: 1}, keys[""]...)
	if !ok {
		return nil, r.problems.sorted()
	}
	c := &Config{}
	c.server(top)
	c.accounts(top)
	c.resources(top)
	c.clients(top)
	c.registration(top)
	c.tripwire(top)
	if len(r.problems) > 0 {
		return nil, r.problems.sorted()
	}
	c.Warnings = Problems(r.warnings).sorted()
	return c, nil
}

// server reads what the server itself is: issuer, listen, data, tls, proxies.
func (c *Config) server(top object) {
	r := top.r
	c.Issuer = top.need("issuer", "It is the URL that clients know this server by, such as https://login.example.com")
	var issuer *url.URL
	if c.Issuer != "" {
		var bad string
		if issuer, bad = checkIssuer(c.Issuer); bad != "" {
			r.fail(top.place("issuer"), "%s", bad)
			issuer = nil
		}
	}
	plain := issuer != nil && issuer.Scheme == "http"

	c.Listen = top.text("listen")
	switch {
	case c.Listen == "" && plain && issuer.Port() == "":
		c.Listen = issuer.Host + ":80"
	case c.Listen == "" && plain:
		c.Listen = issuer.Host
	case c.Listen == "":
		c.Listen = "127.0.0.1:8430"
	}
	if bad := checkListen(c.Listen); bad != "" {
		r.fail(top.place("listen"), "%s", bad)
	} else if host, _, _ := net.SplitHostPort(c.Listen); plain && !isLoopback(host) {
		r.fail(top.place("listen"), "%q is not a loopback address, and the issuer is plain http, which is accepted on loopback only. "+
			"Listen on 127.0.0.1, or make the issuer https", short(c.Listen))
	} else if !top.has("tls") && !isLoopback(host) {
		r.warn(top.place("listen"), "the server speaks plain http on a network, for there is no tls. "+
			"Passwords and tokens are readable between the proxy and this server: use tls, or listen on loopback")
	}

	if top.has("database") {
		r.fail(top.place("database"), "this build has the embedded store only. Remove database, and use  data: FOLDER")
	}
	c.Data = r.path(top.text("data"), "data")

	if m, ok := top.members["tls"]; ok {
		if plain {
			r.fail(m.at, "tls is set, but the issuer is plain http. Make the issuer https, or remove tls")
		}
		c.tls(r, m)
	}
	for _, it := range top.list("trusted_proxies") {
		s, ok := r.scalar(it.value, it.at)
		if !ok {
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil || p != p.Masked() {
			r.fail(it.at, "%q is not a network. Write 10.0.0.0/8, or 192.0.2.7/32 for one address", short(s))
			continue
		}
		if p.Bits() == 0 {
			r.fail(it.at, "%s trusts everybody: whoever connects could choose the address that is recorded. Name the proxy's network", p)
			continue
		}
		c.TrustedProxies = append(c.TrustedProxies, p)
	}
	if issuer != nil && !plain && !top.has("tls") && len(c.TrustedProxies) == 0 {
		r.warn(top.place("trusted_proxies"), "the issuer is https and there is no tls, so a proxy stands in front; "+
			"as it is not trusted, its own address is recorded and rate-limited for everybody, and no device login is known to be started on the network of whoever allows it. Name its network in trusted_proxies")
	}
}

func (c *Config) tls(r *reader, m member) {
	o, ok := r.object(m.value, m.at, keys["tls"]...)
	if !ok {
		return
	}
	cert := o.need("cert_file", "It names the certificate chain, PEM, the server's own first")
	key := o.need("key_file", "It names the certificate's private key, PEM")
	if cert == "" || key == "" {
		return
	}
	t := &TLS{CertFile: r.path(cert, ""), KeyFile: r.path(key, "")}
	certPEM, ok1 := r.read(o.place("cert_file"), t.CertFile)
	keyPEM, ok2 := r.read(o.place("key_file"), t.KeyFile)
	if !ok1 || !ok2 {
		return
	}
	if _, err := tls.X509KeyPair(certPEM, keyPEM); err != nil {
		r.fail(m.at, "certificate and key do not make a pair: check that both are PEM and belong together")
		return
	}
	r.warnReadable(o.place("key_file"), t.KeyFile)
	c.TLS = t
}

func (c *Config) accounts(top object) {
	r := top.r
	lines := map[string]int{}
	for _, it := range top.list("accounts") {
		o, ok := r.object(it.value, it.at, keys["account"]...)
		if !ok {
			continue
		}
		var a Account
		a.Email = o.need("email", "It is what the person signs in with")
		if a.Email != "" {
			if err := identity.CheckEmail(a.Email); err != nil {
				r.fail(o.place("email"), "%s", plainWords(err))
			} else if folded := identity.FoldEmail(a.Email); lines[folded] > 0 {
				r.fail(o.place("email"), "this email has an account already, in line %d; emails are compared without case. Remove one of the two", lines[folded])
			} else {
				lines[folded] = o.place("email").line
			}
		}
		a.Password = r.password(o)
		a.Roles = o.choices("roles", nil, RoleAdmin)
		c.Accounts = append(c.Accounts, a)
	}
}

func (r *reader) password(o object) secret.Value {
	name := o.need("password_file", "It names a file that holds the account's first password; there is none in the config itself")
	if name == "" {
		return secret.Value{}
	}
	p, path := o.place("password_file"), r.path(name, "")
	v, ok := r.secretFile(p, path)
	if !ok {
		return secret.Value{}
	}
	if err := identity.CheckPassword(v); err != nil {
		r.fail(p, "%s: %s", path, plainWords(err))
	}
	return v
}

func (c *Config) resources(top object) {
	r := top.r
	defer c.addBuiltIns()
	lines := map[string]int{}
	for _, it := range top.list("resources") {
		o, ok := r.object(it.value, it.at, keys["resource"]...)
		if !ok {
			continue
		}
		res := Resource{
			ID:   o.need("id", "It is the API's URL, the audience of its tokens"),
			Name: o.need("name", "People see it on the consent page"),
		}
		if res.ID != "" {
			if bad := checkResource(res.ID, c.Issuer); bad != "" {
				r.fail(o.place("id"), "%s", bad)
			} else if lines[res.ID] > 0 {
				r.fail(o.place("id"), "this resource stands in line %d already. Remove one of the two", lines[res.ID])
			} else {
				lines[res.ID] = o.place("id").line
			}
		}
		r.shown(o.place("name"), res.Name, maxName)
		res.Scopes = r.scopes(o)
		res.Bearer = Bearer(o.choice("bearer", string(BearerRefused), string(BearerAllowed)))
		if o.has("jwks_file") {
			res.Keys = r.jwks(o.place("jwks_file"), r.path(o.text("jwks_file"), ""))
		}
		c.Resources = append(c.Resources, res)
	}
}

// scopes keeps the file's order: the first is the least, and the default.
func (r *reader) scopes(o object) (out []Scope) {
	m, ok := o.members["scopes"]
	if !ok {
		r.fail(o.place("scopes"), "this key is missing. Name at least one scope and what it means, as in  scopes: {read: Read reports}")
		return nil
	}
	pairs, ok := r.pairs(m.value, m.at)
	if ok && len(pairs) == 0 {
		r.fail(m.at, "name at least one scope and what it means, as in  {read: Read reports}")
	}
	if len(pairs) > maxEntries {
		r.fail(m.at, "more than %d scopes", maxEntries)
		return nil
	}
	for _, p := range pairs {
		words, ok := r.scalar(p.value, p.at)
		if !ok {
			continue
		}
		switch {
		case !validScope(p.key):
			r.fail(p.at, "%q cannot be a scope: printable ASCII without space, quote and backslash, at most %d characters (RFC 6749 §3.3)",
				short(p.key), maxScope)
		case slices.Contains(BuiltInScopes(), p.key):
			r.fail(p.at, "%q is a scope of the server itself. Choose another name", p.key)
		case words == "":
			r.fail(p.at, "say in words what this scope allows; people read it on the consent page")
		}
		r.shown(p.at, words, maxWords)
		out = append(out, Scope{Name: p.key, Words: words})
	}
	return out
}

// BuiltInScopes are scopes of the server itself that belong to no resource
// (OIDC Core §5.4, §11).
func BuiltInScopes() []string { return []string{"openid", "email", "offline_access"} }

// path is a path of the config, relative to its folder.
func (r *reader) path(s, def string) string {
	if s == "" {
		s = def
	}
	if s == "" || filepath.IsAbs(s) {
		return s
	}
	return filepath.Join(r.dir, s)
}
