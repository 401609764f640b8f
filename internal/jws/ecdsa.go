package jws

import "fmt"

const (
	sizeES256 = 64 // r||s, RFC 7518 §3.4
	maxDER    = 72 // SEQUENCE of two INTEGERs of at most 33 bytes
)

// appendDER turns r||s into the ASN.1 that crypto/ecdsa takes. Range checks of r
// and s are crypto/ecdsa's.
func appendDER(dst, sig []byte) []byte {
	r, s := trim(sig[:32]), trim(sig[32:])
	rPad, sPad := int(r[0]>>7), int(s[0]>>7)
	dst = append(dst, 0x30, byte(4+rPad+len(r)+sPad+len(s)))
	dst = appendDERInt(dst, r)
	return appendDERInt(dst, s)
}

func appendDERInt(dst, n []byte) []byte {
	pad := n[0] >> 7
	dst = append(dst, 0x02, byte(len(n))+pad)
	if pad == 1 {
		dst = append(dst, 0)
	}
	return append(dst, n...)
}

// trim drops leading zeros but keeps one byte.
func trim(n []byte) []byte {
	for len(n) > 1 && n[0] == 0 {
		n = n[1:]
	}
	return n
}

// ES256FromASN1 turns the ASN.1 signature that crypto.Signer, a TPM library or
// PKCS#11 wrapper gives for P-256 into the 64 bytes r||s of a JWS. Anything but
// the DER of two positive integers of at most 32 bytes is ErrMalformed.
func ES256FromASN1(der []byte) ([]byte, error) {
	bad := fmt.Errorf("%w: not a P-256 signature in ASN.1", ErrMalformed)
	if len(der) < 8 || len(der) > maxDER || der[0] != 0x30 || int(der[1]) != len(der)-2 {
		return nil, bad
	}
	out := make([]byte, sizeES256)
	rest := der[2:]
	for _, half := range [][]byte{out[:32], out[32:]} {
		if len(rest) < 3 || rest[0] != 0x02 {
			return nil, bad
		}
		n := int(rest[1])
		if n < 1 || n > 33 || len(rest) < 2+n {
			return nil, bad
		}
		v := rest[2 : 2+n]
		rest = rest[2+n:]
		if v[0] >= 0x80 || n > 1 && v[0] == 0 && v[1] < 0x80 {
			return nil, bad // negative, or not minimal
		}
		if v = trim(v); len(v) > 32 || v[0] == 0 {
			return nil, bad
		}
		copy(half[32-len(v):], v)
	}
	if len(rest) != 0 {
		return nil, bad
	}
	return out, nil
}
