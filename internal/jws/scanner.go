package jws

import (
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads JSON text from front to back and checks its grammar as it goes.
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
