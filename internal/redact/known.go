package redact

import (
	"bytes"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/keytether/keytether/internal/secret"
)

// MinKnown is the shortest secret that Known masks, in bytes: a shorter one would mask half of
// all text.
const MinKnown = 4

// minLine is the shortest line of a secret of several lines that is masked by itself.
const minLine = 8

// Known is a writer that masks strings that its maker knows, whatever they look like, also where
// they are split over several writes: as they are, line by line, and as they look in a URL or in
// JSON. Of what may yet become one it holds back less than the longest of them, until the next
// write or Close. Not safe for concurrent use.
type Known struct {
	next  io.WriteCloser
	words [][]byte // the longest first
	held  []byte
	out   []byte
	at    []int // of each word its next place in the text; -1: not looked for yet
}

// NewKnown gives a Known that writes to next and closes it. Secrets shorter than MinKnown are
// left alone.
func NewKnown(next io.WriteCloser, known ...secret.Value) *Known {
	k := &Known{next: next}
	for _, v := range known {
		k.add(v.Reveal())
	}
	slices.SortFunc(k.words, func(a, b []byte) int { return len(b) - len(a) })
	k.at = make([]int, len(k.words))
	return k
}

func (k *Known) add(s string) {
	if len(s) < MinKnown {
		return
	}
	forms := []string{s, url.QueryEscape(s), url.PathEscape(s), quoted(s)}
	if lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' }); len(lines) > 1 {
		for _, line := range lines {
			if len(line) >= minLine {
				forms = append(forms, line)
			}
		}
	}
	for _, f := range forms {
		if w := []byte(f); !slices.ContainsFunc(k.words, func(o []byte) bool { return bytes.Equal(o, w) }) {
			k.words = append(k.words, w)
		}
	}
}

// quoted is s as it stands in a JSON string, without the quotes.
func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return s
	}
	return string(b[1 : len(b)-1])
}

// Write masks p.
func (k *Known) Write(p []byte) (int, error) {
	text := p
	if len(k.held) > 0 {
		k.held = append(k.held, p...)
		text = k.held
	}
	end := len(text) - k.pending(text)
	if err := k.pass(text, end); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close writes what was held back.
func (k *Known) Close() error {
	err := k.pass(k.held, len(k.held))
	if cerr := k.next.Close(); err == nil {
		err = cerr
	}
	return err
}

// pass writes text up to end, masked; what a word that begins before end covers is masked too.
// The rest is held.
func (k *Known) pass(text []byte, end int) error {
	k.out = k.out[:0]
	pos := 0
	for i := range k.at {
		k.at[i] = -1
	}
	for {
		start, n := k.find(text, pos)
		if start >= end {
			break
		}
		k.out = append(k.out, text[pos:start]...)
		k.out = append(k.out, mask...)
		pos = start + n
	}
	clear := text[pos:max(pos, end)]
	rest := text[max(pos, end):]
	var err error
	if len(k.out) == 0 && len(clear) > 0 {
		_, err = k.next.Write(clear) // the usual case, without a copy
	} else if k.out = append(k.out, clear...); len(k.out) > 0 {
		_, err = k.next.Write(k.out)
	}
	k.held = append(k.held[:0], rest...)
	return err
}

// find gives the first word at or after pos, the longest of those that begin there.
func (k *Known) find(text []byte, pos int) (start, n int) {
	start = len(text)
	for i, w := range k.words {
		if k.at[i] < pos {
			k.at[i] = index(text, pos, w)
		}
		if k.at[i] < start {
			start, n = k.at[i], len(w)
		}
	}
	return start, n
}

// index is where the first w at or after pos begins, or len(text). It looks for the beginning of
// a long word first, because bytes.Index is several times as fast for a short one.
func index(text []byte, pos int, w []byte) int {
	const short = 32
	for pos < len(text) {
		j := bytes.Index(text[pos:], w[:min(short, len(w))])
		if j < 0 {
			break
		}
		if pos += j; bytes.HasPrefix(text[pos:], w) {
			return pos
		}
		pos++
	}
	return len(text)
}

// pending is the length of the longest end of text that a word begins with and that is not the
// whole word.
func (k *Known) pending(text []byte) int {
	longest := 0
	for _, w := range k.words {
		for n := min(len(w)-1, len(text)); n > longest; n-- {
			if text[len(text)-n] == w[0] && bytes.HasSuffix(text, w[:n]) {
				longest = n
				break
			}
		}
	}
	return longest
}
