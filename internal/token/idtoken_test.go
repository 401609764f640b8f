package token

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func idClaims() IDClaims {
	return IDClaims{
		Issuer: testIssuer, Subject: "acc_1", Audience: "example-cli", AuthorizedParty: "example-cli", Nonce: "n-0S6_WzA2Mj",
		Email: "person@example.test", EmailVerified: true, ACR: "pwd", GrantID: "grt_1",
		IssuedAt: testNow, ExpiresAt: testNow.Add(5 * time.Minute), AuthTime: testNow.Add(-time.Hour),
	}
}

func idExpectations() Expectations {
	e := expectations()
	e.Audience = "example-cli"
	return e
}

func TestIssueIDVerifyRoundTrip(t *testing.T) {
	es, rs := testSigner(t, "es", 1), testRSASigner(t, "rs")
	keys := keySet(t, es, rs)
	full, least := idClaims(), idClaims()
	least.AuthorizedParty, least.Nonce, least.Email, least.EmailVerified, least.ACR, least.GrantID, least.AuthTime = "", "", "", false, "", "", time.Time{}
	for _, want := range []IDClaims{full, least} {
		for _, s := range []int{0, 1} {
			signer := es
			if s == 1 {
				signer = rs
			}
			compact, err := IssueID(signer, want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := VerifyID(compact, keys, want.Nonce, idExpectations())
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v, %v", got, err)
			}
		}
	}
	for name, drop := range map[string]func(*IDClaims){
		"iss": func(c *IDClaims) { c.Issuer = "" }, "sub": func(c *IDClaims) { c.Subject = "" }, "aud": func(c *IDClaims) { c.Audience = "" },
		"iat": func(c *IDClaims) { c.IssuedAt = time.Time{} }, "exp": func(c *IDClaims) { c.ExpiresAt = time.Time{} },
	} {
		c := idClaims()
		drop(&c)
		if _, err := IssueID(es, c); !errors.Is(err, ErrClaim) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Access tokens and ID tokens are never taken for each other (RFC 8725 §3.11).
//
// Invariant: TK-20a
func TestTokenKindsAreNotConfused(t *testing.T) {
	s := testSigner(t, testKeyID, 1)
	c := goodClaims()
	c.Audience = "example-cli"
	access, err := Issue(s, c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyID(access, keySet(t, s), "", idExpectations()); !errors.Is(err, ErrType) {
		t.Errorf("an access token is an ID token: %v", err)
	}
	id, err := IssueID(s, idClaims())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(id, keySet(t, s), idExpectations()); !errors.Is(err, ErrType) {
		t.Errorf("an ID token is an access token: %v", err)
	}
}

func TestVerifyIDRefuses(t *testing.T) {
	s := testSigner(t, testKeyID, 1)
	const header = `{"alg":"ES256","kid":"` + testKeyID + `"}`
	const good = `{"iss":"https://auth.example.test","sub":"acc_1","aud":"example-cli","exp":1772366700,"iat":1772366400,"nonce":"n"}`
	edit := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	for _, c := range []struct {
		name, payload, nonce string
		want                 error
	}{
		{"good", good, "n", nil},
		{"nonce another", good, "m", ErrNonce},
		{"nonce not asked for", good, "", ErrNonce},
		{"nonce missing", edit(`,"nonce":"n"`, ``), "n", ErrNonce},
		{"aud of two with azp", edit(`"example-cli"`, `["x","example-cli"],"azp":"example-cli"`), "n", nil},
		{"aud of two without azp", edit(`"example-cli"`, `["x","example-cli"]`), "n", ErrAudience},
		{"azp another", edit(`"example-cli"`, `"example-cli","azp":"x"`), "n", ErrAudience},
		{"aud another", edit(`"example-cli"`, `"x"`), "n", ErrAudience},
		{"aud of none", edit(`"example-cli"`, `[]`), "n", ErrClaim},
		{"sub missing", edit(`"sub":"acc_1",`, ``), "n", ErrClaim},
		{"iss another", edit(`auth.example`, `evil.example`), "n", ErrIssuer},
		{"expired", edit(`1772366700`, `1772366401`), "n", ErrExpired},
		{"issued in the future", edit(`1772366400`, `1772366699`), "n", ErrNotYet},
		{"email_verified a string", edit(`"nonce"`, `"email_verified":"true","nonce"`), "n", ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := VerifyID(compactOf(t, s, header, c.payload), keySet(t, s), c.nonce, idExpectations()); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if _, err := VerifyID(compactOf(t, testSigner(t, "", 2), header, good), keySet(t, s), "n", idExpectations()); !errors.Is(err, ErrSignature) {
		t.Errorf("another key: %v", err)
	}
}
