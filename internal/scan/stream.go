package scan

import (
	"bytes"
	"errors"
	"io"
)

const (
	chunk = 1 << 20
	// overlap is the longest credential that is found whole where two chunks meet.
	overlap = 32 << 10
)

// Buffer is what a stream is read into. It may be used for one after the other.
type Buffer struct{ b []byte }

// Stream reads in to its end and reports what is in it, in order, without the source. It gives
// the bytes that were read.
func (r Rules) Stream(in io.Reader, buf *Buffer, report func(Finding)) (total int64, err error) {
	if buf.b == nil {
		buf.b = make([]byte, maxURL+overlap+chunk)
	}
	p := passage{rules: r, report: report}
	held, wide := 0, false
	for {
		n, err := io.ReadFull(in, buf.b[held:])
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return total + int64(n), err
		}
		fresh := buf.b[held : held+n]
		if total == 0 {
			wide = bytes.HasPrefix(fresh, []byte{0xff, 0xfe})
		}
		total += int64(n)
		if wide { // UTF-16, as PowerShell writes; credentials are ASCII
			n = narrow(fresh)
		}
		text := buf.b[:held+n]
		if last {
			p.look(text, len(text))
			return total, nil
		}
		limit := max(len(text)-overlap, 0)
		p.look(text, limit)
		keep := max(limit-maxURL, 0)
		p.leave(text[:keep])
		held = copy(buf.b, text[keep:])
	}
}

// passage is how far a stream was looked at, and where that is.
type passage struct {
	rules  Rules
	report func(Finding)
	pos    int   // in the text at hand: what is before was looked at
	lines  int64 // line breaks before the text at hand
	column int   // bytes between the last of those and the text at hand
}

// look reports what begins before limit.
func (p *passage) look(text []byte, limit int) {
	lines, seen := p.lines, 0
	for _, c := range p.rules.pieces(text, p.pos, limit) {
		lines += int64(bytes.Count(text[seen:c.start], []byte("\n")))
		seen = c.start
		f := c.Finding
		f.Line, f.Column = lines+1, c.start-bytes.LastIndexByte(text[:c.start], '\n')
		if f.Line == p.lines+1 {
			f.Column += p.column
		}
		p.report(f)
		p.pos = max(p.pos, c.end)
	}
	p.pos = max(p.pos, limit)
}

// leave forgets the beginning of the text at hand.
func (p *passage) leave(gone []byte) {
	p.pos -= len(gone)
	p.lines += int64(bytes.Count(gone, []byte("\n")))
	if i := bytes.LastIndexByte(gone, '\n'); i >= 0 {
		p.column = len(gone) - i - 1
	} else {
		p.column += len(gone)
	}
}

// narrow drops every zero byte.
func narrow(b []byte) int {
	n := 0
	for _, c := range b {
		if c != 0 {
			b[n] = c
			n++
		}
	}
	return n
}
