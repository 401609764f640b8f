package audit

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keytether/keytether/internal/event"
)

// DefaultTolerance is how far a record's time may lie before the latest one
// so far without being counted: commits of one moment are put in one order.
const DefaultTolerance = 2 * time.Second

// Options are what the auditor brings.
type Options struct {
	// Keys are the verifier keys that he trusts. Without any, those in the
	// file are used and Report.Pinned is false: the file then proves itself
	// against the held checkpoints alone.
	Keys []string
	// Held are signed checkpoints that he got earlier. What was signed then
	// must be there, unchanged.
	Held [][]byte
	// Tolerance is how far times may go backwards; zero is DefaultTolerance.
	Tolerance time.Duration
	// Visit, if not nil, gets every record in order, with facts where the
	// sidecar proves them. Records of the unsigned tail have signed false.
	// Nothing is proved before Verify returns without error.
	Visit func(index int64, rec event.Record, signed bool)
}

// Report is what Verify found in a file that holds.
type Report struct {
	Origin         string
	Size           int64 // signed leaves
	Root           Hash
	SignedAt       time.Time // of the last checkpoint; zero for an empty, never signed log
	Pinned         bool      // the auditor's own keys were used
	Checkpoints    int       // in the file, all of which hold
	Held           int       // checkpoints of the auditor's, all of which hold
	Tail           int64     // leaves that no checkpoint covers yet
	First, Last    time.Time // of the records, tail included
	Events         map[event.Name]int64
	Opened         int64 // records whose facts were proved
	Erased         int64 // records whose facts were erased
	Backwards      int64 // records earlier than one before them, beyond the tolerance
	FirstBackwards int64 // index of the first such record; -1 if none
}

// Verify reads an export and proves that it is what was signed: every leaf in
// its place and in its one spelling, every signature, every fact, and every
// held checkpoint a prefix. An error says what does not hold; the report then
// covers what was read so far.
func Verify(r io.Reader, opt Options) (Report, error) {
	in, err := NewReader(r)
	if err != nil {
		return Report{FirstBackwards: -1}, err
	}
	v, err := newVerifier(in.Header(), opt)
	if err != nil {
		return v.report, err
	}
	for {
		line, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return v.report, err
		}
		if line.Checkpoint != nil {
			err = v.checkpoint(line.Checkpoint)
		} else {
			err = v.leaf(line)
		}
		if err != nil {
			return v.report, err
		}
	}
	return v.report, v.finish()
}

type verifier struct {
	opt     Options
	header  Header
	keys    note.Verifiers
	held    []Checkpoint // by size
	tree    Frontier
	signed  bool       // the last checkpoint was seen
	differs Checkpoint // the first held checkpoint whose root is another
	report  Report
}

func newVerifier(h Header, opt Options) (*verifier, error) {
	v := &verifier{opt: opt, header: h}
	v.report = Report{Origin: h.Origin, Pinned: len(opt.Keys) > 0, Events: map[event.Name]int64{}, FirstBackwards: -1}
	if v.opt.Tolerance == 0 {
		v.opt.Tolerance = DefaultTolerance
	}
	keys := opt.Keys
	if len(keys) == 0 {
		keys = h.Keys
	}
	var err error
	if v.keys, err = Verifiers(keys...); err != nil {
		return v, err
	}
	for _, msg := range opt.Held {
		c, err := OpenCheckpoint(msg, h.Origin, v.keys)
		if err != nil {
			return v, fmt.Errorf("the checkpoint you hold: %w", err)
		}
		v.held = append(v.held, c)
	}
	slices.SortFunc(v.held, func(a, b Checkpoint) int { return int(min(1, max(-1, a.Size-b.Size))) })
	if n := len(v.held); n > 0 && v.held[n-1].Size > h.Size {
		c := v.held[n-1]
		return v, fmt.Errorf("%w: %d records were signed at %s, the file has %d", ErrDropped, c.Size, c.Time.Format(time.RFC3339), h.Size)
	}
	v.compareHeld()
	return v, nil
}

// compareHeld compares the held checkpoints of the tree's present size.
func (v *verifier) compareHeld() {
	for len(v.held) > 0 && v.held[0].Size == v.tree.Size() {
		c := v.held[0]
		v.held = v.held[1:]
		v.report.Held++
		if c.Root != v.tree.Root() && v.differs.Time.IsZero() {
			v.differs = c
		}
	}
}

