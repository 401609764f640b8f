package oauthclient

import "slices"

// Lack is one thing that a server, or a login there, does not have of the
// strongest that we could use.
type Lack string

// The lacks of a server, by its metadata.
const (
	LackDPoP       Lack = "dpop"       // RFC 9449: tokens bound to a key
	LackPAR        Lack = "par"        // RFC 9126: a request that the browser does not carry
	LackISS        Lack = "iss"        // RFC 9207: answers that name their server
	LackFormPost   Lack = "form_post"  // codes that do not stand in a URL
	LackHandshake  Lack = "handshake"  // Keytether's: no code for a browser that is not this machine's
	LackRevocation Lack = "revocation" // RFC 7009
	LackDevice     Lack = "device"     // RFC 8628
	LackNonce      Lack = "nonce"      // RFC 9449 §8: proofs that cannot be made ahead
)

// Missing lists what the server lacks, in the order of the constants; empty at a
// server like ours. That there is no nonce is known once the server has answered.
func (c *Client) Missing() []Lack {
	c.mu.Lock()
	noNonce := c.answered && c.nonce == ""
	c.mu.Unlock()
	m := c.meta
	browser := c.HasBrowser()
	var out []Lack
	for _, l := range []struct {
		lack Lack
		is   bool
	}{
		{LackDPoP, !c.proves()},
		{LackPAR, browser && m.PAREndpoint == ""},
		{LackISS, browser && !m.AuthorizationResponseISSSupported},
		{LackFormPost, browser && !slices.Contains(m.ResponseModesSupported, "form_post")},
		{LackHandshake, browser && !c.handshakes()},
		{LackRevocation, m.RevocationEndpoint == ""},
		{LackDevice, !c.HasDevice()},
		{LackNonce, c.proves() && noNonce},
	} {
		if l.is {
			out = append(out, l.lack)
		}
	}
	return out
}
