package signer

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// A sealed key is
//
//	0x01 | 24 byte nonce | XChaCha20-Poly1305( NotBefore | private part )
//
// NotBefore is int64 microseconds since 1970, big-endian: it is sealed, so that
// who can write to the database cannot make a key sign early. The cipher's key
// is HKDF-SHA256 of the root key for the use; tenant, use and id are
// authenticated with it, so that no key can be put in another's place.
const (
	sealVersion  = 1
	sealInfo     = "keytether/seal/v1/"
	sealOverhead = 1 + chacha20poly1305.NonceSizeX
	startLen     = 8
)

func (r *Root) seal(tenant string, use Use, keyID string, start time.Time, material []byte, random io.Reader) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(r.derive(use))
	if err != nil {
		return nil, fmt.Errorf("signer: %w", err)
	}
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, startLen+len(material)), uint64(start.UnixMicro()))
	plain = append(plain, material...)
	out := make([]byte, sealOverhead, sealOverhead+len(plain)+aead.Overhead())
	out[0] = sealVersion
	if _, err := io.ReadFull(random, out[1:sealOverhead]); err != nil {
		return nil, fmt.Errorf("signer: no randomness: %w", err)
	}
	return aead.Seal(out, out[1:sealOverhead], plain, sealContext(tenant, use, keyID)), nil
}

func (r *Root) unseal(tenant string, use Use, keyID string, sealed []byte) (time.Time, []byte, error) {
	if len(sealed) < sealOverhead+chacha20poly1305.Overhead+startLen {
		return time.Time{}, nil, fmt.Errorf("%w: %s is cut off", ErrSealed, keyID)
	}
	if sealed[0] != sealVersion {
		return time.Time{}, nil, fmt.Errorf("%w: %s has version %d, made by a newer Keytether; run that one",
			ErrSealed, keyID, sealed[0])
	}
	aead, err := chacha20poly1305.NewX(r.derive(use))
	if err != nil {
		return time.Time{}, nil, fmt.Errorf("signer: %w", err)
	}
	plain, err := aead.Open(nil, sealed[1:sealOverhead], sealed[sealOverhead:], sealContext(tenant, use, keyID))
	if err != nil {
		return time.Time{}, nil, fmt.Errorf("%w: %s (%s) was sealed under another root key, or changed since. "+
			"The root key in use is that of %s. Put the right root key there, from your backup; "+
			"without it this database's keys cannot be opened by anybody", ErrWrongRoot, keyID, use, r.source)
	}
	start := time.UnixMicro(int64(binary.BigEndian.Uint64(plain))).UTC()
	return start, plain[startLen:], nil
}

// derive gives the cipher's key for one use (RFC 5869).
func (r *Root) derive(use Use) []byte {
	k, err := hkdf.Key(sha256.New, r.key.Bytes(), nil, sealInfo+string(use), chacha20poly1305.KeySize)
	if err != nil {
		panic("signer: HKDF of 32 bytes failed: " + err.Error()) // only for more than 8160 bytes
	}
	return k
}

// sealContext joins the three names, each behind its length, so that no two
// contexts are the same bytes.
func sealContext(tenant string, use Use, keyID string) []byte {
	var b []byte
	for _, s := range []string{tenant, string(use), keyID} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return b
}
