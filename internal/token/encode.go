package token

import (
	"fmt"
	"strconv"
	"time"

	"github.com/keytether/keytether/internal/jws"
)

// encoder appends the members of one JSON object.
type encoder struct {
	b   []byte
	bad bool
}

func (e *encoder) name(n string) {
	if len(e.b) > 1 {
		e.b = append(e.b, ',')
	}
	e.b = append(e.b, '"')
	e.b = append(e.b, n...)
	e.b = append(e.b, '"', ':')
}

func (e *encoder) string(s string) {
	e.bad = e.bad || !jws.ValidString(s)
	e.b = jws.AppendString(e.b, s)
}

func (e *encoder) text(n, s string) {
	e.name(n)
	e.string(s)
}

func (e *encoder) optional(n, s string) {
	if s != "" {
		e.text(n, s)
	}
}

func (e *encoder) time(n string, t time.Time) {
	e.bad = e.bad || t.Unix() < 0
	e.name(n)
	e.b = strconv.AppendInt(e.b, t.Unix(), 10)
}

func (e *encoder) bool(n string, v bool) {
	e.name(n)
	e.b = strconv.AppendBool(e.b, v)
}

// raw appends a JSON object that has been made elsewhere.
func (e *encoder) raw(n string, object []byte) {
	e.bad = e.bad || jws.EachMember(object, func(string, jws.Value) error { return nil }) != nil
	e.name(n)
	e.b = append(e.b, object...)
}

func (e *encoder) sign(s jws.Signer, typ string) (string, error) {
	if e.bad {
		return "", fmt.Errorf("%w: a claim is not UTF-8, a time or a JSON object", ErrMalformed)
	}
	return jws.Sign(s, typ, append(e.b, '}'))
}
