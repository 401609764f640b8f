package config

import (
	"testing"

	"github.com/keytether/keytether/internal/secret"
)

// A client that authenticates has what it is known by, and of a secret the hash
// alone. A new secret or key is a change of the client.
//
// Invariant: CL-11
func TestClientAuthentication(t *testing.T) {
	d := dir(t)
	parse := func(lines string) Client {
		t.Helper()
		c, err := Parse([]byte(cli+lines), d)
		if err != nil {
			t.Fatal(err)
		}
		return c.Clients[0]
	}
	public := parse("")
	if public.AuthMethod != AuthNone || !public.Secret.IsZero() || public.Keys != nil {
		t.Errorf("a public client: %+v", public)
	}
	want := secret.New("59a0a1e7c6f1b0c4d5a5b6d3f0e1927c").Hash()
	digests := map[[32]byte]string{Digest(public): "public"}
	for method, key := range map[string]string{
		AuthBasic: "secret_file: secret", AuthPost: "secret_file: secret", AuthPrivateKey: "jwks_file: good.jwks",
	} {
		c := parse("    token_endpoint_auth_method: " + method + "\n    " + key + "\n")
		if c.AuthMethod != method {
			t.Errorf("%s was read as %s", method, c.AuthMethod)
		}
		if byKey := method == AuthPrivateKey; byKey != (c.Keys != nil) || byKey == c.Secret.Equal(want) {
			t.Errorf("%s: secret %s, keys %v", method, c.Secret, c.Keys)
		}
		if other := digests[Digest(c)]; other != "" {
			t.Errorf("%s has the digest of %s", method, other)
		}
		digests[Digest(c)] = method
	}
	c := parse("    token_endpoint_auth_method: client_secret_basic\n    secret_file: secret\n")
	before := Digest(c)
	c.Secret = secret.New("another").Hash()
	if Digest(c) == before {
		t.Error("another secret is no change")
	}
}

// A secret must be long enough and not of the kind that people type.
//
// Invariant: CL-11
func TestCheckSecret(t *testing.T) {
	for s, ok := range map[string]bool{
		"59a0a1e7c6f1b0c4d5a5b6d3f0e1927c":                 true,
		"ZmFrZSByYW5kb20gYnl0ZXMgZm9yIGEgdGVzdA_-":         true,
		"59a0a1e7c6f1b0c4d5a5b6d3f0e1927":                  false, // 31
		"00000000000000000000000000000000":                 false,
		"01010101020202020303030304040404":                 false, // 5 kinds
		"abcdefghijklmnopabcdefghijklmnop":                 false,
		"59a0a1e7c6f1b0c4d5a5b6d3f0e1927c\t":               false,
		"59a0a1e7c6f1b0c4d5a5b6d3f0e1927\u00e9":            false,
		"correct-horse-battery-correct-horse-battery-corr": true, // not to be told from a random one
	} {
		if bad := checkSecret(s); (bad == "") != ok {
			t.Errorf("%q: %q", s, bad)
		}
	}
}
