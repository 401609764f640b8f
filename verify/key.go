package verify

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/secret"
)

// assertionType is RFC 7523 §2.2's.
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// LoadKey reads a private key for Options.Key from a PEM file: PKCS #8 ("PRIVATE
// KEY") or SEC 1 ("EC PRIVATE KEY"), not encrypted. Errors are ErrKey. The file
// should be readable by the API's own user alone.
func LoadKey(file string) (crypto.Signer, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			return nil, fmt.Errorf("%w: %s holds no PRIVATE KEY in PEM", ErrKey, file)
		}
		var key any
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default: // EC PARAMETERS and the like stand before the key
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: not a private key in the form that its header says", ErrKey, file)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("%w: %s: this kind of key does not sign", ErrKey, file)
		}
		if _, err := jws.NewPublicKey(signer.Public()); err != nil {
			return nil, fmt.Errorf("%w: %s: %w; take P-256, Ed25519, or RSA of at least 2048 bits", ErrKey, file, err)
		}
		return signer, nil
	}
}

// PublicKeySet is the JWK Set (RFC 7517 §5) with the public half of a key: what
// the issuer's config names as the resource's jwks_file. KeyID may be empty.
// Errors are ErrKey.
func PublicKeySet(key crypto.Signer, keyID string) ([]byte, error) {
	public, err := jws.NewPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	set, err := jws.NewSet(jws.Entry{KeyID: keyID, Key: public})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return set.MarshalJSON()
}

// assertion makes a client assertion, good for one request (RFC 7523 §3).
func (v *Verifier) assertion(now time.Time) (secret.Value, error) {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	b := append([]byte(nil), `{"iss":`...)
	b = jws.AppendString(b, v.resource)
	b = append(b, `,"sub":`...)
	b = jws.AppendString(b, v.resource)
	b = append(b, `,"aud":`...)
	b = jws.AppendString(b, v.issuer)
	b = append(b, `,"iat":`...)
	b = strconv.AppendInt(b, now.Unix(), 10)
	b = append(b, `,"exp":`...)
	b = strconv.AppendInt(b, now.Add(assertionLife).Unix(), 10)
	b = append(b, `,"jti":`...)
	b = jws.AppendString(b, base64.RawURLEncoding.EncodeToString(random[:]))
	s, err := jws.Sign(v.signer, "JWT", append(b, '}'))
	if err != nil {
		return secret.Value{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return secret.New(s), nil
}
