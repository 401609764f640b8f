package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Format names the export format.
const Format = "keytether-audit/1"

// MaxLine is the longest line of an export, in bytes.
const MaxLine = 64 << 10

// Header is an export's first line.
type Header struct {
	Format     string    `json:"format"`
	Origin     string    `json:"origin"`
	Keys       []string  `json:"keys"` // verifier keys, oldest first; as good as where the file came from
	Size       int64     `json:"size"` // leaves of the last checkpoint
	ExportedAt time.Time `json:"exported_at"`
}

// Line is one line after the header: a leaf with its sidecar (if there are
// facts, and they were not erased), or a checkpoint.
type Line struct {
	Index      int64    // of the leaf
	Leaf       []byte   // nil for a checkpoint
	Sidecar    *Sidecar // may be nil
	Tail       bool     // no checkpoint covers this leaf yet
	Checkpoint []byte   // signed note
}

type lineJSON struct {
	Tail       bool     `json:"tail,omitempty"`
	Index      *int64   `json:"index,omitempty"`
	Leaf       []byte   `json:"leaf,omitempty"`
	Sidecar    *Sidecar `json:"sidecar,omitempty"`
	Checkpoint string   `json:"checkpoint,omitempty"`
}

// Writer writes an export. Order: leaves from 0, every checkpoint right after
// the last leaf that it covers, the last one after Header.Size leaves, then
// the tail. What is out of this order is refused. An empty log needs no
// checkpoint.
type Writer struct {
	w      *bufio.Writer
	size   int64 // announced
	next   int64 // index of the next leaf
	signed bool  // a checkpoint of the announced size was written
}

// NewWriter writes the header; its Format is filled in.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	h.Format = Format
	if err := h.check(); err != nil {
		return nil, err
	}
	h.ExportedAt = h.ExportedAt.UTC().Truncate(time.Microsecond)
	out := &Writer{w: bufio.NewWriterSize(w, 64<<10), size: h.Size, signed: h.Size == 0}
	return out, out.line(h)
}

func (h Header) check() error {
	if h.Format != Format {
		return fmt.Errorf("%w: format %q, this program knows %q", ErrFormat, h.Format, Format)
	}
	if !validOrigin(h.Origin) || h.Size < 0 || len(h.Keys) == 0 || h.ExportedAt.IsZero() {
		return fmt.Errorf("%w: header", ErrFormat)
	}
	return nil
}

// Leaf writes the next leaf; those from number Header.Size on are the tail.
func (w *Writer) Leaf(leaf []byte, s *Sidecar) error {
	if w.next >= w.size && !w.signed {
		return fmt.Errorf("%w: a tail before the last checkpoint", ErrFormat)
	}
	i := w.next
	w.next++
	return w.line(lineJSON{Tail: i >= w.size, Index: &i, Leaf: leaf, Sidecar: s})
}

// Checkpoint writes a signed checkpoint of the leaves so far. Its signature is
// not checked.
func (w *Writer) Checkpoint(msg []byte) error {
	if w.next > w.size {
		return fmt.Errorf("%w: a checkpoint after the tail began", ErrFormat)
	}
	w.signed = w.signed || w.next == w.size
	return w.line(lineJSON{Checkpoint: string(msg)})
}

// Close flushes, and says if what was announced was not written.
func (w *Writer) Close() error {
	if err := w.w.Flush(); err != nil {
		return err
	}
	if w.next < w.size || !w.signed {
		return fmt.Errorf("%w: %d leaves of %d were written, the last checkpoint: %t", ErrFormat, w.next, w.size, w.signed)
	}
	return nil
}

func (w *Writer) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("%w: %s", ErrFormat, err.Error())
	}
	if len(b) >= MaxLine {
		return fmt.Errorf("%w: line of %d bytes", ErrFormat, len(b))
	}
	_, err = w.w.Write(append(b, '\n'))
	return err
}

// Reader reads an export line by line, in bounded memory, and proves nothing.
type Reader struct {
	s      *bufio.Scanner
	header Header
	n      int64 // lines read
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	out := &Reader{s: bufio.NewScanner(r)}
	out.s.Buffer(make([]byte, 0, 4096), MaxLine)
	var h Header
	if err := out.line(&h); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("%w: the file is empty", ErrFormat)
		}
		return nil, err
	}
	if err := h.check(); err != nil {
		return nil, err
	}
	out.header = h
	return out, nil
}

// Header is the file's first line.
func (r *Reader) Header() Header { return r.header }

// Next reads a line; io.EOF after the last.
func (r *Reader) Next() (Line, error) {
	var in lineJSON
	if err := r.line(&in); err != nil {
		return Line{}, err
	}
	switch {
	case in.Checkpoint != "" && in.Index == nil && in.Leaf == nil && in.Sidecar == nil && !in.Tail:
		return Line{Checkpoint: []byte(in.Checkpoint)}, nil
	case in.Checkpoint == "" && in.Index != nil && *in.Index >= 0 && len(in.Leaf) > 0:
		if in.Sidecar != nil && len(in.Sidecar.Key) != 32 {
			return Line{}, fmt.Errorf("%w: line %d: sidecar", ErrFormat, r.n)
		}
		return Line{Index: *in.Index, Leaf: in.Leaf, Sidecar: in.Sidecar, Tail: in.Tail}, nil
	}
	return Line{}, fmt.Errorf("%w: line %d is neither leaf nor checkpoint", ErrFormat, r.n)
}

func (r *Reader) line(v any) error {
	if !r.s.Scan() {
		switch err := r.s.Err(); {
		case errors.Is(err, bufio.ErrTooLong):
			return fmt.Errorf("%w: line %d is longer than %d bytes", ErrFormat, r.n+1, MaxLine)
		case err != nil:
			return err
		}
		return io.EOF
	}
	if err := r.s.Err(); err != nil { // the line was cut off by it
		return err
	}
	r.n++
	dec := json.NewDecoder(bytes.NewReader(r.s.Bytes()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w: line %d: %s", ErrFormat, r.n, err.Error())
	}
	if dec.InputOffset() != int64(len(r.s.Bytes())) {
		return fmt.Errorf("%w: line %d: more than one value", ErrFormat, r.n)
	}
	return nil
}
