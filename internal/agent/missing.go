package agent

import (
	"slices"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauthclient"
)

// missing is what a login lacks of the strongest, by its server's metadata and by
// what the server gave. p.mu is held.
func (p *profile) missing() []string {
	if p.client == nil {
		return p.lacked // its server was not asked yet
	}
	var out []string
	for _, l := range p.client.Missing() {
		out = append(out, string(l))
	}
	add := func(lack string, is bool) {
		if is && !slices.Contains(out, lack) {
			out = append(out, lack)
		}
	}
	// A server may have DPoP and give this client a bearer token all the same.
	bearer := p.kind == oauthclient.TypeBearer
	add(string(oauthclient.LackDPoP), bearer)
	add(agentwire.LackRotation, bearer && p.unrotated)
	add(agentwire.LackRefresh, p.unrenewable)
	add(agentwire.LackIdentity, p.who.Subject == "")
	return out
}
