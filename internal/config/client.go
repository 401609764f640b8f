package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keytether/keytether/internal/jws"
)

func (c *Config) clients(top object) {
	r := top.r
	lines := map[string]int{}
	var own []Client
	for _, it := range top.list("clients") {
		o, ok := r.object(it.value, it.at, keys["client"]...)
		if !ok {
			continue
		}
		cl := Client{
			ID:   o.need("id", "It is the client_id"),
			Name: o.need("name", "People see it on the consent page"),
			DPoP: Need(o.choice("dpop", string(Required), string(Allowed))),
		}
		switch {
		case cl.ID == "":
		case len(cl.ID) > maxID || strings.ContainsFunc(cl.ID, func(c rune) bool { return c <= ' ' || c > '~' }):
			r.fail(o.place("id"), "a client id is printable ASCII without spaces, at most %d characters", maxID)
		case lines[cl.ID] > 0:
			r.fail(o.place("id"), "this client stands in line %d already. Remove one of the two", lines[cl.ID])
		default:
			lines[cl.ID] = o.place("id").line
		}
		r.shown(o.place("name"), cl.Name, maxName)
		cl.grants(o)
		cl.redirects(o)
		cl.handshake(o)
		cl.IDTokenAlg = jws.Algorithm(o.choice("id_token_alg", string(jws.RS256), string(jws.ES256)))
		c.access(o, &cl)
		cl.lifetimes(o)
		c.device(o, &cl)
		cl.authentication(o)
		own = append(own, cl)
	}
	// The built-in client was added with the resources; the config's own goes first
	// and replaces it.
	for _, b := range c.Clients {
		if lines[b.ID] == 0 {
			own = append(own, b)
		}
	}
	c.Clients = own
}

func (cl *Client) grants(o object) {
	cl.Grants = o.choices("grants", []string{GrantCode, GrantRefresh}, GrantCode, GrantRefresh, GrantDevice)
	if cl.AllowsGrant(GrantRefresh) && !cl.AllowsGrant(GrantCode) && !cl.AllowsGrant(GrantDevice) {
		o.r.fail(o.place("grants"), "%s alone gives nothing to refresh. Add %s or %s", GrantRefresh, GrantCode, GrantDevice)
	}
}

func (cl *Client) redirects(o object) {
	uris, places := o.texts("redirect_uris")
	for i, s := range uris {
		if bad := checkRedirect(s); bad != "" {
			o.r.fail(places[i], "%s", bad)
		}
	}
	cl.RedirectURIs = uris
	if len(uris) == 0 && cl.AllowsGrant(GrantCode) {
		o.r.fail(o.place("redirect_uris"), "the grant %s needs at least one, such as http://127.0.0.1/callback (any port matches)", GrantCode)
	}
}

// handshake reads handshake, par and response_modes, which hang together: the
// handshake is a property of the registration, and whoever writes a request
// must not get round it.
func (cl *Client) handshake(o object) {
	r := o.r
	def := []string{string(Required), string(None)}
	if !cl.AllowsGrant(GrantCode) {
		def = []string{string(None), string(Required)} // nothing to shake hands over
	}
	cl.Handshake = Need(o.choice("handshake", def...))
	if cl.Handshake == None {
		cl.PAR = Need(o.choice("par", string(Optional), string(Required)))
		cl.ResponseModes = o.choices("response_modes", []string{ModeQuery, ModeFormPost}, ModeQuery, ModeFormPost)
		return
	}
	why := "handshake: required (the default)"
	for _, s := range cl.RedirectURIs {
		if checkRedirect(s) == "" && !isLoopbackRedirect(s) {
			r.fail(o.place("redirect_uris"), "%q is not on a loopback address, but %s is between the browser and a listener on its own machine. "+
				"Use http://127.0.0.1/… and http://[::1]/…, or write  handshake: none,  which leaves the client open to pasted codes", short(s), why)
		}
	}
	if cl.DPoP != Required {
		r.fail(o.place("dpop"), "%s is signed with the proof key. Write  dpop: required,  or  handshake: none", why)
	}
	if cl.PAR = Need(o.choice("par", string(Required), string(Optional))); cl.PAR != Required {
		r.fail(o.place("par"), "%s needs  par: required.  Remove this key, or write  handshake: none", why)
	}
	cl.ResponseModes = o.choices("response_modes", []string{ModeFormPost}, ModeFormPost, ModeQuery)
	if !slices.Equal(cl.ResponseModes, []string{ModeFormPost}) {
		r.fail(o.place("response_modes"), "%s allows form_post only, so that no code is ever in a URL. Remove this key, or write  handshake: none", why)
	}
}

