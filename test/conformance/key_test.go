package conformance

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"
)

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func hash(s string) string { sum := sha256.Sum256([]byte(s)); return b64(sum[:]) }

// key signs whatever it is told to: the attacker's tool, and so not package jws.
type key struct {
	alg  string // ES256, ES384, RS256, EdDSA
	priv crypto.Signer
}

func newKey(alg string) *key {
	k := &key{alg: alg}
	var err error
	switch alg {
	case "ES256":
		k.priv, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		k.priv, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "RS256":
		k.priv, err = rsa.GenerateKey(rand.Reader, 2048)
	case "EdDSA":
		_, k.priv, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		panic(err)
	}
	return k
}

// jwk is the public key (RFC 7517, 7518 §6, 8037 §2).
func (k *key) jwk() map[string]any {
	switch p := k.priv.Public().(type) {
	case *ecdsa.PublicKey:
		raw, err := p.Bytes()
		if err != nil {
			panic(err)
		}
		n := (len(raw) - 1) / 2
		return map[string]any{"kty": "EC", "crv": p.Curve.Params().Name, "x": b64(raw[1 : 1+n]), "y": b64(raw[1+n:])}
	case *rsa.PublicKey:
		return map[string]any{"kty": "RSA", "n": b64(p.N.Bytes()), "e": b64(big.NewInt(int64(p.E)).Bytes())}
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(p)}
	}
	panic("no such key")
}

// thumb is the RFC 7638 thumbprint: a map is encoded in the order of its names.
func (k *key) thumb() string {
	raw, err := json.Marshal(k.jwk())
	if err != nil {
		panic(err)
	}
	return hash(string(raw))
}

func (k *key) pem() string {
	der, err := x509.MarshalPKCS8PrivateKey(k.priv)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// sign makes a compact JWS of any header and claims. A string is taken as it is.
func (k *key) sign(header, claims any) string {
	input := part(header) + "." + part(claims)
	digest := sha256.Sum256([]byte(input))
	var sig []byte
	var err error
	switch p := k.priv.(type) {
	case *ecdsa.PrivateKey:
		d := digest[:]
		size := (p.Curve.Params().BitSize + 7) / 8
		if size > 32 {
			long := sha512.Sum384([]byte(input))
			d = long[:]
		}
		r, s, e := ecdsa.Sign(rand.Reader, p, d)
		sig, err = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...), e
	case *rsa.PrivateKey:
		sig, err = rsa.SignPKCS1v15(rand.Reader, p, crypto.SHA256, digest[:])
	case ed25519.PrivateKey:
		sig = ed25519.Sign(p, []byte(input))
	}
	if err != nil {
		panic(err)
	}
	return input + "." + b64(sig)
}

func part(v any) string {
	if s, ok := v.(string); ok {
		return b64([]byte(s))
	}
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b64(raw)
}

// hs256 signs with a shared secret, such as somebody's public key.
func hs256(header, claims any, secret []byte) string {
	input := part(header) + "." + part(claims)
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(input))
	return input + "." + b64(m.Sum(nil))
}

// jose is a JSON object on its way into a JWS.
type jose = map[string]any

// proof makes a DPoP proof (RFC 9449 §4.2), bent by the functions.
func (k *key) proof(method, url, nonce string, bend ...func(header, claims jose)) string {
	h := jose{"typ": "dpop+jwt", "alg": k.alg, "jwk": k.jwk()}
	c := jose{"htm": method, "htu": url, "iat": time.Now().Unix(), "jti": rand.Text()}
	if nonce != "" {
		c["nonce"] = nonce
	}
	for _, f := range bend {
		f(h, c)
	}
	return k.sign(h, c)
}

// ath adds the hash of an access token.
func ath(token string) func(header, claims jose) {
	return func(_, c jose) { c["ath"] = hash(token) }
}

// claims reads a JWT without checking it.
func claims(jwt string) (header, body jose, err error) {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return nil, nil, wrong("%d parts in a JWT", len(parts))
	}
	for i, into := range []*jose{&header, &body} {
		raw, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return nil, nil, wrong("part %d of a JWT: %v", i, err)
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return nil, nil, wrong("part %d of a JWT: %v", i, err)
		}
	}
	return header, body, nil
}

// num is a NumericDate.
func num(v any) (time.Time, error) {
	f, ok := v.(float64)
	if !ok {
		return time.Time{}, wrong("%v is no NumericDate", v)
	}
	return time.Unix(int64(f), 0), nil
}

func oneOf(v any, list any) bool {
	for _, x := range asList(list) {
		if fmt.Sprint(x) == fmt.Sprint(v) {
			return true
		}
	}
	return false
}

func asList(v any) []any {
	l, ok := v.([]any)
	if !ok && v != nil {
		return []any{v}
	}
	return l
}
