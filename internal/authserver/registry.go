package authserver

import (
	"slices"

	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/policy"
)

// Registry is what the config names: an immutable set of clients and resources,
// with the clients that registered themselves beside.
type Registry struct {
	clients      map[string]*Client
	resources    map[string]*Resource
	order        []*Resource
	registration *Registration  // who may register clients; nil: nobody
	registered   *registered    // the server's, set by UseRegistry
	tripRule     grant.TripRule // when a copied token ends its whole grant
}

// NewRegistry indexes clients and resources, whose ids are distinct.
func NewRegistry(clients []*Client, resources []*Resource) *Registry {
	r := &Registry{clients: make(map[string]*Client), resources: make(map[string]*Resource), order: resources}
	for _, c := range clients {
		r.clients[c.ID] = c
	}
	for _, res := range resources {
		r.resources[res.ID] = res
	}
	return r
}

// WithTripRule gives the same registry with a rule for copied access tokens.
func (r *Registry) WithTripRule(rule grant.TripRule) *Registry {
	out := *r
	out.tripRule = rule
	return &out
}

// Client finds a client by its client_id; UnknownClient otherwise.
func (r *Registry) Client(id string) (*Client, error) {
	if c := r.clients[id]; c != nil {
		return c, nil
	}
	if c, ok := r.registeredClient(id); ok {
		return c, nil
	}
	return nil, oauth.Fail(oauth.UnknownClient)
}

// Resource finds a resource by its identifier; ResourceUnknown otherwise.
func (r *Registry) Resource(id string) (*Resource, error) {
	if res := r.resources[id]; res != nil {
		return res, nil
	}
	return nil, oauth.Fail(oauth.ResourceUnknown)
}

// scopeNames lists every scope, the built-in ones first.
func (r *Registry) scopeNames() []string {
	out := []string{oauth.ScopeOpenID, oauth.ScopeEmail, oauth.ScopeOfflineAccess}
	for _, res := range r.order {
		for _, sc := range res.Scopes {
			if !slices.Contains(out, sc.Name) {
				out = append(out, sc.Name)
			}
		}
	}
	return out
}

// Client is a registered OAuth client.
type Client struct {
	ID              string
	Name            string
	RedirectURIs    []string
	GrantTypes      []string
	DefaultResource string
	DefaultScopes   []string // of the default resource; empty: the resource's first
	Scopes          []string // that it may ask for; empty: any
	Resources       []string // that it may ask for; empty: any
	DPoPRequired    bool
	Handshake       bool // loopback handshake; implies PARRequired and form_post alone
	PARRequired     bool
	ResponseModes   []string // "form_post", "query"; the first is the default
	IDTokenAlg      jws.Algorithm
	Lifetimes       grant.Lifetimes
	Device          policy.DeviceRules // for device logins
	Authentication  Authentication
}

func (c *Client) has(grantType string) bool { return slices.Contains(c.GrantTypes, grantType) }

// redirect checks a redirect URI against the registered ones. It may be left
// out when just one is registered and that one is no loopback address.
func (c *Client) redirect(given string) (string, error) {
	if given == "" {
		if len(c.RedirectURIs) == 1 && !oauth.IsLoopback(c.RedirectURIs[0]) {
			return c.RedirectURIs[0], nil
		}
		return "", oauth.FailParam(oauth.RedirectMismatch, "redirect_uri")
	}
	for _, r := range c.RedirectURIs {
		if oauth.MatchRedirect(r, given) {
			return given, nil
		}
	}
	return "", oauth.FailParam(oauth.RedirectMismatch, "redirect_uri")
}

// Resource is a resource server's identifier, what it is called, its scopes.
type Resource struct {
	ID     string
	Name   string
	Scopes []Scope  // least powerful first
	Bearer bool     // takes tokens that are bound to no key
	Keys   *jws.Set // its own, for private_key_jwt; nil: it has no identity
}

// Scope is one scope and what it means in words.
type Scope struct {
	Name  string
	Words string
	Role  string // that a person must have to be granted it; empty: none
}

func (r *Resource) scope(name string) (Scope, bool) {
	for _, sc := range r.Scopes {
		if sc.Name == name {
			return sc, true
		}
	}
	return Scope{}, false
}

// builtin says what the scopes of OpenID Connect mean in words.
func builtin(name string) (Scope, bool) {
	switch name {
	case oauth.ScopeOpenID:
		return Scope{Name: name, Words: "Know which account you are"}, true
	case oauth.ScopeEmail:
		return Scope{Name: name, Words: "See your email address"}, true
	case oauth.ScopeOfflineAccess:
		return Scope{Name: name, Words: "Stay logged in while you are away"}, true
	}
	return Scope{}, false
}

// Explain gives a scope of a resource in words.
func (r *Resource) Explain(name string) Scope {
	if sc, ok := builtin(name); ok {
		return sc
	}
	if sc, ok := r.scope(name); ok {
		return sc
	}
	return Scope{Name: name, Words: name}
}

// scopes settles what a client asks for: every scope must be known for the
// resource, or built in, and allowed for the client. Asked for nothing, the
// client's default is meant: the least. agent says that a Keytether agent asks.
func (c *Client) scopes(res *Resource, asked []string, agent bool) ([]string, error) {
	out := asked
	resourceScope := false
	for _, name := range asked {
		if _, ok := builtin(name); ok {
			continue
		}
		resourceScope = true
		if _, ok := res.scope(name); !ok || (len(c.Scopes) > 0 && !slices.Contains(c.Scopes, name)) {
			return nil, oauth.Fail(oauth.ScopeUnknown)
		}
	}
	// Who asks for openid alone wants to know who somebody is. Our own agent asks
	// for it beside what a tool needs, and means the default then. It may come as
	// a client without the handshake too.
	if !resourceScope && (agent || c.Handshake || !slices.Contains(asked, oauth.ScopeOpenID)) {
		out = append(slices.Clone(asked), c.defaultScopes(res)...)
	}
	if len(out) == 0 {
		return nil, oauth.Fail(oauth.ScopeUnknown)
	}
	return out, nil
}

func (c *Client) defaultScopes(res *Resource) []string {
	if len(c.DefaultScopes) > 0 && res.ID == c.DefaultResource {
		return c.DefaultScopes
	}
	for _, sc := range res.Scopes {
		if len(c.Scopes) == 0 || slices.Contains(c.Scopes, sc.Name) {
			return []string{sc.Name}
		}
	}
	return nil
}

// mayGrant drops the scopes for which a person lacks the role.
func (r *Resource) mayGrant(asked, roles []string) []string {
	var out []string
	for _, name := range asked {
		if sc, ok := r.scope(name); ok && sc.Role != "" && !slices.Contains(roles, sc.Role) {
			continue
		}
		out = append(out, name)
	}
	return out
}
