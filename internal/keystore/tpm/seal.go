package tpm

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/google/go-tpm/tpm2"
	"golang.org/x/crypto/chacha20poly1305"
)

// box is bytes of any length that only the chip can open: under XChaCha20-Poly1305 with a key of
// their own, and that key sealed to the chip, which takes 128 bytes at most.
type box struct {
	Key   blob   `json:"key"`
	Nonce []byte `json:"nonce"`
	Data  []byte `json:"data"`
}

func sealTemplate() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type:             tpm2.TPMAlgKeyedHash,
		NameAlg:          tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{FixedTPM: true, FixedParent: true, UserWithAuth: true, NoDA: true},
	}
}

func checkSeal(public *tpm2.TPMTPublic) error {
	if public.Type != tpm2.TPMAlgKeyedHash || public.ObjectAttributes != sealTemplate().ObjectAttributes {
		return fmt.Errorf("%w: the seal was not made by a TPM for this", errDamaged)
	}
	return nil
}

// seal puts data into a box that opens for the same about alone.
func (c *chip) seal(ctx context.Context, about, data []byte) (box, error) {
	key, nonce := make([]byte, chacha20poly1305.KeySize), make([]byte, chacha20poly1305.NonceSizeX)
	_, _ = rand.Read(key) // never fails
	_, _ = rand.Read(nonce)
	// The chip's work may go on after we have left it, so the key that we clear is a copy.
	own := append([]byte(nil), key...)
	defer clear(own)
	sealed, err := work(ctx, c, func(l *link) (blob, error) {
		b, err := l.create(sealTemplate(), key)
		if err == nil {
			clear(key)
		}
		return b, err
	})
	if err != nil {
		return box{}, err
	}
	b, err := sealWith(own, nonce, about, data)
	b.Key = sealed
	return b, err
}

func sealWith(key, nonce, about, data []byte) (box, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return box{}, err
	}
	return box{Nonce: nonce, Data: aead.Seal(nil, nonce, data, about)}, nil
}

// open gives what is in the box. The caller clears it.
func (c *chip) open(ctx context.Context, about []byte, b box) ([]byte, error) {
	key, err := c.unseal(ctx, b.Key)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return openWith(key, about, b)
}

func (c *chip) unseal(ctx context.Context, b blob) ([]byte, error) {
	return work(ctx, c, func(l *link) ([]byte, error) {
		if err := l.load(b, checkSeal); err != nil {
			return nil, err
		}
		auth := l.session(tpm2.AESEncryption(128, tpm2.EncryptOut)) // the command has no parameter
		rsp, err := tpm2.Unseal{
			ItemHandle: tpm2.AuthHandle{Handle: l.child.Handle, Name: l.child.Name, Auth: auth},
		}.Execute(l.tpm)
		if err != nil {
			return nil, err
		}
		return rsp.OutData.Buffer, nil
	})
}

func openWith(key, about []byte, b box) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil || len(b.Nonce) != aead.NonceSize() {
		return nil, errDamaged
	}
	data, err := aead.Open(nil, b.Nonce, b.Data, about)
	if err != nil {
		return nil, fmt.Errorf("%w: a sealed entry was changed or moved", errDamaged)
	}
	return data, nil
}
