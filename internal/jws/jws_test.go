package jws

import (
	"crypto/ecdsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseRefuses(t *testing.T) {
	s := testES256(t, "k", 7)
	good := compactOf(t, s, `{"alg":"ES256","kid":"k"}`, `{"a":1}`)
	parts := strings.Split(good, ".")
	jwk := string(s.Public().AppendJWK(nil))
	head := func(h string) string { return compactOf(t, s, h, `{}`) }
	for _, c := range []struct {
		name, compact string
		want          error
	}{
		{"empty", "", ErrMalformed},
		{"two dots only", "..", ErrMalformed},
		{"two parts", parts[0] + "." + parts[1], ErrMalformed},
		{"four parts", good + ".x", ErrMalformed},
		{"no signature", parts[0] + "." + parts[1] + ".", ErrMalformed},
		{"padding", parts[0] + "=." + parts[1] + "." + parts[2], ErrMalformed},
		{"leading space", " " + good, ErrMalformed},
		{"trailing newline", good + "\n", ErrMalformed},
		{"newline in payload", parts[0] + "." + parts[1][:4] + "\n" + parts[1][4:] + "." + parts[2], ErrMalformed},
		{"four newlines", parts[0] + "." + parts[1][:4] + "\n\n\n\n" + parts[1][4:] + "." + parts[2], ErrMalformed},
		{"standard alphabet", parts[0] + "." + parts[1] + "." + "+/" + parts[2][2:], ErrMalformed},
		{"trailing bits", parts[0] + "." + parts[1] + "." + parts[2][:85] + "B", ErrMalformed},
		{"too long", parts[0] + "." + strings.Repeat("A", MaxCompact) + "." + parts[2], ErrMalformed},
		{"header too long", head(`{"alg":"ES256","x":"` + strings.Repeat("y", 2000) + `"}`), ErrMalformed},
		{"header not JSON", head(`nope`), ErrMalformed},
		{"header an array", head(`["alg","ES256"]`), ErrMalformed},
		{"header with tail", head(`{"alg":"ES256"}x`), ErrMalformed},
		{"alg twice", head(`{"alg":"ES256","alg":"ES256"}`), ErrMalformed},
		{"alg twice, escaped", head(`{"alg":"ES256","\u0061lg":"ES256"}`), ErrMalformed},
		{"unknown member twice", head(`{"alg":"ES256","z":1,"z":1}`), ErrMalformed},
		{"kid not a string", head(`{"alg":"ES256","kid":1}`), ErrMalformed},
		{"kid null", head(`{"alg":"ES256","kid":null}`), ErrMalformed},
		{"kid too long", head(`{"alg":"ES256","kid":"` + strings.Repeat("k", maxKeyID+1) + `"}`), ErrMalformed},
		{"typ too long", head(`{"alg":"ES256","typ":"` + strings.Repeat("t", maxType+1) + `"}`), ErrMalformed},
		{"nested too deeply", head(`{"alg":"ES256","z":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`), ErrMalformed},
		{"alg missing", head(`{"kid":"k"}`), ErrAlgorithm},
		{"alg empty", head(`{"alg":""}`), ErrAlgorithm},
		{"alg none", head(`{"alg":"none"}`), ErrAlgorithm},
		{"alg None", head(`{"alg":"None"}`), ErrAlgorithm},
		{"alg HS256", head(`{"alg":"HS256"}`), ErrAlgorithm},
		{"alg es256", head(`{"alg":"es256"}`), ErrAlgorithm},
		{"alg ES384", head(`{"alg":"ES384"}`), ErrAlgorithm},
		{"alg PS256", head(`{"alg":"PS256"}`), ErrAlgorithm},
		{"crit", head(`{"alg":"ES256","crit":["exp"],"exp":1}`), ErrHeader},
		{"b64", head(`{"alg":"ES256","b64":false}`), ErrHeader},
		{"zip", head(`{"alg":"ES256","zip":"DEF"}`), ErrHeader},
		{"jwk", head(`{"alg":"ES256","jwk":` + jwk + `}`), ErrHeader},
		{"jwk, escaped name", head(`{"alg":"ES256","\u006awk":` + jwk + `}`), ErrHeader},
		{"jku", head(`{"alg":"ES256","jku":"https://attacker.example/jwks"}`), ErrHeader},
		{"x5u", head(`{"alg":"ES256","x5u":"https://attacker.example/c"}`), ErrHeader},
		{"x5c", head(`{"alg":"ES256","x5c":["AA"]}`), ErrHeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Parse(c.compact); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	m, err := Parse(good)
	if err != nil || m.Verify(s.Public()) != nil || string(m.Payload) != `{"a":1}` || m.Header.KeyID != "k" {
		t.Fatal("the good one is refused", err)
	}
}

func TestParseEmbeddedRefuses(t *testing.T) {
	s := testES256(t, "", 7)
	jwk := string(s.Public().AppendJWK(nil))
	private := strings.TrimSuffix(jwk, "}") + `,"d":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`
	for _, c := range []struct {
		name, header string
		want         error
	}{
		{"no jwk", `{"alg":"ES256"}`, ErrKey},
		{"private", `{"alg":"ES256","jwk":` + private + `}`, ErrPrivateKey},
		{"alg of another key type", `{"alg":"EdDSA","jwk":` + jwk + `}`, ErrAlgorithm},
		{"jwk twice", `{"alg":"ES256","jwk":` + jwk + `,"jwk":` + jwk + `}`, ErrMalformed},
		{"jwk a string", `{"alg":"ES256","jwk":"x"}`, ErrMalformed},
		{"jku beside it", `{"alg":"ES256","jwk":` + jwk + `,"jku":"https://a.example"}`, ErrHeader},
		{"crit beside it", `{"alg":"ES256","crit":["jwk"],"jwk":` + jwk + `}`, ErrHeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ParseEmbedded(compactOf(t, s, c.header, `{}`), nil); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	compact, err := SignEmbedded(s, "t", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseEmbedded(compact, nil)
	if err != nil || m.VerifyEmbedded() != nil || !m.Header.Key.Equal(s.Public()) {
		t.Fatal("the good one is refused", err)
	}
	if _, err := Parse(compact); !errors.Is(err, ErrHeader) {
		t.Errorf("Parse takes an embedded key: %v", err)
	}
}

// A key is good for one algorithm, whatever the header says (RFC 8725 §3.1).
//
// Invariant: TK-20b
func TestVerifyKeyDecidesAlgorithm(t *testing.T) {
	ec, ed := testES256(t, "", 3), testEdDSA(t)
	for _, c := range []struct {
		name   string
		header string
		signer Signer
		key    *PublicKey
		want   error
	}{
		{"ES256 by ES256", `{"alg":"ES256"}`, ec, ec.Public(), nil},
		{"EdDSA by EdDSA", `{"alg":"EdDSA"}`, ed, ed.Public(), nil},
		{"header says EdDSA", `{"alg":"EdDSA"}`, ec, ec.Public(), ErrAlgorithm},
		{"other type of key", `{"alg":"ES256"}`, ec, ed.Public(), ErrAlgorithm},
		{"other key", `{"alg":"ES256"}`, ec, testES256(t, "", 4).Public(), ErrSignature},
		{"no key", `{"alg":"ES256"}`, ec, nil, ErrKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Parse(compactOf(t, c.signer, c.header, `{}`))
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Verify(c.key); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	var zero Message
	if err := zero.Verify(ec.Public()); err == nil {
		t.Error("an empty message verifies")
	}
}

// ES256 signatures are 64 bytes r||s; ASN.1, or r and s out of range, are not.
func TestVerifyES256SignatureForm(t *testing.T) {
	s := testES256(t, "", 3)
	input := b64.EncodeToString([]byte(`{"alg":"ES256"}`)) + ".e30"
	sig, err := s.Sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	order := decodeHex(t, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
	zero := make([]byte, 32)
	for _, c := range []struct {
		name string
		sig  []byte
		ok   bool
	}{
		{"as made", sig, true},
		{"ASN.1", appendDER(nil, sig), false},
		{"63 bytes", sig[:63], false},
		{"65 bytes", append(append([]byte(nil), sig...), 0), false},
		{"zeros", make([]byte, 64), false},
		{"r zero", append(append([]byte(nil), zero...), sig[32:]...), false},
		{"s zero", append(append([]byte(nil), sig[:32]...), zero...), false},
		{"r the order", append(append([]byte(nil), order...), sig[32:]...), false},
		{"all ones", []byte(strings.Repeat("\xff", 64)), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Parse(input + "." + b64.EncodeToString(c.sig))
			if err != nil {
				t.Fatal(err)
			}
			if err := m.Verify(s.Public()); (err == nil) != c.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Whatever is signed comes back, and no other string of the same length verifies
// for having one byte changed.
func TestRoundTripAndMutation(t *testing.T) {
	signers := []Signer{testES256(t, "a", 9), testEdDSA(t), testRS256(t)}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.SampledFrom(signers).Draw(t, "signer")
		payload := rapid.SliceOfN(rapid.Byte(), 0, 64).Draw(t, "payload")
		compact, err := Sign(s, rapid.StringN(0, 20, maxType).Draw(t, "typ"), payload)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Parse(compact)
		if err != nil || m.Verify(s.Public()) != nil || string(m.Payload) != string(payload) {
			t.Fatalf("%q: %v", compact, err)
		}
		bad := []byte(compact)
		i := rapid.IntRange(0, len(bad)-1).Draw(t, "at")
		c := rapid.Byte().Draw(t, "byte")
		if bad[i] == c {
			return
		}
		bad[i] = c
		m, err = Parse(string(bad))
		if err == nil && m.Verify(s.Public()) == nil {
			t.Fatalf("mutated %d to %q and it verifies", i, c)
		}
	})
}

func TestSignerRedacts(t *testing.T) {
	s := testES256(t, "key_1", 0x5a)
	scalar, err := s.(*signer).key.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d := new(big.Int).SetBytes(scalar)
	secrets := []string{d.String(), d.Text(16), fmt.Sprint(scalar), "PrivateKey"}
	holder := struct{ s Signer }{s}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		got := fmt.Sprintf(verb, s)
		if got != s.(fmt.Stringer).String() {
			t.Errorf("%s: %q", verb, got)
		}
		in := fmt.Sprintf(verb, holder)
		for _, secret := range secrets {
			if strings.Contains(in, secret) {
				t.Errorf("%s in a struct: %q", verb, in)
			}
		}
	}
	js, err := s.(*signer).MarshalJSON()
	if err != nil || !strings.Contains(string(js), "key_1") || strings.Contains(string(js), `"d"`) {
		t.Errorf("JSON %s, %v", js, err)
	}
	if got := s.(*signer).LogValue().String(); got != s.(fmt.Stringer).String() {
		t.Errorf("LogValue %q", got)
	}
}

type brokenSigner struct {
	Signer
	sig []byte
	err error
}

func (b brokenSigner) Sign([]byte) ([]byte, error) { return b.sig, b.err }

func TestSignRefusesBrokenSigner(t *testing.T) {
	good := testES256(t, "", 2)
	for _, sig := range [][]byte{nil, make([]byte, 63), make([]byte, 70)} {
		if out, err := Sign(brokenSigner{Signer: good, sig: sig}, "t", nil); !errors.Is(err, ErrSigner) {
			t.Errorf("%d bytes: %q, %v", len(sig), out, err)
		}
	}
	if _, err := Sign(good, "\xff", nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("typ that is not UTF-8: %v", err)
	}
	if _, err := Sign(good, "t", make([]byte, MaxCompact)); !errors.Is(err, ErrMalformed) {
		t.Errorf("payload too long: %v", err)
	}
}

func TestHeaderCache(t *testing.T) {
	c := NewHeaderCache(4)
	first, err := SignEmbedded(testES256(t, "", 1), "t", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	part := first[:strings.IndexByte(first, '.')]
	m, err := ParseEmbedded(first, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.get(part); ok {
		t.Fatal("remembered before it verified")
	}
	forged := first[:len(first)-4] + "AAAA"
	if f, err := ParseEmbedded(forged, c); err != nil || f.VerifyEmbedded() == nil {
		t.Fatal("forged signature", err)
	}
	if _, ok := c.get(part); ok {
		t.Fatal("a forged message got in")
	}
	if err := m.VerifyEmbedded(); err != nil {
		t.Fatal(err)
	}
	again, err := ParseEmbedded(first, c)
	if err != nil || again.Header.Key != m.Header.Key || again.VerifyEmbedded() != nil {
		t.Fatal("not taken from the cache", err)
	}
	if f, err := ParseEmbedded(forged, c); err != nil || f.VerifyEmbedded() == nil {
		t.Fatal("a cached header lets a forged signature pass", err)
	}
	for i := range byte(20) {
		if got := len(c.cur) + len(c.old); got > 4 {
			t.Fatalf("%d headers, bound is 4", got)
		}
		other, err := SignEmbedded(testES256(t, "", 100+i), "t", []byte(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		m, err := ParseEmbedded(other, c)
		if err != nil || m.VerifyEmbedded() != nil {
			t.Fatal(err)
		}
	}
	if _, ok := c.get(part); ok {
		t.Error("never forgotten")
	}
}

func TestTypeIs(t *testing.T) {
	for typ, want := range map[string]bool{
		"at+jwt": true, "AT+JWT": true, "application/at+jwt": true, "Application/AT+jwt": true,
		"": false, "jwt": false, "at+jwt ": false, "application/": false, "text/at+jwt": false,
		"application/application/at+jwt": false, "at+jwtx": false, "xapplication/at+jwt": false,
	} {
		if got := TypeIs(typ, "at+jwt"); got != want {
			t.Errorf("%q: %v", typ, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	s := testES256(f, "k", 7)
	for _, v := range vectors {
		f.Add(v.compact)
	}
	e, _ := SignEmbedded(s, "dpop+jwt", []byte(`{"a":1}`))
	f.Add(e)
	f.Add(compactOf(f, s, `{"alg":"ES256","kid":"k","\u0074yp":"a\ud83d\ude00"}`, `{}`))
	f.Add("..")
	f.Fuzz(func(t *testing.T, compact string) {
		m, err := Parse(compact)
		if err == nil {
			if m.Header.Key != nil || m.Header.Algorithm == "" {
				t.Fatalf("header %+v", m.Header)
			}
			parts := strings.Split(compact, ".")
			if len(parts) != 3 || base64.RawURLEncoding.EncodeToString(m.Payload) != parts[1] {
				t.Fatalf("payload does not encode back: %q", compact)
			}
			_ = m.Verify(s.Public())
		} else if !known(err) {
			t.Fatalf("not one of our errors: %v", err)
		}
		m, err = ParseEmbedded(compact, nil)
		if err == nil && (m.Header.Key == nil || m.Header.Key.Algorithm() != m.Header.Algorithm) {
			t.Fatalf("header %+v", m.Header)
		}
		if err != nil && !known(err) {
			t.Fatalf("not one of our errors: %v", err)
		}
	})
}

func known(err error) bool {
	for _, e := range []error{ErrMalformed, ErrAlgorithm, ErrHeader, ErrKey, ErrSignature} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
