// Package redact masks secrets in text that is about to be seen: log lines, a
// child's output, error messages. It is the net below the types of package
// secret, not a replacement for them.
//
// What is recognised, and what is left of it:
//
//   - secrets that Keytether mints, by type and checksum: ktr_[redacted];
//     look-alikes whose checksum is wrong are left alone;
//   - compact JWS and JWE, by a base64url JSON header with "alg" (RFC 7515
//     §7.1), whole or cut off after the header: eyJ[redacted];
//   - private keys in PEM (RFC 7468), whole or cut off:
//     -----BEGIN [redacted];
//   - values of code, code_verifier, handshake_nonce, device_code,
//     access_token and refresh_token in URLs and forms: code=[redacted].
//     After "?" or "&" (in JSON also \u0026) of any length, elsewhere
//     ("exit code=1") from 16 characters on.
//
// A mask begins with the same characters as the secret, so that Writer can let
// these go before it knows.
package redact

import (
	"io"
	"unsafe"
)

const mask = "[redacted]"

// String masks the secrets in s. It gives s itself, without allocating, if
// there are none.
func String(s string) string {
	src := unsafe.Slice(unsafe.StringData(s), len(s)) // read only
	var sc scanner
	at := unknown
	if _, v, _ := sc.next(&at, src, 0, true); v != yes {
		return s
	}
	return string(Bytes(make([]byte, 0, len(s)), src))
}

// Bytes appends src with its secrets masked to dst.
func Bytes(dst, src []byte) []byte {
	var sc scanner
	dst, _, _ = sc.scan(dst, src, true)
	return dst
}

// Writer masks what is written through it, also where a secret is split over
// several writes. What may yet turn out to be a secret is held back, at most
// 2 KiB, until the next write or Close. Not safe for concurrent use.
type Writer struct {
	w    io.Writer
	sc   scanner
	held []byte // not decided yet
	gone int    // bytes of held that were written already: a marker, which stays anyway
	out  []byte
	err  error
}

// NewWriter gives a Writer that writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write implements io.Writer. After an error of the underlying writer it gives
// that error again.
func (w *Writer) Write(p []byte) (int, error) {
	if err := w.push(p, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes what is held back. It does not close the underlying writer.
func (w *Writer) Close() error { return w.push(nil, true) }

func (w *Writer) push(p []byte, final bool) error {
	if w.err != nil {
		return w.err
	}
	src := p
	if len(w.held) > 0 {
		w.held = append(w.held, p...)
		src = w.held
	}
	var rest, marker int
	w.out, rest, marker = w.sc.scan(w.out[:0], src, final)
	skip := w.gone
	w.out = append(w.out, src[rest:rest+marker]...)
	w.gone = marker
	w.held = append(w.held[:0], src[rest:]...)
	if len(w.out) > skip {
		_, w.err = w.w.Write(w.out[skip:])
	}
	if cap(w.out) > 64<<10 {
		w.out = nil
	}
	return w.err
}
