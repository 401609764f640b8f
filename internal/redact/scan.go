package redact

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"hash/crc32"

	"github.com/keytether/keytether/internal/secret"
)

// Bounds.
const (
	maxHeader   = 2048 // characters of a JWS header
	maxLabel    = 40   // characters of a PEM label
	minValue    = 16   // characters of a parameter's value outside a query
	checksumLen = 6
	maxMarker   = len("handshake_nonce=")
)

const (
	pemBegin = "-----BEGIN "
	pemEnd   = "-----"
)

// escapedAnd is "&" as encoders write it that want JSON to be fit for HTML, Go's own among them.
const escapedAnd = `\u0026`

// names of the parameters whose values are secret.
var names = []string{"code", "code_verifier", "handshake_nonce", "device_code", "access_token", "refresh_token"}

// mintedLen is the whole length of a minted secret by its third character.
var mintedLen = func() (t [256]int) {
	for _, k := range secret.Kinds() {
		t[k[2]] = k.EncodedLen()
	}
	return t
}()

// Character classes.
const (
	base62Char = 1 << iota
	base64Char // base64url
	wordChar   // may stand in a name
	valueChar  // may stand in a parameter's value; a superset of the above
	pemChar    // may stand between a PEM key's lines; a superset of the above
	labelChar  // may stand in a PEM label
)

var class = func() (t [256]uint8) {
	for c := range 256 {
		b := byte(c)
		upper, digit := b >= 'A' && b <= 'Z', b >= '0' && b <= '9'
		switch {
		case upper, digit, b >= 'a' && b <= 'z':
			t[c] = base62Char | base64Char | wordChar | valueChar | pemChar
		case b == '-', b == '_':
			t[c] = base64Char | wordChar | valueChar | pemChar
		case bytes.IndexByte([]byte(".~%+/=:@!$*"), b) >= 0:
			t[c] = valueChar | pemChar
		case bytes.IndexByte([]byte(" \t\r\n\\,"), b) >= 0:
			t[c] = pemChar
		}
		if upper || digit || b == ' ' {
			t[c] |= labelChar
		}
	}
	return t
}()

// mode is within what kind of secret of unknown length a scanner is.
type mode uint8

const (
	inText   mode = iota
	inValue       // a parameter's value, or what follows a JWS header
	inPEM         // between the lines
	inDashes      // dashes that may begin the END line
	inLabel       // the label of the END line
	inLast        // the dashes that end it
)

// scanner masks a stream. The zero value is at its beginning.
type scanner struct {
	mode   mode
	dashes int
	base   int  // where the present stretch of text begins in the source
	prev   byte // the character before it; ']' after a mask; 0 at the beginning
}

// scan appends the masked form of src[:rest]. What follows from rest on may
// yet become a secret; its first marker bytes stay whatever it is. With final,
// rest is all.
func (s *scanner) scan(dst, src []byte, final bool) (out []byte, rest, marker int) {
	pos := 0
	at := unknown
	for {
		if s.mode != inText {
			pos += s.swallow(src[pos:])
			if s.mode != inText {
				return dst, pos, 0
			}
		}
		s.base = pos
		if pos > 0 && beginsWithName(src[pos:]) {
			at[param] = pos // a mask came before it, so that it is a name now
		}
		m, v, hold := s.next(&at, src, pos, final)
		if v != yes {
			dst = append(dst, src[pos:hold]...)
			if hold > pos {
				s.prev = s.before(src, hold)
			}
			return dst, hold, s.markerAt(src, hold)
		}
		dst = append(dst, src[pos:m.start+m.marker]...)
		dst = append(dst, mask...)
		pos = m.end
		s.mode, s.dashes, s.prev = m.mode, 0, ']'
	}
}

