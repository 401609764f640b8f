package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/jws"
)

const goodPayload = `{"iss":"https://auth.example.test","exp":1772366700,"iat":1772366400,"jti":"jti_1",` +
	`"aud":"https://api.example.test","sub":"acc_1","client_id":"example-cli"}`

const goodHeader = `{"typ":"at+jwt","alg":"ES256","kid":"` + testKeyID + `"}`

func TestIssueVerifyRoundTrip(t *testing.T) {
	s := testSigner(t, testKeyID, 1)
	full, least := goodClaims(), goodClaims()
	least.Scope, least.GrantID, least.ACR, least.Thumbprint, least.AuthTime, least.Actor = "", "", "", "", time.Time{}, nil
	for name, want := range map[string]AccessClaims{"full": full, "least": least} {
		t.Run(name, func(t *testing.T) {
			compact, err := Issue(s, want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Verify(compact, keySet(t, s), expectations())
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

// The fast encoder's text is JSON with the values given, whatever they hold.
func TestIssueWritesWhatItIsGiven(t *testing.T) {
	s := testSigner(t, testKeyID, 1)
	keys := keySet(t, s)
	rapid.Check(t, func(t *rapid.T) {
		want := goodClaims()
		text := rapid.StringN(1, 30, -1)
		want.Subject, want.ClientID, want.ID = text.Draw(t, "sub"), text.Draw(t, "client"), text.Draw(t, "jti")
		want.Scope, want.ACR, want.GrantID = text.Draw(t, "scope"), text.Draw(t, "acr"), text.Draw(t, "sid")
		compact, err := Issue(s, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Verify(compact, keys, expectations())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, %v", got, err)
		}
		payload, _ := base64.RawURLEncoding.DecodeString(strings.Split(compact, ".")[1])
		var theirs struct {
			Sub, Scope string
			Cnf        struct{ Jkt string }
		}
		if err := json.Unmarshal(payload, &theirs); err != nil || theirs.Sub != want.Subject ||
			theirs.Scope != want.Scope || theirs.Cnf.Jkt != want.Thumbprint {
			t.Fatalf("encoding/json reads %+v, %v", theirs, err)
		}
	})
}

// RFC 9068 §2.2: a token without a required claim is never made.
func TestIssueRefusesMissingClaims(t *testing.T) {
	s := testSigner(t, testKeyID, 1)
	for name, drop := range map[string]func(*AccessClaims){
		"iss": func(c *AccessClaims) { c.Issuer = "" }, "sub": func(c *AccessClaims) { c.Subject = "" },
		"aud": func(c *AccessClaims) { c.Audience = "" }, "client_id": func(c *AccessClaims) { c.ClientID = "" },
		"jti": func(c *AccessClaims) { c.ID = "" }, "iat": func(c *AccessClaims) { c.IssuedAt = time.Time{} },
		"exp": func(c *AccessClaims) { c.ExpiresAt = time.Time{} },
	} {
		c := goodClaims()
		drop(&c)
		if _, err := Issue(s, c); !errors.Is(err, ErrClaim) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, spoil := range map[string]func(*AccessClaims){
		"not UTF-8": func(c *AccessClaims) { c.Scope = "\xff" }, "act not JSON": func(c *AccessClaims) { c.Actor = []byte(`{`) },
		"act with tail": func(c *AccessClaims) { c.Actor = []byte(`{},"sub":"admin"`) }, "act an array": func(c *AccessClaims) { c.Actor = []byte(`[]`) },
		"before 1970": func(c *AccessClaims) { c.IssuedAt = time.Unix(-1, 0) },
	} {
		c := goodClaims()
		spoil(&c)
		if _, err := Issue(s, c); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// RFC 9068 §4, RFC 8725: the header decides nothing that the key set does not.
//
// Invariant: TK-20a, TK-20d, TK-20f
func TestVerifyRefusesHeaders(t *testing.T) {
	s, attacker := testSigner(t, testKeyID, 1), testSigner(t, testKeyID, 2)
	rs := testRSASigner(t, "rsa")
	keys := keySet(t, s, rs)
	jwk := string(attacker.Public().AppendJWK(nil))
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(goodPayload))
	part := func(h string) string { return base64.RawURLEncoding.EncodeToString([]byte(h)) }
	for _, c := range []struct {
		name, compact string
		want          error
	}{
		{"typ missing", compactOf(t, s, `{"alg":"ES256","kid":"`+testKeyID+`"}`, goodPayload), ErrType},
		{"typ JWT", compactOf(t, s, `{"typ":"JWT","alg":"ES256","kid":"`+testKeyID+`"}`, goodPayload), ErrType},
		{"typ dpop+jwt", compactOf(t, s, `{"typ":"dpop+jwt","alg":"ES256","kid":"`+testKeyID+`"}`, goodPayload), ErrType},
		{"typ of the handshake", compactOf(t, s, `{"typ":"keytether-handshake+jwt","alg":"ES256","kid":"`+testKeyID+`"}`, goodPayload), ErrType},
		{"none, no signature", part(`{"typ":"at+jwt","alg":"none"}`) + "." + unsigned + ".", ErrMalformed},
		{"none, some signature", part(`{"typ":"at+jwt","alg":"none"}`) + "." + unsigned + ".AAAA", ErrAlgorithm},
		{"nOnE", compactOf(t, s, `{"typ":"at+jwt","alg":"nOnE","kid":"`+testKeyID+`"}`, goodPayload), ErrAlgorithm},
		{"HS256 with the EC key as secret", hs256(t, s, testKeyID), ErrAlgorithm},
		{"HS256 with the RSA key as secret", hs256(t, rs, "rsa"), ErrAlgorithm},
		{"RS256 named, EC key", compactOf(t, s, `{"typ":"at+jwt","alg":"RS256","kid":"`+testKeyID+`"}`, goodPayload), ErrAlgorithm},
		{"ES256 named, RSA key", compactOf(t, s, `{"typ":"at+jwt","alg":"ES256","kid":"rsa"}`, goodPayload), ErrAlgorithm},
		{"PS256", compactOf(t, rs, `{"typ":"at+jwt","alg":"PS256","kid":"rsa"}`, goodPayload), ErrAlgorithm},
		{"embedded jwk", compactOf(t, attacker, `{"typ":"at+jwt","alg":"ES256","kid":"`+testKeyID+`","jwk":`+jwk+`}`, goodPayload), ErrHeader},
		{"jku", compactOf(t, attacker, `{"typ":"at+jwt","alg":"ES256","kid":"`+testKeyID+`","jku":"https://attacker.example/jwks"}`, goodPayload), ErrHeader},
		{"x5u", compactOf(t, attacker, `{"typ":"at+jwt","alg":"ES256","kid":"`+testKeyID+`","x5u":"https://attacker.example/x"}`, goodPayload), ErrHeader},
		{"x5c", compactOf(t, attacker, `{"typ":"at+jwt","alg":"ES256","kid":"`+testKeyID+`","x5c":["AAAA"]}`, goodPayload), ErrHeader},
		{"crit", compactOf(t, s, `{"typ":"at+jwt","alg":"ES256","kid":"`+testKeyID+`","crit":["exp"],"exp":1}`, goodPayload), ErrHeader},
		{"kid missing", compactOf(t, s, `{"typ":"at+jwt","alg":"ES256"}`, goodPayload), ErrUnknownKey},
		{"kid a path", compactOf(t, s, `{"typ":"at+jwt","alg":"ES256","kid":"../../../../dev/null"}`, goodPayload), ErrUnknownKey},
		{"kid SQL", compactOf(t, s, `{"typ":"at+jwt","alg":"ES256","kid":"x' UNION SELECT 'key"}`, goodPayload), ErrUnknownKey},
		{"kid a URL", compactOf(t, s, `{"typ":"at+jwt","alg":"ES256","kid":"https://attacker.example/key"}`, goodPayload), ErrUnknownKey},
		{"kid with NUL", compactOf(t, s, `{"typ":"at+jwt","alg":"ES256","kid":"`+testKeyID+`\u0000"}`, goodPayload), ErrUnknownKey},
		{"kid twice", compactOf(t, s, `{"typ":"at+jwt","alg":"ES256","kid":"x","kid":"`+testKeyID+`"}`, goodPayload), ErrMalformed},
		{"attacker's key under our kid", compactOf(t, attacker, goodHeader, goodPayload), ErrSignature},
		{"not a token", "opaque", ErrMalformed},
		{"empty", "", ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := Verify(c.compact, keys, expectations()); !errors.Is(err, c.want) || !reflect.DeepEqual(got, AccessClaims{}) {
				t.Errorf("got %+v, %v, want %v", got, err, c.want)
			}
		})
	}
	for _, typ := range []string{"at+jwt", "application/at+jwt", "AT+JWT"} {
		compact := compactOf(t, s, `{"typ":"`+typ+`","alg":"ES256","kid":"`+testKeyID+`"}`, goodPayload)
		if _, err := Verify(compact, keys, expectations()); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

// hs256 signs with the public key's JWK as HMAC secret: key confusion.
func hs256(t *testing.T, s jws.Signer, kid string) string {
	t.Helper()
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"at+jwt","alg":"HS256","kid":"`+kid+`"}`)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(goodPayload))
	mac := hmac.New(sha256.New, s.Public().AppendJWK(nil))
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Invariant: TK-20c, TK-20e
func TestVerifyRefusesClaims(t *testing.T) {
	s := testSigner(t, testKeyID, 1)
	edit := func(old, new string) string {
		if !strings.Contains(goodPayload, old) {
			t.Fatalf("%q is not in the payload", old)
		}
		return strings.Replace(goodPayload, old, new, 1)
	}
	for _, c := range []struct {
		name, payload string
		want          error
	}{
		{"good", goodPayload, nil},
		{"aud an array of one", edit(`"https://api.example.test"`, `["https://api.example.test"]`), nil},
		{"unknown claim", edit(`{"iss"`, `{"z":{"a":[1]},"iss"`), nil},
		{"iss missing", edit(`"iss":"https://auth.example.test",`, ``), ErrClaim},
		{"exp missing", edit(`"exp":1772366700,`, ``), ErrClaim},
		{"iat missing", edit(`"iat":1772366400,`, ``), ErrClaim},
		{"jti missing", edit(`"jti":"jti_1",`, ``), ErrClaim},
		{"aud missing", edit(`"aud":"https://api.example.test",`, ``), ErrClaim},
		{"sub missing", edit(`"sub":"acc_1",`, ``), ErrClaim},
		{"client_id missing", edit(`,"client_id":"example-cli"`, ``), ErrClaim},
		{"sub empty", edit(`"acc_1"`, `""`), ErrClaim},
		{"aud of two", edit(`"https://api.example.test"`, `["https://api.example.test","https://other.example"]`), ErrAudience},
		{"aud twice the same", edit(`"https://api.example.test"`, `["https://api.example.test","https://api.example.test"]`), ErrAudience},
		{"aud of none", edit(`"https://api.example.test"`, `[]`), ErrAudience},
		{"aud another", edit(`https://api.example.test`, `https://api.example.test/`), ErrAudience},
		{"aud a prefix", edit(`https://api.example.test`, `https://api.example`), ErrAudience},
		{"aud a number", edit(`"https://api.example.test"`, `7`), ErrMalformed},
		{"iss another", edit(`https://auth.example.test`, `https://auth.example.test/`), ErrIssuer},
		{"iss twice", edit(`{"iss"`, `{"iss":"https://attacker.example","iss"`), ErrMalformed},
		{"exp twice", edit(`{"iss"`, `{"exp":9999999999,"iss"`), ErrMalformed},
		{"exp a string", edit(`1772366700`, `"1772366700"`), ErrMalformed},
		{"exp null", edit(`1772366700`, `null`), ErrMalformed},
		{"exp negative", edit(`1772366700`, `-1`), ErrMalformed},
		{"exp beyond all time", edit(`1772366700`, `1e300`), ErrMalformed},
		{"expired", edit(`1772366700`, `1772366455`), ErrExpired},
		{"expires within leeway", edit(`1772366700`, `1772366456`), nil},
		{"issued after leeway", edit(`"iat":1772366400`, `"iat":1772366466`), ErrNotYet},
		{"issued within leeway", edit(`"iat":1772366400`, `"iat":1772366465`), nil},
		{"nbf to come", edit(`{"iss"`, `{"nbf":1772366600,"iss"`), ErrNotYet},
		{"cnf without jkt", edit(`{"iss"`, `{"cnf":{"x5t#S256":"AA"},"iss"`), ErrMalformed},
		{"cnf not an object", edit(`{"iss"`, `{"cnf":"x","iss"`), ErrMalformed},
		{"jkt twice", edit(`{"iss"`, `{"cnf":{"jkt":"a","jkt":"b"},"iss"`), ErrMalformed},
		{"act not an object", edit(`{"iss"`, `{"act":"root","iss"`), ErrMalformed},
		{"not JSON", `nope`, ErrMalformed},
		{"empty object", `{}`, ErrClaim},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Verify(compactOf(t, s, goodHeader, c.payload), keySet(t, s), expectations()); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	compact := compactOf(t, s, goodHeader, goodPayload)
	for name, spoil := range map[string]func(*Expectations){
		"no issuer": func(e *Expectations) { e.Issuer = "" }, "no audience": func(e *Expectations) { e.Audience = "" },
		"no clock, no iat": func(e *Expectations) { e.Now = time.Time{} },
	} {
		e := expectations()
		spoil(&e)
		if _, err := Verify(compact, keySet(t, s), e); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Nothing of the payload is believed, or complained about, before the signature holds.
func TestVerifyOrder(t *testing.T) {
	s, other := testSigner(t, testKeyID, 1), testSigner(t, testKeyID, 2)
	for name, c := range map[string]struct {
		compact string
		want    error
	}{
		"type before key":         {compactOf(t, other, `{"typ":"JWT","alg":"ES256","kid":"nobody"}`, `nope`), ErrType},
		"key before signature":    {compactOf(t, other, `{"typ":"at+jwt","alg":"ES256","kid":"nobody"}`, `nope`), ErrUnknownKey},
		"signature before claims": {compactOf(t, other, goodHeader, `nope`), ErrSignature},
	} {
		if _, err := Verify(c.compact, keySet(t, s), expectations()); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No single changed byte of a token leaves it valid.
func TestMutatedTokenNeverVerifies(t *testing.T) {
	s := testSigner(t, testKeyID, 1)
	keys := keySet(t, s)
	good, err := Issue(s, goodClaims())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		bad := []byte(good)
		i, c := rapid.IntRange(0, len(bad)-1).Draw(t, "at"), rapid.Byte().Draw(t, "byte")
		if bad[i] == c {
			return
		}
		bad[i] = c
		if _, err := Verify(string(bad), keys, expectations()); err == nil {
			t.Fatalf("byte %d as %q", i, c)
		}
	})
}

// go-jose's jwt package reads what we issue.
func TestGoJoseReadsOurTokens(t *testing.T) {
	s := testSigner(t, testKeyID, 1)
	compact, err := Issue(s, goodClaims())
	if err != nil {
		t.Fatal(err)
	}
	tok, err := jwt.ParseSigned(compact, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var c jwt.Claims
	if err := tok.Claims(s.Public().Standard(), &c); err != nil {
		t.Fatal(err)
	}
	want := jwt.Expected{Issuer: testIssuer, AnyAudience: jwt.Audience{testResource}, Subject: "acc_1", ID: "jti_1", Time: testNow}
	if err := c.Validate(want); err != nil {
		t.Error(err)
	}
}