// access reads resources and scopes, against the resources of the config.
func (c *Config) access(o object, cl *Client) {
	r := o.r
	var known []string
	for _, res := range c.Resources {
		known = append(known, res.ID)
	}
	cl.Resources = o.choices("resources", nil, known...)
	switch {
	case o.has("default_resource"):
		cl.DefaultResource = o.choice("default_resource", known...)
		if !cl.AllowsResource(cl.DefaultResource) {
			r.fail(o.place("default_resource"), "it is not among this client's resources. Add it there, or choose another default")
		}
	case len(cl.Resources) > 0:
		cl.DefaultResource = cl.Resources[0]
	default:
		cl.DefaultResource = known[0]
	}
	res, _ := c.Resource(cl.DefaultResource)

	every := BuiltInScopes()
	for _, x := range c.Resources {
		if cl.AllowsResource(x.ID) {
			for _, s := range x.Scopes {
				every = append(every, s.Name)
			}
		}
	}
	cl.Scopes = o.choices("scopes", nil, unique(every)...)
	usable := BuiltInScopes()
	for _, s := range res.Scopes {
		if cl.AllowsScope(s.Name) {
			usable = append(usable, s.Name)
		}
	}
	usable = slices.DeleteFunc(usable, func(s string) bool { return !cl.AllowsScope(s) })
	cl.DefaultScopes = o.choices("default_scopes", nil, usable...)
	if o.has("default_scopes") {
		return
	}
	for _, s := range res.Scopes {
		if cl.AllowsScope(s.Name) {
			cl.DefaultScopes = []string{s.Name}
			return
		}
	}
	if res.ID != "" && len(res.Scopes) > 0 {
		r.fail(o.place("scopes"), "none of them is a scope of the default resource %s. Add one, or choose another default_resource", short(res.ID))
	}
}

func (cl *Client) lifetimes(o object) {
	m, ok := o.members["lifetimes"]
	if !ok {
		return
	}
	l, ok := o.r.object(m.value, m.at, keys["lifetimes"]...)
	if !ok {
		return
	}
	cl.Lifetimes = Lifetimes{
		Access: l.duration("access", MinAccess, MaxAccess),
		Idle:   l.duration("idle", MinAccess, MaxIdle),
		Grant:  l.duration("grant", MinAccess, MaxGrant),
	}
	if cl.Lifetimes.Idle > 0 && cl.Lifetimes.Grant > 0 && cl.Lifetimes.Idle > cl.Lifetimes.Grant {
		o.r.fail(l.place("idle"), "idle is longer than grant, which ends everything. Make idle shorter, or grant longer")
	}
}

// authentication reads how a client proves who it is.
func (cl *Client) authentication(o object) {
	r := o.r
	const method = "token_endpoint_auth_method"
	cl.AuthMethod = o.choice(method, AuthNone, AuthBasic, AuthPost, AuthPrivateKey)
	needs := map[string]string{AuthBasic: "secret_file", AuthPost: "secret_file", AuthPrivateKey: "jwks_file"}[cl.AuthMethod]
	for _, key := range []string{"secret_file", "jwks_file"} {
		switch {
		case key == needs && !o.has(key):
			r.fail(o.place(key), "this key is missing. %s: %s needs it", method, cl.AuthMethod)
		case key != needs && o.has(key):
			r.fail(o.place(key), "%s: %s does not use it. Remove this key", method, cl.AuthMethod)
		case key == "secret_file" && o.has(key):
			path := r.path(o.text(key), "")
			v, ok := r.secretFile(o.place(key), path)
			if !ok {
				continue
			}
			if bad := checkSecret(v.Reveal()); bad != "" {
				r.fail(o.place(key), "%s: %s. Make one with  openssl rand -hex 32", path, bad)
			}
			cl.Secret = v.Hash()
		case key == "jwks_file" && o.has(key):
			cl.Keys = r.jwks(o.place(key), r.path(o.text(key), ""))
		}
	}
}

// checkSecret says what is wrong with a client secret, or nothing. It is kept as
// a plain SHA-256, for it is checked at every request: that holds only for one
// that is random. Whether it is cannot be known, but what people type instead
// can be told.
func checkSecret(s string) string {
	kinds := map[rune]bool{}
	for _, c := range s {
		kinds[c] = true
	}
	switch {
	case len(s) < minClientSecret:
		return fmt.Sprintf("a client secret needs at least %d characters, and random ones", minClientSecret)
	case len(s) > maxClientSecret:
		return fmt.Sprintf("a client secret has at most %d characters", maxClientSecret)
	case strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }):
		return "a client secret is one line of printable ASCII without spaces"
	case len(kinds) < 8 || repeats(s):
		return "this client secret is not random"
	}
	return ""
}

// repeats reports whether s is one piece over and over.
func repeats(s string) bool {
	return strings.Contains((s + s)[1:2*len(s)-1], s)
}

func unique(in []string) []string {
	slices.Sort(in)
	return slices.Compact(in)
}

// String names the client.
func (c Client) String() string { return fmt.Sprintf("client %s", c.ID) }
