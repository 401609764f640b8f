package token

import (
	"errors"
	"testing"
)

// FuzzVerify signs whatever payload and header the fuzzer writes, so that it gets
// past the signature: what is accepted has all that is required, and every error
// is one of ours.
func FuzzVerify(f *testing.F) {
	s := testSigner(f, testKeyID, 1)
	keys := keySet(f, s)
	f.Add(goodHeader, goodPayload)
	f.Add(goodHeader, `{"aud":["https://api.example.test"],"cnf":{"jkt":"a"},"act":{"sub":"b"}}`)
	f.Add(`{"alg":"ES256","kid":"`+testKeyID+`"}`, `{"aud":["a","example-cli"],"azp":"example-cli","email_verified":true}`)
	f.Fuzz(func(t *testing.T, header, payload string) {
		compact := compactOf(t, s, header, payload)
		c, err := Verify(compact, keys, expectations())
		if err == nil && (c.Issuer != testIssuer || c.Audience != testResource || c.Subject == "" || c.ClientID == "" || c.ID == "" || !c.ExpiresAt.After(testNow)) {
			t.Fatalf("accepted %+v", c)
		}
		if err != nil && !known(err) {
			t.Fatalf("not one of our errors: %v", err)
		}
		if _, err := VerifyID(compact, keys, "", idExpectations()); err != nil && !known(err) {
			t.Fatalf("not one of our errors: %v", err)
		}
	})
}

func known(err error) bool {
	for _, e := range []error{
		ErrMalformed, ErrType, ErrAlgorithm, ErrHeader, ErrUnknownKey, ErrSignature, ErrClaim,
		ErrIssuer, ErrAudience, ErrExpired, ErrNotYet, ErrNonce,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
