package jws

import (
	"fmt"
	"math"
	"strconv"
	"time"
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