// swallow passes over what is masked and says how much.
func (s *scanner) swallow(src []byte) int {
	for i, c := range src {
		switch s.mode {
		case inText:
			return i
		case inValue:
			if class[c]&valueChar == 0 {
				s.mode = inText
				return i
			}
		case inPEM, inDashes:
			switch {
			case c == '-':
				s.mode = inDashes
				s.dashes++
			case s.dashes >= len(pemEnd) && c == 'E': // of END; another BEGIN does not end it
				s.mode, s.dashes = inLabel, 0
			case class[c]&pemChar != 0:
				s.mode, s.dashes = inPEM, 0
			default:
				s.mode = inText
				return i
			}
		case inLabel, inLast:
			switch {
			case c == '-':
				s.mode = inLast
				if s.dashes++; s.dashes == len(pemEnd) {
					s.mode = inText
				}
			case s.mode == inLabel && class[c]&labelChar != 0:
			default:
				s.mode = inPEM // no END line after all
				s.dashes = 0
				if class[c]&pemChar == 0 {
					s.mode = inText
					return i
				}
			}
		}
	}
	return len(src)
}

// match is a secret: src[start:start+marker] stays, up to end it is masked,
// and what follows in mode as well.
type match struct {
	start, marker, end int
	mode               mode
}

type verdict uint8

const (
	no verdict = iota
	yes
	more // the end of the source came first
)

// markers are where the next marker of each kind is, found lazily; len(src)
// when there is none.
type markers [4]int

var unknown = markers{-1, -1, -1, -1}

// next finds the first secret at or after pos. If there is none (v is not
// yes), everything before hold is clear.
func (s *scanner) next(at *markers, src []byte, pos int, final bool) (m match, v verdict, hold int) {
	for {
		first := 0
		for k := range at {
			if at[k] < pos {
				at[k] = s.find(k, src, pos)
			}
			if at[k] < at[first] {
				first = k
			}
		}
		start := at[first]
		if start == len(src) {
			break
		}
		m, v = s.check(first, src, start)
		if v == yes || v == more && !final {
			return m, v, start
		}
		at[first] = s.find(first, src, start+1)
	}
	if final {
		return m, no, len(src)
	}
	for q := max(pos, len(src)-maxMarker); q < len(src); q++ {
		if s.partial(src, q) {
			return m, more, q
		}
	}
	return m, no, len(src)
}

// The kinds of markers.
const (
	minted = iota
	jws
	param
	pem
)

// find gives the start of the next whole marker of a kind at or after pos, or
// len(src).
func (s *scanner) find(kind int, src []byte, pos int) int {
	switch kind {
	case minted:
		for i := pos + 3; i < len(src); i++ {
			j := bytes.IndexByte(src[i:], '_')
			if j < 0 {
				break
			}
			i += j
			if src[i-3] == 'k' && src[i-2] == 't' && mintedLen[src[i-1]] > 0 {
				return i - 3
			}
		}
	case jws:
		for i := pos + 2; i < len(src); i++ {
			j := bytes.IndexByte(src[i:], 'J')
			if j < 0 {
				break
			}
			i += j
			if src[i-2] == 'e' && src[i-1] == 'y' {
				return i - 2
			}
		}
	case param:
		for i := pos + 4; i < len(src); i++ {
			j := bytes.IndexByte(src[i:], '=')
			if j < 0 {
				break
			}
			i += j
			if n := nameBefore(src[pos:i]); n > 0 && s.boundary(src, i-n) {
				return i - n
			}
		}
	case pem:
		if pos < len(src) {
			if j := bytes.Index(src[pos:], []byte(pemBegin)); j >= 0 {
				return pos + j
			}
		}
	}
	return len(src)
}

// nameBefore is the length of the longest parameter name that b ends in.
func nameBefore(b []byte) int {
	switch b[len(b)-1] {
	case 'e', 'r', 'n': // the last letters of the names
	default:
		return 0
	}
	n := 0
	for _, name := range names {
		if len(name) > n && len(b) >= len(name) && string(b[len(b)-len(name):]) == name {
			n = len(name)
		}
	}
	return n
}

// beginsWithName reports whether b begins with a parameter name and "=".
func beginsWithName(b []byte) bool {
	for _, name := range names {
		if len(b) > len(name) && b[len(name)] == '=' && string(b[:len(name)]) == name {
			return true
		}
	}
	return false
}

// before is the character before src[i]. An ampersand stands in JSON in two ways.
func (s *scanner) before(src []byte, i int) byte {
	switch {
	case i == s.base:
		return s.prev
	case i-len(escapedAnd) >= s.base && string(src[i-len(escapedAnd):i]) == escapedAnd:
		return '&'
	}
	return src[i-1]
}

func (s *scanner) boundary(src []byte, i int) bool { return class[s.before(src, i)]&wordChar == 0 }

