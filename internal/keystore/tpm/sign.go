package tpm

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"

	"github.com/google/go-tpm/tpm2"

	"github.com/keytether/keytether/internal/jws"
)

var errSignature = errors.New("tpm: the TPM gave a signature that does not fit the key")

// keyTemplate is what a proof key is: for ES256 and nothing else (RFC 7518 section 3.4), drawn
// by the chip, and fixed to it. It has no password, since there is no place for one that would
// be safer than the file. noDA keeps wrong passwords for other things from locking it.
func keyTemplate() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM: true, FixedParent: true, SensitiveDataOrigin: true,
			UserWithAuth: true, NoDA: true, SignEncrypt: true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
	}
}

// checkKey refuses a key whose private part the chip did not draw, or would give out. Whoever
// can write to the file could have the chip wrap a key of theirs, but not with these attributes.
func checkKey(public *tpm2.TPMTPublic) error {
	if public.Type != tpm2.TPMAlgECC || public.ObjectAttributes != keyTemplate().ObjectAttributes {
		return fmt.Errorf("%w: the key was not made by a TPM for this", errDamaged)
	}
	return nil
}

// makeKey has the chip make a proof key.
func (c *chip) makeKey(ctx context.Context) (blob, error) {
	return work(ctx, c, func(l *link) (blob, error) { return l.create(keyTemplate(), nil) })
}

// publicKey reads the public half of a proof key.
func publicKey(b blob) (*jws.PublicKey, error) {
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](b.Pub)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	contents, err := public.Contents()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if err := checkKey(contents); err != nil {
		return nil, err
	}
	std, err := tpm2.Pub(*contents)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	pub, err := jws.NewPublicKey(std)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	return pub, nil
}

// sign gives r and s, 32 bytes each. The signature is verified: a chip that was restarted may
// have another object at the handle, and a wrong one is worth another try.
func (c *chip) sign(ctx context.Context, b blob, pub *jws.PublicKey, input []byte) ([]byte, error) {
	std, ok := pub.Standard().(*ecdsa.PublicKey)
	if !ok {
		return nil, errDamaged
	}
	digest := sha256.Sum256(input)
	return work(ctx, c, func(l *link) ([]byte, error) {
		if err := l.load(b, checkKey); err != nil {
			return nil, err
		}
		rsp, err := tpm2.Sign{
			KeyHandle:  tpm2.AuthHandle{Handle: l.child.Handle, Name: l.child.Name, Auth: tpm2.PasswordAuth(nil)},
			Digest:     tpm2.TPM2BDigest{Buffer: digest[:]},
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck},
		}.Execute(l.tpm)
		if err != nil {
			return nil, err
		}
		sig, err := rsp.Signature.Signature.ECDSA()
		if err != nil || len(sig.SignatureR.Buffer) > 32 || len(sig.SignatureS.Buffer) > 32 {
			return nil, errSignature
		}
		r, s := new(big.Int).SetBytes(sig.SignatureR.Buffer), new(big.Int).SetBytes(sig.SignatureS.Buffer)
		if !ecdsa.Verify(std, digest[:], r, s) {
			return nil, errSignature
		}
		out := make([]byte, 64)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out, nil
	})
}
