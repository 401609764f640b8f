package secret

import (
	"errors"
	"hash/crc32"
	"math/big"
	"strings"
)

// Kind is the type of a minted secret: its first four characters.
type Kind string

// The kinds that Keytether mints.
const (
	Refresh    Kind = "ktr_" // refresh token
	Code       Kind = "ktc_" // authorization code
	Device     Kind = "ktd_" // device code (RFC 8628)
	RequestURI Kind = "ktu_" // handle inside urn:ietf:params:oauth:request_uri: (RFC 9126 §2.2)
	Session    Kind = "kts_" // browser session cookie
	Initial    Kind = "kti_" // initial access token of client registration (RFC 7591 §3)
	Proxy      Kind = "ktp_" // what a tool shows to `keytether proxy` over TCP, for one run
)

// Kinds lists every kind, for those who look for secrets in text.
func Kinds() []Kind { return []Kind{Refresh, Code, Device, RequestURI, Session, Initial, Proxy} }

// RequestURIPrefix stands before a RequestURI secret on the wire (RFC 9126 §2.2).
const RequestURIPrefix = "urn:ietf:params:oauth:request_uri:"

// ErrMalformed is returned for a string that is no secret of the asked kind:
// wrong prefix, alphabet, length or checksum.
var ErrMalformed = errors.New("secret: malformed")

// ChecksumLen is how many characters at the end of a secret are its checksum. They
// follow from the others and are no secret alone.
const ChecksumLen = 6

const (
	checksumLen = ChecksumLen
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// Body lengths in bytes.
const (
	bodyLen    = 32
	refreshLen = 16 + 4 + 32 + 16
)

func (k Kind) bodyLen() int {
	if k == Refresh {
		return refreshLen
	}
	return bodyLen
}

// EncodedLen is the length in characters of a whole secret of kind k.
func (k Kind) EncodedLen() int { return len(k) + encodedLen(k.bodyLen()) + checksumLen }

// Mint renders 32 random bytes as a secret of kind k (not for Refresh, whose
// body SealRefresh makes).
func Mint(k Kind, random [32]byte) Value { return mint(k, random[:]) }

func mint(k Kind, body []byte) Value {
	out := make([]byte, 0, k.EncodedLen())
	out = append(out, k...)
	out = appendBase62(out, body)
	out = appendChecksum(out)
	return Value{s: string(out)}
}

// Parse checks prefix, length, alphabet and checksum of s and gives its body.
func Parse(k Kind, s string) ([]byte, error) {
	if len(s) != k.EncodedLen() || !strings.HasPrefix(s, string(k)) {
		return nil, ErrMalformed
	}
	head := s[:len(s)-checksumLen]
	if string(appendChecksum([]byte(head))) != s {
		return nil, ErrMalformed
	}
	return decodeBase62(head[len(k):], k.bodyLen())
}

// ParseRequestURI takes the whole urn and gives the secret in it.
func ParseRequestURI(urn string) (Value, error) {
	s, ok := strings.CutPrefix(urn, RequestURIPrefix)
	if !ok {
		return Value{}, ErrMalformed
	}
	if _, err := Parse(RequestURI, s); err != nil {
		return Value{}, err
	}
	return Value{s: s}, nil
}

// appendChecksum appends the CRC32 (IEEE) of all that b holds, in six base62
// characters (62^6 > 2^32).
func appendChecksum(b []byte) []byte {
	sum := crc32.ChecksumIEEE(b)
	var tail [checksumLen]byte
	for i := checksumLen - 1; i >= 0; i-- {
		tail[i] = base62[sum%62]
		sum /= 62
	}
	return append(b, tail[:]...)
}

// encodedLen is how many base62 characters hold n bytes.
func encodedLen(n int) int {
	switch n {
	case bodyLen:
		return 43
	case refreshLen:
		return 92
	}
	return (n*8*1000 + 5953) / 5954 // log2(62) = 5.954…
}

// appendBase62 appends b as one big-endian number, in fixed width.
func appendBase62(dst, b []byte) []byte {
	words := make([]uint32, (len(b)+3)/4)
	for i := range b { // big-endian 32-bit words, right aligned
		j := len(b) - 1 - i
		words[len(words)-1-i/4] |= uint32(b[j]) << (8 * (i % 4))
	}
	n := encodedLen(len(b))
	start := len(dst)
	dst = append(dst, make([]byte, n)...)
	// Five digits a round: 62^5 < 2^30.
	const chunk = 62 * 62 * 62 * 62 * 62
	for pos := n; pos > 0; {
		var rem uint64
		for i := range words {
			cur := rem<<32 | uint64(words[i])
			words[i] = uint32(cur / chunk)
			rem = cur % chunk
		}
		for k := 0; k < 5 && pos > 0; k++ {
			pos--
			dst[start+pos] = base62[rem%62]
			rem /= 62
		}
	}
	return dst
}

func decodeBase62(s string, n int) ([]byte, error) {
	v := new(big.Int)
	for i := 0; i < len(s); {
		var chunk, mul uint64 = 0, 1
		for k := 0; k < 10 && i < len(s); k++ {
			d := strings.IndexByte(base62, s[i])
			if d < 0 {
				return nil, ErrMalformed
			}
			chunk = chunk*62 + uint64(d)
			mul *= 62
			i++
		}
		v.Mul(v, new(big.Int).SetUint64(mul))
		v.Add(v, new(big.Int).SetUint64(chunk))
	}
	if v.BitLen() > n*8 {
		return nil, ErrMalformed
	}
	return v.FillBytes(make([]byte, n)), nil
}
