package jws

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
	"pgregory.net/rapid"
)

const (
	ecX = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
	ecY = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
)

func TestParseJWKRefuses(t *testing.T) {
	zero32 := strings.Repeat("A", 43)
	n2048 := b64.EncodeToString(testRS256(t).Public().rsa.N.Bytes())
	rsaJWK := func(n, e string) string { return `{"kty":"RSA","n":"` + n + `","e":"` + e + `"}` }
	num := func(n *big.Int) string { return b64.EncodeToString(n.Bytes()) }
	bits := func(n uint) *big.Int { return new(big.Int).SetBit(big.NewInt(1), int(n)-1, 1) }
	ed := func(hx string) string {
		return `{"kty":"OKP","crv":"Ed25519","x":"` + b64.EncodeToString(decodeHex(t, hx)) + `"}`
	}
	ec := func(more string) string {
		return `{"kty":"EC","crv":"P-256","x":"` + ecX + `","y":"` + ecY + `"` + more + `}`
	}
	for _, c := range []struct {
		name, jwk string
		want      error
	}{
		{"good EC", ec(``), nil},
		{"good EC, all said", ec(`,"use":"sig","alg":"ES256","kid":"a","key_ops":["verify"],"ext":true,"x5t":"z"`), nil},
		{"good RSA", rsaJWK(n2048, "AQAB"), nil},
		{"EC private", ec(`,"d":"AA"`), ErrPrivateKey},
		{"EC private, null", ec(`,"d":null`), ErrPrivateKey},
		{"EC private, escaped", ec(`,"\u0064":"AA"`), ErrPrivateKey},
		{"RSA p", ec(`,"p":"AA"`), ErrPrivateKey},
		{"RSA dp", ec(`,"dp":"AA"`), ErrPrivateKey},
		{"RSA oth", ec(`,"oth":[]`), ErrPrivateKey},
		{"symmetric", `{"kty":"oct","k":"AAAA"}`, ErrPrivateKey},
		{"for encryption", ec(`,"use":"enc"`), ErrKey},
		{"alg of another key", ec(`,"alg":"RS256"`), ErrKey},
		{"alg ES384", ec(`,"alg":"ES384"`), ErrKey},
		{"key_ops sign", ec(`,"key_ops":["sign"]`), ErrKey},
		{"key_ops not an array", ec(`,"key_ops":"verify"`), ErrMalformed},
		{"x twice", ec(`,"x":"` + ecX + `"`), ErrMalformed},
		{"no kty", `{"crv":"P-256","x":"` + ecX + `","y":"` + ecY + `"}`, ErrKey},
		{"P-384", `{"kty":"EC","crv":"P-384","x":"` + ecX + `","y":"` + ecY + `"}`, ErrKey},
		{"secp256k1", `{"kty":"EC","crv":"secp256k1","x":"` + ecX + `","y":"` + ecY + `"}`, ErrKey},
		{"Ed448", `{"kty":"OKP","crv":"Ed448","x":"` + ecX + `"}`, ErrKey},
		{"X25519", `{"kty":"OKP","crv":"X25519","x":"` + ecX + `"}`, ErrKey},
		{"off the curve", `{"kty":"EC","crv":"P-256","x":"` + ecY + `","y":"` + ecX + `"}`, ErrKey},
		{"infinity", `{"kty":"EC","crv":"P-256","x":"` + zero32 + `","y":"` + zero32 + `"}`, ErrKey},
		{"short coordinate", `{"kty":"EC","crv":"P-256","x":"` + ecX[:42] + `","y":"` + ecY + `"}`, ErrKey},
		{"long coordinate", `{"kty":"EC","crv":"P-256","x":"AA` + ecX + `","y":"` + ecY + `"}`, ErrKey},
		{"no y", `{"kty":"EC","crv":"P-256","x":"` + ecX + `"}`, ErrKey},
		{"RSA 1024", rsaJWK(num(bits(1024)), "AQAB"), ErrKey},
		{"RSA 2047", rsaJWK(num(bits(2047)), "AQAB"), ErrKey},
		{"RSA 4097", rsaJWK(num(bits(4097)), "AQAB"), ErrKey},
		{"RSA even", rsaJWK(num(new(big.Int).Lsh(big.NewInt(1), 2047)), "AQAB"), ErrKey},
		{"RSA e 3", rsaJWK(n2048, "Aw"), ErrKey},
		{"RSA e 1", rsaJWK(n2048, "AQ"), ErrKey},
		{"RSA e even", rsaJWK(n2048, num(big.NewInt(65538))), ErrKey},
		{"RSA e huge", rsaJWK(n2048, num(bits(65))), ErrKey},
		{"RSA n with leading zero", rsaJWK(b64.EncodeToString(append([]byte{0}, testRS256(t).Public().rsa.N.Bytes()...)), "AQAB"), ErrKey},
		{"RSA no n", `{"kty":"RSA","e":"AQAB"}`, ErrKey},
		{"RSA n not base64url", rsaJWK("+"+n2048[1:], "AQAB"), ErrMalformed},
		{"Ed25519 short", `{"kty":"OKP","crv":"Ed25519","x":"AA"}`, ErrKey},
		{"Ed25519 identity", ed("0100000000000000000000000000000000000000000000000000000000000000"), ErrKey},
		{"Ed25519 identity, sign bit", ed("0100000000000000000000000000000000000000000000000000000000000080"), ErrKey},
		{"Ed25519 order 2", ed("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), ErrKey},
		{"Ed25519 order 4", ed("0000000000000000000000000000000000000000000000000000000000000080"), ErrKey},
		{"Ed25519 order 8", ed("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"), ErrKey},
		{"Ed25519 not reduced", ed("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), ErrKey},
		{"Ed25519 off the curve", ed("0200000000000000000000000000000000000000000000000000000000000000"), ErrKey},
		{"too long", ec(`,"z":"` + strings.Repeat("z", MaxJWK) + `"`), ErrMalformed},
		{"not an object", `[]`, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			key, err := ParseJWK([]byte(c.jwk))
			if !errors.Is(err, c.want) || (err == nil) != (key != nil) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// Keys that exist are all accepted: the check of Ed25519 points knows the curve.
func TestEd25519KeysAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "seed")
		if _, err := NewEdDSASigner("", newEd(seed)); err != nil {
			t.Fatalf("%x: %v", seed, err)
		}
	})
}

func TestNewPublicKeyRefuses(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	//lint:ignore SA1019 only the raw coordinates can be wrong
	off := &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}
	for name, key := range map[string]any{
		"nil": nil, "string": "x", "nil EC": (*ecdsa.PublicKey)(nil), "nil RSA": (*rsa.PublicKey)(nil),
		"RSA without modulus": &rsa.PublicKey{E: 65537},
		"P-384":               &p384.PublicKey,
		"no coordinates":      &ecdsa.PublicKey{Curve: elliptic.P256()},
		"off the curve":       off,
	} {
		if _, err := NewPublicKey(key); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Our JWK and thumbprint are those of go-jose, and come back as the same key.
func TestJWKRoundTrip(t *testing.T) {
	for _, s := range []Signer{testES256(t, "a", 5), testEdDSA(t), testRS256(t)} {
		jwk, err := json.Marshal(s.Public())
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseJWK(jwk)
		if err != nil || !back.Equal(s.Public()) {
			t.Fatalf("%s: %v", jwk, err)
		}
		viaStandard, err := NewPublicKey(back.Standard())
		if err != nil || !viaStandard.Equal(back) {
			t.Fatalf("%s: %v", jwk, err)
		}
		var theirs jose.JSONWebKey
		if err := theirs.UnmarshalJSON(jwk); err != nil {
			t.Fatal(err)
		}
		sum, err := theirs.Thumbprint(5) // crypto.SHA256
		if err != nil || b64.EncodeToString(sum) != s.Public().Thumbprint() {
			t.Errorf("thumbprint %q, %v", s.Public().Thumbprint(), err)
		}
	}
}

func TestSet(t *testing.T) {
	a, b := testES256(t, "", 1).Public(), testRS256(t).Public()
	set, err := NewSet(Entry{"a", a}, Entry{"b", b})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	var theirs jose.JSONWebKeySet
	if err := json.Unmarshal(doc, &theirs); err != nil || len(theirs.Keys) != 2 ||
		theirs.Keys[0].Algorithm != "ES256" || theirs.Keys[1].Use != "sig" || theirs.Keys[1].KeyID != "b" {
		t.Fatalf("go-jose reads %+v, %v", theirs, err)
	}
	back, err := ParseSet(doc)
	if err != nil || len(back.Entries()) != 2 {
		t.Fatal(err)
	}
	if k, ok := back.Key("b"); !ok || !k.Equal(b) {
		t.Error("b is not found")
	}
	for _, kid := range []string{"", "A", "a\x00", "../a", "a' OR '1'='1"} {
		if _, ok := back.Key(kid); ok {
			t.Errorf("%q is found", kid)
		}
	}
	if _, err := NewSet(Entry{"a", a}, Entry{"a", b}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a kid twice: %v", err)
	}
	if _, err := NewSet(Entry{"a", nil}); !errors.Is(err, ErrKey) {
		t.Errorf("no key: %v", err)
	}
}

func TestParseSetRefusesAndPassesOver(t *testing.T) {
	ec := `{"kty":"EC","crv":"P-256","kid":"k","x":"` + ecX + `","y":"` + ecY + `"}`
	for _, c := range []struct {
		name, doc string
		keys      int
		want      error
	}{
		{"one", `{"keys":[` + ec + `]}`, 1, nil},
		{"none", `{"keys":[]}`, 0, nil},
		{"unknown kinds beside it", `{"keys":[{"kty":"AKP","pub":"x"},{"kty":"EC","crv":"P-521","x":"a","y":"b"},` + ec + `],"other":1}`, 1, nil},
		{"for encryption beside it", `{"keys":[{"kty":"EC","crv":"P-256","use":"enc","x":"` + ecX + `","y":"` + ecY + `"},` + ec + `]}`, 1, nil},
		{"kid twice", `{"keys":[` + ec + `,` + ec + `]}`, 0, ErrMalformed},
		{"private", `{"keys":[` + strings.TrimSuffix(ec, "}") + `,"d":"AA"}]}`, 0, ErrPrivateKey},
		{"no keys", `{}`, 0, ErrMalformed},
		{"keys twice", `{"keys":[],"keys":[` + ec + `]}`, 0, ErrMalformed},
		{"keys an object", `{"keys":{}}`, 0, ErrMalformed},
		{"too long", `{"keys":[],"z":"` + strings.Repeat("z", MaxJWKS) + `"}`, 0, ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := ParseSet([]byte(c.doc))
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil && len(set.Entries()) != c.keys {
				t.Errorf("%d keys, want %d", len(set.Entries()), c.keys)
			}
		})
	}
}

// r||s to ASN.1 and back, against encoding/asn1.
func TestDERRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sig := rapid.SliceOfN(rapid.Byte(), 64, 64).Draw(t, "sig")
		for i := range rapid.IntRange(0, 31).Draw(t, "zeros") {
			sig[i] = 0
		}
		r, s := new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])
		want, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		got := appendDER(nil, sig)
		if !bytes.Equal(got, want) {
			t.Fatalf("%x, want %x", got, want)
		}
		back, err := ES256FromASN1(got)
		if r.Sign() == 0 || s.Sign() == 0 {
			if err == nil {
				t.Fatal("zero accepted")
			}
			return
		}
		if err != nil || !bytes.Equal(back, sig) {
			t.Fatalf("%x: %x, %v", sig, back, err)
		}
	})
}

