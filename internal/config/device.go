package config

import "time"

// Device are a client's rules for device logins (RFC 8628, RFC 10027), by
// whether browser and device are on one network (package policy says when they
// are, and what each action means).
type Device struct {
	SameNetwork, OtherNetwork string        // one of deviceActions
	NarrowTo                  []string      // the scopes that narrow leaves
	Grant                     time.Duration // the longest that such a login lasts; zero: as any other
}

// The actions, from the mildest, as package policy names them.
var deviceActions = []string{"allow", "confirm", "narrow", "sign_in_again", "trusted", "refuse"}

func defaultDevice() Device { return Device{SameNetwork: "allow", OtherNetwork: "confirm"} }

// device reads device, after the scopes.
func (c *Config) device(o object, cl *Client) {
	cl.Device = defaultDevice()
	m, ok := o.members["device"]
	if !ok {
		return
	}
	r := o.r
	d, ok := r.object(m.value, m.at, keys["device"]...)
	if !ok {
		return
	}
	if !cl.AllowsGrant(GrantDevice) {
		r.fail(m.at, "the client has no device logins. Add %s to its grants, or remove this key", GrantDevice)
	}
	cl.Device.SameNetwork = d.choice("same_network", deviceActions...)
	cl.Device.OtherNetwork = d.choice("other_network", append([]string{"confirm"}, deviceActions...)...)
	if cl.Device.OtherNetwork == "allow" {
		r.warn(d.place("other_network"), "whoever gets a person to type a code has their access at one click, from anywhere. "+
			"Write confirm, unless the browser's network says nothing here")
	}
	var every []string
	for _, x := range c.Resources {
		for _, s := range x.Scopes {
			if cl.AllowsResource(x.ID) && cl.AllowsScope(s.Name) {
				every = append(every, s.Name)
			}
		}
	}
	cl.Device.NarrowTo = d.choices("narrow_to", nil, unique(every)...)
	narrows := cl.Device.SameNetwork == "narrow" || cl.Device.OtherNetwork == "narrow"
	switch {
	case narrows && !d.has("narrow_to"):
		r.fail(d.place("narrow_to"), "this key is missing. Name the scopes that narrow leaves")
	case !narrows && d.has("narrow_to"):
		r.fail(d.place("narrow_to"), "neither same_network nor other_network is narrow. Remove this key, or write  other_network: narrow")
	}
	cl.Device.Grant = d.duration("grant", MinAccess, MaxGrant)
}