// partial reports whether src[q:] is the beginning of a marker.
func (s *scanner) partial(src []byte, q int) bool {
	t := string(src[q:])
	begins := func(whole string) bool { return len(t) < len(whole) && whole[:len(t)] == t }
	switch t[0] {
	case 'k':
		return len(t) < 4 && "kt"[:min(2, len(t))] == t[:min(2, len(t))] && (len(t) < 3 || mintedLen[t[2]] > 0)
	case 'e':
		return begins("eyJ")
	case '-':
		return begins(pemBegin)
	case '\\':
		return begins(escapedAnd)
	}
	if !s.boundary(src, q) {
		return false
	}
	for _, name := range names {
		if len(t) <= len(name) && name[:len(t)] == t {
			return true
		}
	}
	return false
}

// markerAt is how much of src[hold:] stays even if it becomes a secret.
func (s *scanner) markerAt(src []byte, hold int) int {
	rest := src[hold:]
	switch {
	case len(rest) == 0:
		return 0
	case bytes.HasPrefix(rest, []byte("kt")) && len(rest) >= 4:
		return 4
	case bytes.HasPrefix(rest, []byte("eyJ")):
		return 3
	case bytes.HasPrefix(rest, []byte(pemBegin)):
		return len(pemBegin)
	}
	if i := bytes.IndexByte(rest, '='); i >= 0 {
		return i + 1
	}
	return len(rest)
}

// check decides on the marker of a kind at start.
func (s *scanner) check(kind int, src []byte, start int) (match, verdict) {
	t := src[start:]
	switch kind {
	case minted:
		n := mintedLen[t[2]]
		for _, c := range t[4:min(n, len(t))] {
			if class[c]&base62Char == 0 {
				return match{}, no
			}
		}
		if len(t) < n {
			return match{}, more
		}
		if !checksumHolds(t[:n]) {
			return match{}, no
		}
		return match{start: start, marker: 4, end: start + n}, yes
	case jws:
		n := run(t, base64Char, maxHeader+1)
		if n > maxHeader {
			return match{}, no
		}
		if n == len(t) {
			return match{}, more
		}
		if t[n] != '.' || !isHeader(t[:n]) {
			return match{}, no
		}
		return match{start: start, marker: 3, end: start + n, mode: inValue}, yes
	case param:
		n := bytes.IndexByte(t, '=') + 1
		need := minValue
		if c := s.before(src, start); c == '?' || c == '&' {
			need = 1
		}
		got := run(t[n:], valueChar, need)
		switch {
		case got == need:
			return match{start: start, marker: n, end: start + n, mode: inValue}, yes
		case n+got == len(t):
			return match{}, more
		}
		return match{}, no
	}
	// PEM.
	n := len(pemBegin)
	label := run(t[n:], labelChar, maxLabel+1)
	if label > maxLabel {
		return match{}, no
	}
	end := t[n+label:]
	if len(end) < len(pemEnd) && string(end) == pemEnd[:len(end)] {
		return match{}, more
	}
	if !bytes.HasPrefix(end, []byte(pemEnd)) || !bytes.HasSuffix(t[n:n+label], []byte("PRIVATE KEY")) {
		return match{}, no
	}
	return match{start: start, marker: n, end: start + n + label + len(pemEnd), mode: inPEM}, yes
}

// run is how many characters of a class b begins with, at most limit.
func run(b []byte, c uint8, limit int) int {
	for i := range min(limit, len(b)) {
		if class[b[i]]&c == 0 {
			return i
		}
	}
	return min(limit, len(b))
}

// checksumHolds checks a minted secret's last six characters (package secret).
func checksumHolds(b []byte) bool {
	sum := crc32.ChecksumIEEE(b[:len(b)-checksumLen])
	for i := len(b) - 1; i >= len(b)-checksumLen; i-- {
		if b[i] != base62[sum%62] {
			return false
		}
		sum /= 62
	}
	return true
}

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// isHeader reports whether b is the base64url of a JSON object with "alg".
func isHeader(b []byte) bool {
	var buf [maxHeader]byte
	n, err := base64.RawURLEncoding.Decode(buf[:], b)
	return err == nil && bytes.Contains(buf[:n], []byte(`"alg"`)) && json.Valid(buf[:n])
}
