package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/jws"
)

// strangersProof is a proof by a key that the token is not bound to: what
// somebody can make who has the token and not the key.
func strangersProof(method, url, token string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	s, err := jws.NewES256Signer("", key, rand.Reader)
	if err != nil {
		return "", err
	}
	return dpop.New(s, dpop.Request{Method: method, URL: url, AccessToken: token, IssuedAt: time.Now(), ID: rand.Text()})
}
