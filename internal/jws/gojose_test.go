package jws

import (
	"errors"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
)

// FuzzAgainstGoJose: a message that we accept and verify, go-jose must accept and
// verify too, with the same payload; only the other way round may differ. What we
// refuse on purpose and go-jose takes:
//
//   - a header with jku, x5u, x5c, b64, zip, or jwk where the caller looks the key up
//   - a jwk with private or symmetric members, key_ops without verify, use enc,
//     another alg; RSA below 2048 or above 4096 bits or e below 65537; Ed25519 points
//     of small order or not on the curve
//   - base64url with trailing bits, line breaks or white space; JSON that is not
//     UTF-8 or has lone surrogates; more than 8 KiB, 64 members or 16 levels
//
// Half of the corpus is signed again after mutation, so that the fuzzer gets
// past the signature.
func FuzzAgainstGoJose(f *testing.F) {
	ec, ed := testES256(f, "k", 7), testEdDSA(f)
	jwk := string(ec.Public().AppendJWK(nil))
	f.Add(`{"alg":"ES256"}`, `{}`, true)
	f.Add(`{"alg":"ES256","kid":"k","typ":"at+jwt"}`, `{"iss":"x"}`, true)
	f.Add(`{"alg":"ES256","jwk":`+jwk+`}`, `{}`, true)
	f.Add(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","x":"`+ecX+`","y":"`+ecY+`","crv":"P-256"}}`, `{}`, true)
	f.Add(`{"alg":"ES256","x5t":"AA","cty":"JWT","z":[1,{"a":null}]}`, "not JSON\x00", true)
	f.Add(`{"alg":"EdDSA"}`, `{}`, false)
	f.Add(`{"alg":"EdDSA","crit":["x"],"x":1}`, `{}`, false)
	f.Fuzz(func(t *testing.T, header, payload string, useEC bool) {
		s := Signer(ed)
		if useEC {
			s = ec
		}
		compact := compactOf(t, s, header, payload)
		if m, err := Parse(compact); err == nil {
			same(t, compact, m, s.Public(), m.Verify(s.Public()))
		}
		if m, err := ParseEmbedded(compact, nil); err == nil {
			same(t, compact, m, m.Header.Key, m.VerifyEmbedded())
		}
	})
}

func same(t *testing.T, compact string, m Message, key *PublicKey, verified error) {
	t.Helper()
	sig, err := jose.ParseSignedCompact(compact, []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.EdDSA})
	if err != nil {
		t.Fatalf("go-jose does not parse %q: %v", compact, err)
	}
	payload, err := sig.Verify(key.Standard())
	if (err == nil) != (verified == nil) && !errors.Is(verified, ErrAlgorithm) {
		t.Fatalf("we say %v, go-jose %v: %q", verified, err, compact)
	}
	if err != nil {
		return
	}
	h := sig.Signatures[0].Protected
	if string(payload) != string(m.Payload) || h.Algorithm != string(m.Header.Algorithm) || h.KeyID != m.Header.KeyID {
		t.Fatalf("go-jose reads %q and %+v, we %q and %+v", payload, h, m.Payload, m.Header)
	}
	if typ, _ := h.ExtraHeaders[jose.HeaderType].(string); typ != m.Header.Type {
		t.Fatalf("typ %q, we %q", typ, m.Header.Type)
	}
	if m.Header.Key != nil {
		theirs, err := NewPublicKey(h.JSONWebKey.Key)
		if err != nil || !theirs.Equal(m.Header.Key) {
			t.Fatalf("go-jose reads another key: %v", err)
		}
	}
}

// What we sign, go-jose verifies; what go-jose signs, we verify.
func TestInteroperatesWithGoJose(t *testing.T) {
	for _, s := range []Signer{testES256(t, "a", 5), testEdDSA(t), testRS256(t)} {
		compact, err := Sign(s, "at+jwt", []byte(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		m, err := Parse(compact)
		if err != nil {
			t.Fatal(err)
		}
		same(t, compact, m, s.Public(), m.Verify(s.Public()))
		if err := m.Verify(s.Public()); err != nil {
			t.Fatal(err)
		}
		theirs, err := jose.NewSigner(jose.SigningKey{
			Algorithm: jose.SignatureAlgorithm(s.Algorithm()),
			Key:       jose.JSONWebKey{Key: s.(*signer).key, KeyID: s.KeyID()},
		}, (&jose.SignerOptions{}).WithType("at+jwt"))
		if err != nil {
			t.Fatal(err)
		}
		out, err := theirs.Sign([]byte(`{"b":2}`))
		if err != nil {
			t.Fatal(err)
		}
		compact, err = out.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		m, err = Parse(compact)
		if err != nil || m.Verify(s.Public()) != nil || m.Header.KeyID != s.KeyID() || !strings.Contains(string(m.Payload), "b") {
			t.Fatalf("%q: %v", compact, err)
		}
	}
}
