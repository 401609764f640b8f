package feed

import (
	"fmt"
	"strconv"
	"time"
)

const timeLayout = "2006-01-02T15:04:05.000000Z"

// AppendSnapshot appends the event; ErrFormat if an id is no id or a time no
// time. A large snapshot takes several data lines.
func AppendSnapshot(dst []byte, e *Snapshot) ([]byte, error) {
	if len(e.Grants)+len(e.Tokens) > MaxEntries {
		return nil, fmt.Errorf("%w: %d in a snapshot", ErrFull, len(e.Grants)+len(e.Tokens))
	}
	w := writer{b: dst}
	w.open("snapshot", e.Sequence)
	w.time(`,"issued_at":`, e.IssuedAt)
	w.entries("grants", "id", e.Grants)
	w.entries("tokens", "jti", e.Tokens)
	return w.close()
}

// AppendRevoked appends the event; ErrFormat unless it names either a grant or
// a token, and grows the sequence.
func AppendRevoked(dst []byte, e *Revoked) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	w := writer{b: dst}
	w.open("revoked", e.Sequence)
	w.b = append(w.b, `,"prev":`...)
	w.b = strconv.AppendUint(w.b, e.Prev, 10)
	w.time(`,"at":`, e.At)
	if e.Grant != "" {
		w.id(`,"grant":`, e.Grant)
	} else {
		w.id(`,"jti":`, e.JTI)
	}
	w.before(e.Before)
	w.time(`,"until":`, e.Until)
	return w.close()
}

func (e *Revoked) check() error {
	if (e.Grant == "") == (e.JTI == "") {
		return fmt.Errorf("%w: revoked must name a grant or a token", ErrFormat)
	}
	if e.JTI != "" && !e.Before.IsZero() {
		return fmt.Errorf("%w: a token is revoked as a whole", ErrFormat)
	}
	if e.Sequence <= e.Prev {
		return fmt.Errorf("%w: sequence %d after %d", ErrFormat, e.Sequence, e.Prev)
	}
	return nil
}

// AppendHeartbeat appends the event.
func AppendHeartbeat(dst []byte, e *Heartbeat) ([]byte, error) {
	w := writer{b: dst}
	w.open("heartbeat", e.Sequence)
	w.time(`,"at":`, e.At)
	return w.close()
}

type writer struct {
	b   []byte
	err error
}

func (w *writer) open(name string, seq uint64) {
	w.b = append(w.b, "event: "...)
	w.b = append(w.b, name...)
	w.b = append(w.b, "\nid: "...)
	w.b = strconv.AppendUint(w.b, seq, 10)
	w.b = append(w.b, "\ndata: {\"seq\":"...)
	w.b = strconv.AppendUint(w.b, seq, 10)
}

func (w *writer) close() ([]byte, error) {
	if w.err != nil {
		return nil, w.err
	}
	return append(w.b, "}\n\n"...), nil
}

func (w *writer) entries(name, key string, list []Entry) {
	const perLine = 64
	w.b = append(w.b, `,"`+name+`":[`...)
	for i, e := range list {
		if i > 0 {
			w.b = append(w.b, ',')
			if i%perLine == 0 {
				w.b = append(w.b, "\ndata: "...)
			}
		}
		w.id(`{"`+key+`":`, e.ID)
		if key == "id" {
			w.before(e.Before)
		}
		w.time(`,"until":`, e.Until)
		w.b = append(w.b, '}')
	}
	w.b = append(w.b, ']')
}

func (w *writer) before(t time.Time) {
	if !t.IsZero() {
		w.time(`,"before":`, t)
	}
}

func (w *writer) id(before, s string) {
	if !validID(s) {
		w.err = fmt.Errorf("%w: not an id: %q", ErrFormat, s)
	}
	w.b = append(w.b, before...)
	w.b = append(w.b, '"')
	w.b = append(w.b, s...)
	w.b = append(w.b, '"')
}

func (w *writer) time(before string, t time.Time) {
	t = t.UTC()
	if y := t.Year(); t.IsZero() || y < 1 || y > 9999 {
		w.err = fmt.Errorf("%w: not a time", ErrFormat)
	}
	w.b = append(w.b, before...)
	w.b = append(w.b, '"')
	w.b = t.AppendFormat(w.b, timeLayout)
	w.b = append(w.b, '"')
}

// validID accepts what is the same in JSON and in Go.
func validID(s string) bool {
	if s == "" || len(s) > MaxID {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.' || c == '~') {
			return false
		}
	}
	return true
}
