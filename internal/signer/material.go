package signer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"

	"github.com/keytether/keytether/internal/jws"
	"github.com/keytether/keytether/internal/secret"
)

// generate makes the private part of a new key: PKCS #8 for EC and RSA, a seed
// of 32 bytes for Ed25519, 32 bytes for a symmetric key.
func generate(use Use, random io.Reader) ([]byte, error) {
	switch use {
	case SignES256:
		k, err := ecdsa.GenerateKey(elliptic.P256(), random)
		if err != nil {
			return nil, fmt.Errorf("signer: making a P-256 key: %w", err)
		}
		return x509.MarshalPKCS8PrivateKey(k)
	case SignRS256:
		k, err := rsa.GenerateKey(random, rsaBits)
		if err != nil {
			return nil, fmt.Errorf("signer: making an RSA key: %w", err)
		}
		return x509.MarshalPKCS8PrivateKey(k)
	default:
		b := make([]byte, 32)
		if _, err := io.ReadFull(random, b); err != nil {
			return nil, fmt.Errorf("signer: no randomness: %w", err)
		}
		return b, nil
	}
}

// parse turns a private part into what is used; it happens once per load.
func (k *key) parse(material []byte) error {
	bad := func() error { return fmt.Errorf("%w: %s holds no key for %s", ErrSealed, k.ID, k.Use) }
	switch k.Use {
	case SignES256, SignRS256:
		private, err := x509.ParsePKCS8PrivateKey(material)
		if err != nil {
			return bad()
		}
		switch p := private.(type) {
		case *ecdsa.PrivateKey:
			if k.Use != SignES256 {
				return bad()
			}
			k.signer, err = jws.NewES256Signer(k.ID, p, rand.Reader)
		case *rsa.PrivateKey:
			if k.Use != SignRS256 {
				return bad()
			}
			k.signer, err = jws.NewRS256Signer(k.ID, p)
		default:
			return bad()
		}
		if err != nil {
			return bad()
		}
		return nil
	}
	if len(material) != 32 {
		return bad()
	}
	if k.Use == AuditNote {
		k.private = ed25519.NewKeyFromSeed(material)
		return nil
	}
	k.mac = secret.NewKey([32]byte(material))
	return nil
}

// public is what is kept beside the sealed key for a person to look at: a JWK
// for signing keys, nil for symmetric ones.
func (k *key) public() []byte {
	switch {
	case k.signer != nil:
		return k.signer.Public().AppendJWK(nil)
	case k.private != nil:
		pub, err := jws.NewPublicKey(k.private.Public())
		if err != nil {
			return nil
		}
		return pub.AppendJWK(nil)
	}
	return nil
}

// noteSigner signs notes (golang.org/x/mod/sumdb/note) without the private key
// ever being a string.
type noteSigner struct {
	name    string
	hash    uint32
	private ed25519.PrivateKey
}

func newNoteSigner(origin string, private ed25519.PrivateKey) (note.Signer, error) {
	vkey, err := note.NewEd25519VerifierKey(origin, private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	v, err := note.NewVerifier(vkey) // checks the name, computes the hash
	if err != nil {
		return nil, fmt.Errorf("signer: %q cannot name an audit key: %w", origin, err)
	}
	return &noteSigner{name: v.Name(), hash: v.KeyHash(), private: bytes.Clone(private)}, nil
}

func (s *noteSigner) Name() string    { return s.name }
func (s *noteSigner) KeyHash() uint32 { return s.hash }

func (s *noteSigner) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.private, msg), nil }

// String shows the key's name and never the key.
func (s *noteSigner) String() string { return fmt.Sprintf("note signer %s+%08x", s.name, s.hash) }

// Format is String for every verb.
func (s *noteSigner) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }
