package command

import (
	"bytes"
	"io"

	"github.com/keytether/keytether/internal/redact"
)

const maskText = "[redacted]"

// mask gives a writer that lets w see no secret of ours (package redact), nor known, which may be
// a token of another server that nobody could tell by its looks. Close writes what is held back.
func mask(w io.Writer, known string) io.WriteCloser {
	r := redact.NewWriter(w)
	if known == "" {
		return r
	}
	return &literalMask{next: r, known: []byte(known)}
}

// literalMask replaces one known string, also where it is split over several writes.
type literalMask struct {
	next  io.WriteCloser
	known []byte
	held  []byte // the longest end of what was written that known begins with
}

// Write masks p. It holds back what may become the known string.
func (m *literalMask) Write(p []byte) (int, error) {
	text := bytes.ReplaceAll(append(m.held, p...), m.known, []byte(maskText))
	keep := prefixAtEnd(text, m.known)
	m.held = bytes.Clone(text[len(text)-keep:])
	if _, err := m.next.Write(text[:len(text)-keep]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes what was held back.
func (m *literalMask) Close() error {
	_, err := m.next.Write(m.held)
	m.held = nil
	if cerr := m.next.Close(); err == nil {
		err = cerr
	}
	return err
}

// prefixAtEnd is the length of the longest proper beginning of known that text ends with.
func prefixAtEnd(text, known []byte) int {
	for n := min(len(known)-1, len(text)); n > 0; n-- {
		if bytes.HasSuffix(text, known[:n]) {
			return n
		}
	}
	return 0
}
