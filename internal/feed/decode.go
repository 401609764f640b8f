package feed

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// Decoder reads events from a stream, strictly and in bounded memory: unknown
// events, fields and members are ErrFormat, since a reader that skips what it
// does not know could skip a revocation.
type Decoder struct {
	r   *bufio.Reader
	max int // bytes of one event's data
}

// NewDecoder reads from r.
func NewDecoder(r io.Reader) *Decoder {
	return &Decoder{r: bufio.NewReaderSize(r, MaxLine), max: MaxEvent}
}

// Next reads one event. At the end of the stream it gives io.EOF, or
// io.ErrUnexpectedEOF within an event. After an error the stream is of no
// further use.
func (d *Decoder) Next() (Event, error) {
	var (
		name, id string
		data     []byte
		seen     bool
	)
	for {
		line, err := d.line()
		if err != nil {
			if errors.Is(err, io.EOF) && seen {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if len(line) == 0 {
			if !seen {
				continue
			}
			return parse(name, id, data)
		}
		if line[0] == ':' { // a comment
			continue
		}
		seen = true
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			if name != "" {
				return nil, fmt.Errorf("%w: two names", ErrFormat)
			}
			name = string(value)
		case "id":
			if id != "" {
				return nil, fmt.Errorf("%w: two ids", ErrFormat)
			}
			id = string(value)
		case "data":
			if len(data)+len(value) > d.max {
				return nil, fmt.Errorf("%w: event of more than %d bytes", ErrFormat, d.max)
			}
			data = append(append(data, value...), '\n')
		default:
			return nil, fmt.Errorf("%w: unknown field", ErrFormat)
		}
	}
}

// line reads one line without its end; the bytes are valid until the next call.
func (d *Decoder) line() ([]byte, error) {
	line, err := d.r.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: line of more than %d bytes", ErrFormat, MaxLine)
	case errors.Is(err, io.EOF) && len(line) > 0:
		return nil, io.ErrUnexpectedEOF
	case err != nil:
		return nil, err
	}
	line = line[:len(line)-1]
	return bytes.TrimSuffix(line, []byte("\r")), nil
}

type wire struct {
	Seq      *uint64       `json:"seq"`
	Prev     *uint64       `json:"prev"`
	IssuedAt string        `json:"issued_at"`
	At       string        `json:"at"`
	Before   string        `json:"before"`
	Until    string        `json:"until"`
	Grant    string        `json:"grant"`
	JTI      string        `json:"jti"`
	Grants   *[]grantEntry `json:"grants"`
	Tokens   *[]tokenEntry `json:"tokens"`
}

type grantEntry struct {
	ID     string `json:"id"`
	Before string `json:"before"`
	Until  string `json:"until"`
}

type tokenEntry struct {
	JTI   string `json:"jti"`
	Until string `json:"until"`
}

func parse(name, id string, data []byte) (Event, error) {
	var w wire
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		return nil, fmt.Errorf("%w: %s: %s", ErrFormat, name, err.Error())
	}
	if len(bytes.TrimSpace(data[dec.InputOffset():])) > 0 {
		return nil, fmt.Errorf("%w: %s: more than one value", ErrFormat, name)
	}
	if w.Seq == nil || strconv.FormatUint(*w.Seq, 10) != id {
		return nil, fmt.Errorf("%w: %s: id and sequence differ", ErrFormat, name)
	}
	e, err := w.event(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return e, nil
}

func (w *wire) event(name string) (Event, error) {
	single := w.Prev != nil || w.Until != "" || w.Before != "" || w.Grant != "" || w.JTI != ""
	switch {
	case name == "heartbeat" && !single && w.IssuedAt == "" && w.Grants == nil && w.Tokens == nil:
		at, err := parseTime(w.At)
		return &Heartbeat{Sequence: *w.Seq, At: at}, err
	case name == "revoked" && w.Prev != nil && w.IssuedAt == "" && w.Grants == nil && w.Tokens == nil:
		e := &Revoked{Sequence: *w.Seq, Prev: *w.Prev, Grant: w.Grant, JTI: w.JTI}
		var err error
		if e.At, err = parseTime(w.At); err != nil {
			return nil, err
		}
		if e.Until, err = parseTime(w.Until); err != nil {
			return nil, err
		}
		if e.Before, err = parseBefore(w.Before); err != nil {
			return nil, err
		}
		if !validID(e.Grant + e.JTI) {
			return nil, ErrFormat
		}
		return e, e.check()
	case name == "snapshot" && !single && w.At == "" && w.Grants != nil && w.Tokens != nil:
		return w.snapshot()
	}
	return nil, fmt.Errorf("%w: unknown event or wrong members", ErrFormat)
}

func (w *wire) snapshot() (Event, error) {
	if n := len(*w.Grants) + len(*w.Tokens); n > MaxEntries {
		return nil, fmt.Errorf("%w: %d in a snapshot", ErrFull, n)
	}
	at, err := parseTime(w.IssuedAt)
	if err != nil {
		return nil, err
	}
	e := &Snapshot{Sequence: *w.Seq, IssuedAt: at}
	for _, g := range *w.Grants {
		if e.Grants, err = appendEntry(e.Grants, g.ID, g.Before, g.Until); err != nil {
			return nil, err
		}
	}
	for _, t := range *w.Tokens {
		if e.Tokens, err = appendEntry(e.Tokens, t.JTI, "", t.Until); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func appendEntry(list []Entry, id, before, until string) ([]Entry, error) {
	b, err := parseBefore(before)
	if err != nil {
		return nil, err
	}
	t, err := parseTime(until)
	if err != nil || !validID(id) {
		return nil, fmt.Errorf("%w: entry", ErrFormat)
	}
	return append(list, Entry{ID: id, Before: b, Until: t}), nil
}

// parseBefore reads a time that may be absent.
func parseBefore(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return parseTime(s)
}

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(timeLayout, s)
	if err != nil || t.IsZero() {
		return time.Time{}, fmt.Errorf("%w: not a time in UTC with microseconds", ErrFormat)
	}
	return t, nil
}
