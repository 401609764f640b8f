// Package config reads the server's config file: strict YAML, in which an
// unknown or doubled key is an error, and every error names its line and the
// mend. All that is wrong is told at once. docs/config.md describes every key.
//
// What the config leaves out gets the safest value: bearer tokens refused, DPoP
// and the loopback handshake required. Whoever weakens something has to write
// it down.
package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/secret"
)

// Config is a config that has been checked, with all defaults filled in. Paths
// are absolute or relative to the working directory.
type Config struct {
	Issuer         string // no trailing slash
	Listen         string // host:port
	Data           string // folder
	TLS            *TLS   // nil: plain http, or a proxy in front does TLS
	TrustedProxies []netip.Prefix
	Accounts       []Account
	Resources      []Resource    // in the file's order; the built-in one is last
	Clients        []Client      // in the file's order; the built-in one is last unless the file has it
	RevokeGrant    string        // one of tripRules: when a copied access token ends its whole grant
	Registration   *Registration `json:",omitempty"` // nil: nobody registers clients
	Warnings       []Problem     // what works, but a person should know
}

// TLS names the certificate chain and key in PEM.
type TLS struct {
	CertFile, KeyFile string
}

// Account is made at start if it is missing; an existing one's password stays.
type Account struct {
	Email    string
	Password secret.Value
	Roles    []string
}

// RoleAdmin is the only role: it may have the scope admin.
const RoleAdmin = "admin"

// Bearer says whether a resource takes tokens that are bound to no key.
type Bearer string

// The values of bearer.
const (
	BearerRefused Bearer = "refused"
	BearerAllowed Bearer = "allowed"
)

// Resource is something that tokens are for (RFC 8707).
type Resource struct {
	ID      string
	Name    string
	Scopes  []Scope // in the file's order, the least first
	Bearer  Bearer
	Keys    *jws.Set // the resource server's own public keys (private_key_jwt); nil: it has no identity
	BuiltIn bool
}

// Scope is a scope and what it means, in words for the consent page.
type Scope struct {
	Name, Words string
}

// HasScope reports whether the resource has a scope of that name.
func (r Resource) HasScope(name string) bool {
	return slices.ContainsFunc(r.Scopes, func(s Scope) bool { return s.Name == name })
}

// Need says whether something is required of a client.
type Need string

// The values of dpop (Required, Allowed), par (Required, Optional) and
// handshake (Required, None).
const (
	Required Need = "required"
	Allowed  Need = "allowed"
	Optional Need = "optional"
	None     Need = "none"
)

// The grants of a client. The device grant's name on the wire is a URN (RFC 8628 §3.4).
const (
	GrantCode    = "authorization_code"
	GrantRefresh = "refresh_token"
	GrantDevice  = "device_code"
)

// The response modes of a client.
const (
	ModeQuery    = "query"
	ModeFormPost = "form_post"
)

// The authentication methods of a client (RFC 7591 §2). AuthNone is a public
// client's.
const (
	AuthNone       = "none"
	AuthBasic      = "client_secret_basic"
	AuthPost       = "client_secret_post"
	AuthPrivateKey = "private_key_jwt"
)

// Client is a registered client.
type Client struct {
	ID              string
	Name            string
	RedirectURIs    []string // http on a loopback address matches any port (RFC 8252 §7.3)
	Grants          []string
	DefaultResource string
	DefaultScopes   []string // what a request without scope asks for, at the default resource
	Resources       []string // allowed ones; empty: all
	Scopes          []string // allowed ones; empty: all
	DPoP            Need
	Handshake       Need
	PAR             Need
	ResponseModes   []string // the first is what a request without response_mode gets
	IDTokenAlg      jws.Algorithm
	Lifetimes       Lifetimes
	Device          Device
	AuthMethod      string
	Secret          secret.Hash `json:",omitzero"`  // of AuthBasic and AuthPost; the secret itself is not kept
	Keys            *jws.Set    `json:",omitempty"` // of AuthPrivateKey
	BuiltIn         bool
}

// Lifetimes of what a client gets; zero means the server's default
// (grant.DefaultLifetimes).
type Lifetimes struct {
	Access, Idle, Grant time.Duration
}

// AllowsGrant reports whether the client may use a grant type.
func (c Client) AllowsGrant(g string) bool { return slices.Contains(c.Grants, g) }

// AllowsResource reports whether the client may ask for tokens for a resource.
func (c Client) AllowsResource(id string) bool {
	return len(c.Resources) == 0 || slices.Contains(c.Resources, id)
}

// AllowsScope reports whether the client may ask for a scope.
func (c Client) AllowsScope(name string) bool {
	return len(c.Scopes) == 0 || slices.Contains(c.Scopes, name)
}

// AllowsMode reports whether the client may ask for a response mode.
func (c Client) AllowsMode(mode string) bool { return slices.Contains(c.ResponseModes, mode) }

