package jws

import (
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Value is one JSON value as it stood in the text, without white space around it.
// Its grammar has been checked.
type Value []byte

// EachMember walks a JSON object (RFC 8259 with the strictness of I-JSON, RFC
// 7493: valid UTF-8, no lone surrogates, no member twice) and calls fn for each
// member in order. It stops at fn's first error. The whole text must be that one
// object. Names are compared after unescaping.
func EachMember(object []byte, fn func(name string, v Value) error) error {
	s := scanner{b: object}
	s.space()
	if err := s.members(fn); err != nil {
		return err
	}
	return s.end()
}

// EachElement walks a JSON array and calls fn for each element.
func EachElement(array []byte, fn func(v Value) error) error {
	s := scanner{b: array}
	s.space()
	if !s.take('[') {
		return fmt.Errorf("%w: not an array", ErrMalformed)
	}
	s.space()
	if s.take(']') {
		return s.end()
	}
	for {
		v, err := s.value(1)
		if err != nil {
			return err
		}
		if err := fn(v); err != nil {
			return err
		}
		if s.take(']') {
			return s.end()
		}
		if !s.take(',') {
			return s.fail()
		}
	}
}

// Text is the value's string; another type is ErrMalformed.
func (v Value) Text() (string, error) {
	if len(v) < 2 || v[0] != '"' {
		return "", fmt.Errorf("%w: a string is wanted", ErrMalformed)
	}
	s := scanner{b: v}
	return s.str()
}

func (v Value) boundedString(limit int) (string, error) {
	s, err := v.Text()
	if err == nil && len(s) > limit {
		return "", fmt.Errorf("%w: string too long", ErrMalformed)
	}
	return s, err
}

// Bool is the value's boolean; another type is ErrMalformed.
func (v Value) Bool() (bool, error) {
	switch string(v) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%w: a boolean is wanted", ErrMalformed)
}

// IsArray reports whether the value is an array.
func (v Value) IsArray() bool { return len(v) > 0 && v[0] == '[' }

// maxNumericDate is the last second of the year 9999.
const maxNumericDate = 253402300799

// Time is the value read as a NumericDate (RFC 7519 §2): seconds since 1970, a
// fraction allowed and cut off. Negative or beyond the year 9999 is ErrMalformed.
func (v Value) Time() (time.Time, error) {
	if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
		if n < 0 || n > maxNumericDate {
			return time.Time{}, fmt.Errorf("%w: time out of range", ErrMalformed)
		}
		return time.Unix(n, 0).UTC(), nil
	}
	if len(v) == 0 || v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return time.Time{}, fmt.Errorf("%w: a number is wanted", ErrMalformed)
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f < 0 || f > maxNumericDate {
		return time.Time{}, fmt.Errorf("%w: time out of range", ErrMalformed)
	}
	return time.Unix(int64(math.Floor(f)), 0).UTC(), nil
}

// AppendString appends s as a JSON string. Only what must be escaped is; the
// caller has made sure that s is valid UTF-8 (see [ValidString]).
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		if c == '"' || c == '\\' {
			dst = append(dst, '\\', c)
		} else {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(dst, s[start:]...), '"')
}

// ValidString reports whether s can stand in JSON: valid UTF-8.
func ValidString(s string) bool { return utf8.ValidString(s) }

type scanner struct {
	b []byte
	i int
}

func (s *scanner) fail() error {
	return fmt.Errorf("%w: JSON at byte %d", ErrMalformed, s.i)
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) take(c byte) bool {
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) end() error {
	s.space()
	if s.i != len(s.b) {
		return s.fail()
	}
	return nil
}

func (s *scanner) members(fn func(string, Value) error) error {
	if !s.take('{') {
		return fmt.Errorf("%w: not an object", ErrMalformed)
	}
	s.space()
	if s.take('}') {
		return nil
	}
	var room [16]string
	seen := room[:0]
	for {
		name, err := s.str()
		if err != nil {
			return err
		}
		for _, old := range seen {
			if old == name {
				return fmt.Errorf("%w: a member stands twice", ErrMalformed)
			}
		}
		if len(seen) == maxMembers {
			return fmt.Errorf("%w: too many members", ErrMalformed)
		}
		seen = append(seen, name)
		s.space()
		if !s.take(':') {
			return s.fail()
		}
		v, err := s.value(1)
		if err != nil {
			return err
		}
		if err := fn(name, v); err != nil {
			return err
		}
		if s.take('}') {
			return nil
		}
		if !s.take(',') {
			return s.fail()
		}
		s.space()
	}
}