func (v *verifier) leaf(line Line) error {
	want := v.tree.Size()
	if v.signed || v.header.Size == 0 {
		want += v.report.Tail
	}
	tail := want >= v.header.Size
	switch {
	case line.Index > want:
		return fmt.Errorf("%w: record %d is followed by %d", ErrDropped, want-1, line.Index)
	case line.Index < want:
		return fmt.Errorf("%w: record %d is followed by %d", ErrReordered, want-1, line.Index)
	case tail && !v.signed && v.header.Size > 0:
		return fmt.Errorf("%w: the checkpoint of %d records is missing", ErrDropped, v.header.Size)
	case tail != line.Tail:
		return fmt.Errorf("%w: record %d is marked as signed or unsigned against the header", ErrFormat, line.Index)
	}
	leaf, err := DecodeLeaf(line.Leaf)
	if err != nil {
		return fmt.Errorf("record %d: %w", line.Index, err)
	}
	rec := leaf.Record
	switch {
	case line.Sidecar != nil:
		if err := OpenCommitments(leaf, *line.Sidecar); err != nil {
			return fmt.Errorf("record %d: %w", line.Index, err)
		}
		if line.Sidecar.Facts.IsZero() {
			return fmt.Errorf("record %d: %w: a sidecar without facts", line.Index, ErrFormat)
		}
		rec.Facts = line.Sidecar.Facts
		v.report.Opened++
	case !leaf.Commit.IsZero():
		v.report.Erased++
	}
	v.count(line.Index, rec)
	if v.opt.Visit != nil {
		v.opt.Visit(line.Index, rec, !tail)
	}
	if tail {
		v.report.Tail++
		return nil
	}
	v.tree.Append(line.Leaf)
	v.compareHeld()
	return nil
}

func (v *verifier) count(index int64, rec event.Record) {
	v.report.Events[rec.Name]++
	if v.report.First.IsZero() || rec.Time.Before(v.report.First) {
		v.report.First = rec.Time
	}
	if rec.Time.Before(v.report.Last.Add(-v.opt.Tolerance)) {
		v.report.Backwards++
		if v.report.FirstBackwards < 0 {
			v.report.FirstBackwards = index
		}
	}
	if rec.Time.After(v.report.Last) {
		v.report.Last = rec.Time
	}
}

func (v *verifier) checkpoint(msg []byte) error {
	c, err := OpenCheckpoint(msg, v.header.Origin, v.keys)
	if err != nil {
		return err
	}
	size := v.tree.Size()
	switch {
	case v.report.Tail > 0:
		return fmt.Errorf("%w: a checkpoint after the tail began", ErrFormat)
	case c.Size > size:
		return fmt.Errorf("%w: %d records were signed at %s, %d are here", ErrDropped, c.Size, c.Time.Format(time.RFC3339), size)
	case c.Size < size:
		return fmt.Errorf("%w: %d records stand before the checkpoint of %d", ErrChanged, size, c.Size)
	case c.Root != v.tree.Root():
		return fmt.Errorf("%w: the first %d records are not those that were signed at %s", ErrChanged, c.Size, c.Time.Format(time.RFC3339))
	}
	v.report.Checkpoints++
	if size == v.header.Size {
		v.signed = true
		v.report.Size, v.report.Root = size, c.Root
		if c.Time.After(v.report.SignedAt) {
			v.report.SignedAt = c.Time
		}
	}
	return nil
}

func (v *verifier) finish() error {
	switch {
	case v.tree.Size() < v.header.Size:
		return fmt.Errorf("%w: the file ends after %d records of %d", ErrDropped, v.tree.Size(), v.header.Size)
	case !v.signed && v.header.Size > 0:
		return fmt.Errorf("%w: the checkpoint of %d records is missing", ErrDropped, v.header.Size)
	case !v.differs.Time.IsZero():
		return fmt.Errorf("%w: the first %d records are not those of the checkpoint you hold, signed at %s", ErrForked, v.differs.Size, v.differs.Time.Format(time.RFC3339))
	}
	if v.header.Size == 0 {
		v.report.Root = v.tree.Root()
	}
	return nil
}
