package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrConfig is what every Problems is, for errors.Is.
var ErrConfig = errors.New("config: not usable")

// Problem is one thing that is wrong, where, and how to mend it.
type Problem struct {
	File   string // as given to Load; empty for Parse
	Line   int    // 1 is the first; 0 if it is about no line
	Column int    // in characters, 1 is the first
	Where  string // path of the key, e.g. clients[0].dpop
	What   string // what is wrong and what to do
}

// String is file:line:column: where: what.
func (p Problem) String() string {
	var b strings.Builder
	switch {
	case p.Line > 0 && p.File != "":
		fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	case p.Line > 0:
		fmt.Fprintf(&b, "line %d, column %d: ", p.Line, p.Column)
	case p.File != "":
		fmt.Fprintf(&b, "%s: ", p.File)
	}
	if p.Where != "" {
		b.WriteString(p.Where + ": ")
	}
	b.WriteString(p.What)
	return b.String()
}

// Problems is everything that is wrong with a config, in the order of lines. It
// is an ErrConfig.
type Problems []Problem

// Error has one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, x := range p {
		lines[i] = x.String()
	}
	return strings.Join(lines, "\n")
}

// Is makes every Problems an ErrConfig.
func (p Problems) Is(target error) bool { return target == ErrConfig }

func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return p
}