// value reads one value and the white space around it.
func (s *scanner) value(depth int) (Value, error) {
	s.space()
	start := s.i
	if err := s.skip(depth); err != nil {
		return nil, err
	}
	v := Value(s.b[start:s.i:s.i])
	s.space()
	return v, nil
}

// skip passes over one value and checks its grammar.
func (s *scanner) skip(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%w: nested too deeply", ErrMalformed)
	}
	if s.i >= len(s.b) {
		return s.fail()
	}
	switch c := s.b[s.i]; {
	case c == '"':
		_, err := s.text()
		return err
	case c == '{' || c == '[':
		return s.container(depth, c)
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	default:
		return s.number()
	}
}

func (s *scanner) container(depth int, opening byte) error {
	s.i++
	closing := opening + 2 // '[' + 2 is ']', '{' + 2 is '}'
	s.space()
	if s.take(closing) {
		return nil
	}
	for {
		s.space()
		if opening == '{' {
			if _, err := s.text(); err != nil {
				return err
			}
			s.space()
			if !s.take(':') {
				return s.fail()
			}
			s.space()
		}
		if err := s.skip(depth + 1); err != nil {
			return err
		}
		s.space()
		if s.take(closing) {
			return nil
		}
		if !s.take(',') {
			return s.fail()
		}
	}
}

func (s *scanner) word(w string) error {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return s.fail()
	}
	s.i += len(w)
	return nil
}

func (s *scanner) digits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
	}
	return s.i > start
}

func (s *scanner) number() error {
	s.take('-')
	if !s.take('0') && !s.digits() {
		return s.fail()
	}
	if s.take('.') && !s.digits() {
		return s.fail()
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		if !s.digits() {
			return s.fail()
		}
	}
	return nil
}

// text passes over a string, checks it, and says whether it holds escapes.
func (s *scanner) text() (escaped bool, err error) {
	if !s.take('"') {
		return false, s.fail()
	}
	for s.i < len(s.b) {
		c := s.b[s.i]
		switch {
		case c == '"':
			s.i++
			return escaped, nil
		case c == '\\':
			escaped = true
			if _, err := s.escape(); err != nil {
				return false, err
			}
		case c < 0x20:
			return false, s.fail()
		case c < utf8.RuneSelf:
			s.i++
		default:
			r, n := utf8.DecodeRune(s.b[s.i:])
			if r == utf8.RuneError && n == 1 {
				return false, s.fail()
			}
			s.i += n
		}
	}
	return false, s.fail()
}

// str reads a string with its escapes undone.
func (s *scanner) str() (string, error) {
	start := s.i
	escaped, err := s.text()
	if err != nil {
		return "", err
	}
	if !escaped {
		return string(s.b[start+1 : s.i-1]), nil
	}
	in := scanner{b: s.b[:s.i-1], i: start + 1}
	out := make([]byte, 0, s.i-start)
	for in.i < len(in.b) {
		if in.b[in.i] != '\\' {
			out = append(out, in.b[in.i])
			in.i++
			continue
		}
		r, err := in.escape()
		if err != nil {
			return "", err
		}
		out = utf8.AppendRune(out, r)
	}
	return string(out), nil
}

// escape reads one escape, or the two that make a surrogate pair.
func (s *scanner) escape() (rune, error) {
	if s.i+1 >= len(s.b) {
		return 0, s.fail()
	}
	c := s.b[s.i+1]
	s.i += 2
	switch c {
	case '"', '\\', '/':
		return rune(c), nil
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		r, err := s.hex4()
		if err != nil || !utf16.IsSurrogate(r) {
			return r, err
		}
		if !s.take('\\') || !s.take('u') {
			return 0, s.fail()
		}
		low, err := s.hex4()
		if err != nil {
			return 0, err
		}
		if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
			return 0, s.fail()
		}
		return r, nil
	}
	return 0, s.fail()
}

func (s *scanner) hex4() (rune, error) {
	if len(s.b)-s.i < 4 {
		return 0, s.fail()
	}
	var r rune
	for _, c := range s.b[s.i : s.i+4] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, s.fail()
		}
	}
	s.i += 4
	return r, nil
}
