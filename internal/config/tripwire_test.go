package config

import "testing"

func TestTripwire(t *testing.T) {
	for text, want := range map[string]string{
		"": "repetition", "tripwire: {}\n": "repetition", "tripwire: {revoke_grant: never}\n": "never",
		"tripwire: {revoke_grant: other_network}\n": "other_network", "tripwire: {revoke_grant: always}\n": "always",
	} {
		c, err := Parse([]byte(cli+text), dir(t))
		if err != nil || c.RevokeGrant != want {
			t.Errorf("%q: %v %+v", text, err, c)
			continue
		}
		if warned := len(c.Warnings) > 0; warned != (want == "always") {
			t.Errorf("%q: warnings %v", text, c.Warnings)
		}
	}
}