func TestES256FromASN1Refuses(t *testing.T) {
	for _, h := range []string{
		"", "30", "3006020101020101ff", "300602010102", "3006020101030101", "30060201ff020101", "300702020001020101",
		"3006020100020101", "3008020101020101" + "0500", "31060201010201" + "01", "30810602010102" + "0101",
	} {
		der, err := hex.DecodeString(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ES256FromASN1(der); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", h, err)
		}
	}
}

func FuzzParseJWK(f *testing.F) {
	for _, v := range vectors {
		f.Add([]byte(v.jwk))
	}
	f.Add([]byte(`{"keys":[` + vectors[1].jwk + `]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := ParseSet(raw); err != nil && !known(err) {
			t.Fatalf("not one of our errors: %v", err)
		}
		key, err := ParseJWK(raw)
		if err != nil {
			if !known(err) {
				t.Fatalf("not one of our errors: %v", err)
			}
			return
		}
		var theirs jose.JSONWebKey
		if err := theirs.UnmarshalJSON(raw); err != nil {
			t.Fatalf("go-jose refuses a key that we take: %v", err)
		}
		ours, err := NewPublicKey(theirs.Key)
		if err != nil || !ours.Equal(key) {
			t.Fatalf("go-jose reads another key: %v", err)
		}
	})
}
