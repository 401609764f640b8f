package config

// tripRules are the values of tripwire.revoke_grant, the default first, as
// package grant names them.
var tripRules = []string{"repetition", "never", "other_network", "always"}

// tripwire reads what the use of a copied access token ends.
func (c *Config) tripwire(top object) {
	c.RevokeGrant = tripRules[0]
	m, ok := top.members["tripwire"]
	if !ok {
		return
	}
	o, ok := top.r.object(m.value, m.at, keys["tripwire"]...)
	if !ok {
		return
	}
	c.RevokeGrant = o.choice("revoke_grant", tripRules...)
	if c.RevokeGrant == "always" {
		top.r.warn(o.place("revoke_grant"), "one access token out of a log, or a gateway that drops the DPoP header, logs a person out. "+
			"Write repetition, unless tokens never come into a log here")
	}
}
