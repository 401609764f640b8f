package secret

import (
	"crypto/sha256"
	"io"
	"strings"
)

// A user code is eight letters of RFC 8628 §6.1's alphabet: consonants alone, so
// that no words come up, and none that is read for another. It is shown as
// XXXX-XXXX. It has 34 bits: enough for the minutes that it lives, as long as
// guesses are limited (limits of package authserver).
const (
	userAlphabet = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLen  = 8

	// UserCodes is how many there are: 20^8.
	UserCodes = 25_600_000_000
)

// NewUserCode makes a user code from random bytes, without bias: bytes beyond
// the largest multiple of 20 are passed over. It fails with ErrMalformed when
// too few are left, which for 32 bytes happens once in 10^9 times.
func NewUserCode(random [32]byte) (string, error) {
	var out [userCodeLen]byte
	n := 0
	for _, b := range random {
		if n < userCodeLen && b < 240 {
			out[n] = userAlphabet[b%20]
			n++
		}
	}
	if n < userCodeLen {
		return "", ErrMalformed
	}
	return string(out[:4]) + "-" + string(out[4:]), nil
}

// ReadUserCode reads what a person typed: in any case, with spaces and dashes
// anywhere, and with the digits and letters that are not in the alphabet taken
// for those that they look like. It gives the code as it was shown.
func ReadUserCode(typed string) (string, error) {
	if len(typed) > 64 {
		return "", ErrMalformed
	}
	var out []byte
	for _, r := range strings.ToUpper(typed) {
		switch r {
		case ' ', '-', '_', '.', '\t', '\u00a0', '\u2010', '\u2011', '\u2013', '\u2014':
			continue
		case '8':
			r = 'B'
		case '6':
			r = 'G'
		case '1', 'I':
			r = 'L'
		case '5':
			r = 'S'
		case 'U', 'Y':
			r = 'V'
		case '2':
			r = 'Z'
		}
		if r > 'Z' || !strings.ContainsRune(userAlphabet, r) || len(out) == userCodeLen {
			return "", ErrMalformed
		}
		out = append(out, byte(r))
	}
	if len(out) != userCodeLen {
		return "", ErrMalformed
	}
	return string(out[:4]) + "-" + string(out[4:]), nil
}

// UserCodeHash is what is kept of a user code. It can be guessed by whoever has
// the database; the code alone grants nothing, and is over in minutes.
func UserCodeHash(code string) Hash {
	h := sha256.New()
	_, _ = io.WriteString(h, "keytether/user-code/v1\x00")
	_, _ = io.WriteString(h, code)
	var out Hash
	h.Sum(out[:0])
	return out
}

// FirstFromDevice derives the first refresh token of a grant from the device
// code that it came of, so that a lost answer can be given again: like Successor,
// with the device code in the place of the presented token.
func FirstFromDevice(key Key, tenant string, deviceCode Value, grant [16]byte, salt Salt) Value {
	return derive(key, tenant, deviceCode, RefreshHandle{Grant: grant}, salt)
}