// DefaultScopesFor is what a request without scope asks for at a resource: the
// client's default scopes at its default resource, elsewhere the resource's
// first scope that the client may have. Nil if there is none.
func (c Client) DefaultScopesFor(r Resource) []string {
	if r.ID == c.DefaultResource {
		return slices.Clone(c.DefaultScopes)
	}
	for _, s := range r.Scopes {
		if c.AllowsScope(s.Name) {
			return []string{s.Name}
		}
	}
	return nil
}

// Client finds a client by its id.
func (c *Config) Client(id string) (Client, bool) {
	i := slices.IndexFunc(c.Clients, func(x Client) bool { return x.ID == id })
	if i < 0 {
		return Client{}, false
	}
	return c.Clients[i], true
}

// Resource finds a resource by its id, which is compared exactly (RFC 8707 §2).
func (c *Config) Resource(id string) (Resource, bool) {
	i := slices.IndexFunc(c.Resources, func(x Resource) bool { return x.ID == id })
	if i < 0 {
		return Resource{}, false
	}
	return c.Resources[i], true
}

// Secure reports whether the issuer is https: cookies are __Host- then.
func (c *Config) Secure() bool { return len(c.Issuer) > 6 && c.Issuer[:6] == "https:" }

// Load reads a config file. Relative paths in it are relative to its folder. The
// error is a Problems, or the file system's.
func Load(path string) (*Config, error) {
	data, err := readRegular(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("%w: reading the config: %w", ErrConfig, err)
	}
	return parse(data, filepath.Dir(path), path)
}

// Parse reads a config whose relative paths are relative to dir. The error is a
// Problems.
func Parse(data []byte, dir string) (*Config, error) { return parse(data, dir, "") }

// Defaults is the config of a server that has no file: data in a folder, plain
// http on a loopback address. listen must name the address and port. The first
// account is not made here.
func Defaults(dataDir, listen string) (*Config, error) {
	if err := checkListen(listen); err != "" {
		return nil, Problems{{Where: "--listen", What: err}}
	}
	host, _, _ := net.SplitHostPort(listen)
	if !isLoopbackNumber(host) { // the issuer is made of it
		return nil, Problems{{Where: "--listen", What: fmt.Sprintf("%q is not a loopback address. Without a config file the server "+
			"speaks plain http, and that on loopback only. Use 127.0.0.1:PORT, or write a config with an https issuer", short(listen))}}
	}
	c := &Config{Issuer: "http://" + listen, Listen: listen, Data: dataDir, RevokeGrant: tripRules[0]}
	c.addBuiltIns()
	return c, nil
}

// BuiltInClient is the id of the client that `keytether login` uses. A config
// may register it otherwise.
const BuiltInClient = "keytether"

// APIPath, behind the issuer, is the id of the built-in resource: the server's
// own administration API.
const APIPath = "/api/v1"

// The scopes of the built-in resource.
const (
	ScopeAccount = "account" // a person's own account, logins and audit trail
	ScopeAdmin   = "admin"   // everybody's; for RoleAdmin only
)

// addBuiltIns adds the API and, unless it is there, the client keytether.
func (c *Config) addBuiltIns() {
	c.Resources = append(c.Resources, Resource{
		ID:   c.Issuer + APIPath,
		Name: "Keytether",
		Scopes: []Scope{
			{ScopeAccount, "See your account, your logins and their history, and end them"},
			{ScopeAdmin, "Administer this server: everybody's accounts, logins and history"},
		},
		Bearer:  BearerRefused,
		BuiltIn: true,
	})
	if _, ok := c.Client(BuiltInClient); ok {
		return
	}
	first := c.Resources[0]
	if len(first.Scopes) == 0 {
		return // refused already
	}
	c.Clients = append(c.Clients, Client{
		ID:              BuiltInClient,
		Name:            "Keytether",
		RedirectURIs:    []string{"http://127.0.0.1/callback", "http://[::1]/callback"},
		Grants:          []string{GrantCode, GrantRefresh, GrantDevice},
		DefaultResource: first.ID,
		DefaultScopes:   []string{first.Scopes[0].Name},
		DPoP:            Required,
		Handshake:       Required,
		PAR:             Required,
		ResponseModes:   []string{ModeFormPost},
		IDTokenAlg:      jws.ES256,
		Device:          defaultDevice(),
		AuthMethod:      AuthNone,
		BuiltIn:         true,
	})
}

// readRegular reads a regular file of at most limit bytes: never a pipe or
// device, which could be waited for without end.
func readRegular(path string, limit int64) ([]byte, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if fi.Size() > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return os.ReadFile(path)
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

func parseAbsolute(s string) (*url.URL, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || len(s) > maxURI {
		return nil, false
	}
	return u, true
}
