package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// reader gathers what is wrong while a document is read.
type reader struct {
	file     string
	dir      string
	problems Problems
	warnings []Problem
}

// place is where something stands.
type place struct {
	line, column int
	path         string
}

func (r *reader) fail(at place, format string, args ...any) {
	r.problems = append(r.problems, r.problem(at, format, args...))
}

func (r *reader) warn(at place, format string, args ...any) {
	r.warnings = append(r.warnings, r.problem(at, format, args...))
}

func (r *reader) problem(at place, format string, args ...any) Problem {
	return Problem{File: r.file, Line: at.line, Column: at.column, Where: at.path, What: fmt.Sprintf(format, args...)}
}

func at(tk *token.Token, path string) place {
	if tk == nil || tk.Position == nil {
		return place{path: path}
	}
	return place{line: tk.Position.Line, column: tk.Position.Column, path: path}
}

// document reads the one mapping that a config is.
func (r *reader) document(data []byte) (root ast.Node, ok bool) {
	if len(data) > maxFile {
		r.fail(place{}, "the config is longer than %d bytes", maxFile)
		return nil, false
	}
	if !utf8.Valid(data) {
		r.fail(place{}, "the config is not UTF-8 text. Save it as UTF-8")
		return nil, false
	}
	if nesting(data) > maxNesting {
		r.fail(place{}, "brackets or list marks are nested more than %d deep", maxNesting)
		return nil, false
	}
	defer func() {
		// The YAML library is not ours; a fault of it must not end the server
		// that reloads its config.
		if recover() != nil {
			r.fail(place{}, "this is not YAML")
			root, ok = nil, false
		}
	}()
	f, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var located interface {
			GetMessage() string
			GetToken() *token.Token
		}
		if errors.As(err, &located) {
			r.fail(at(located.GetToken(), ""), "this is not YAML: %s", located.GetMessage())
		} else {
			r.fail(place{}, "this is not YAML")
		}
		return nil, false
	}
	if len(f.Docs) > 1 {
		r.fail(at(f.Docs[1].Start, ""), "a second document begins here. A config is one document")
		return nil, false
	}
	if len(f.Docs) == 0 || f.Docs[0].Body == nil {
		r.fail(place{}, "the config is empty. It needs at least: issuer")
		return nil, false
	}
	return f.Docs[0].Body, true
}

// nesting is how deep unclosed brackets stand at most, or list marks one behind
// the other ("- - - a").
func nesting(data []byte) (deepest int) {
	depth, dashes := 0, 0
	for _, c := range data {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth = max(depth-1, 0)
		}
		switch c {
		case '-':
			dashes++
		case ' ', '\t':
		default:
			dashes = 0
		}
		deepest = max(deepest, depth, dashes)
	}
	return deepest
}

// object is a mapping whose keys have been checked against a closed list.
type object struct {
	r       *reader
	at      place
	members map[string]member
}

type member struct {
	key   string
	at    place // of the key
	value ast.Node
}

// pairs reads a mapping in its order, refusing doubled keys.
func (r *reader) pairs(n ast.Node, p place) ([]member, bool) {
	var values []*ast.MappingValueNode
	switch m := n.(type) {
	case *ast.MappingNode:
		values = m.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{m}
	default:
		r.fail(p, "keys with values are expected here, as in  key: value,  not %s", kindOf(n))
		return nil, false
	}
	var out []member
	lines := map[string]int{}
	for _, v := range values {
		key, ok := keyText(v.Key)
		where := at(v.Key.GetToken(), join(p.path, key))
		switch {
		case !ok:
			r.fail(at(v.Key.GetToken(), p.path), "a key must be plain text; anchors, merges and tags are not read")
		case lines[key] > 0:
			r.fail(where, "this key stands here a second time, after line %d. Remove one of the two", lines[key])
		default:
			lines[key] = where.line
			out = append(out, member{key: key, at: where, value: v.Value})
		}
	}
	return out, true
}

func keyText(k ast.MapKeyNode) (string, bool) {
	switch n := k.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func (r *reader) object(n ast.Node, p place, allowed ...string) (object, bool) {
	o := object{r: r, at: p, members: map[string]member{}}
	pairs, ok := r.pairs(n, p)
	for _, m := range pairs {
		if !slices.Contains(allowed, m.key) {
			r.fail(m.at, "there is no such key. %sAllowed here: %s", guess(m.key, allowed), strings.Join(allowed, ", "))
			continue
		}
		if _, null := m.value.(*ast.NullNode); !null && m.value != nil {
			o.members[m.key] = m
		}
	}
	return o, ok
}

// place is where a key stands, or the object if it is not there.
func (o object) place(key string) place {
	if m, ok := o.members[key]; ok {
		p := m.at
		if tk := m.value.GetToken(); tk != nil && tk.Position != nil && isScalar(m.value) {
			p.line, p.column = tk.Position.Line, tk.Position.Column
		}
		return p
	}
	return place{line: o.at.line, column: o.at.column, path: join(o.at.path, key)}
}

func (o object) has(key string) bool {
	_, ok := o.members[key]
	return ok
}

// text is a key's text, empty if it is not there.
func (o object) text(key string) string {
	m, ok := o.members[key]
	if !ok {
		return ""
	}
	s, _ := o.r.scalar(m.value, o.place(key))
	return s
}

// need is text that must be there.
func (o object) need(key, why string) string {
	if !o.has(key) {
		o.r.fail(o.place(key), "this key is missing. %s", why)
		return ""
	}
	s := o.text(key)
	if s == "" {
		o.r.fail(o.place(key), "this is empty. %s", why)
	}
	return s
}

// choice is one of the allowed words, the first if the key is not there.
func (o object) choice(key string, allowed ...string) string {
	if !o.has(key) {
		return allowed[0]
	}
	s := o.text(key)
	if !slices.Contains(allowed, s) {
		o.r.fail(o.place(key), "%q is not allowed. %sAllowed: %s", short(s), guess(s, allowed), strings.Join(allowed, ", "))
		return allowed[0]
	}
	return s
}

// duration is zero if the key is not there.
func (o object) duration(key string, least, most time.Duration) time.Duration {
	if !o.has(key) {
		return 0
	}
	d, err := time.ParseDuration(o.text(key))
	if err != nil {
		o.r.fail(o.place(key), "this is not a duration. Write 90s, 5m or 8h")
		return 0
	}
	if d < least || d > most {
		o.r.fail(o.place(key), "%s is out of bounds. Allowed: %s to %s", d, least, most)
		return 0
	}
	return d
}

type item struct {
	at    place
	value ast.Node
}

// list is the items of a list; none if the key is not there.
func (o object) list(key string) []item {
	m, ok := o.members[key]
	if !ok {
		return nil
	}
	seq, ok := m.value.(*ast.SequenceNode)
	if !ok {
		o.r.fail(o.place(key), "a list is expected here, as in  [a, b],  not %s", kindOf(m.value))
		return nil
	}
	if len(seq.Values) > maxEntries {
		o.r.fail(o.place(key), "more than %d entries", maxEntries)
		return nil
	}
	out := make([]item, len(seq.Values))
	for i, v := range seq.Values {
		out[i] = item{at: at(firstToken(v), fmt.Sprintf("%s[%d]", m.at.path, i)), value: v}
	}
	return out
}

// texts is a list of texts, without those that stand twice.
func (o object) texts(key string) (out []string, places []place) {
	for _, it := range o.list(key) {
		s, ok := o.r.scalar(it.value, it.at)
		if !ok {
			continue
		}
		if slices.Contains(out, s) {
			o.r.fail(it.at, "%q stands here twice. Remove one of the two", short(s))
			continue
		}
		out, places = append(out, s), append(places, it.at)
	}
	return out, places
}

// choices is a list of allowed words; def if the key is not there.
func (o object) choices(key string, def []string, allowed ...string) []string {
	if !o.has(key) {
		return def
	}
	texts, places := o.texts(key)
	var out []string
	for i, s := range texts {
		if !slices.Contains(allowed, s) {
			o.r.fail(places[i], "%q is not allowed. %sAllowed: %s", short(s), guess(s, allowed), strings.Join(allowed, ", "))
			continue
		}
		out = append(out, s)
	}
	if len(texts) == 0 {
		o.r.fail(o.place(key), "the list is empty. Leave the key out for the default, or name some of: %s", strings.Join(allowed, ", "))
	}
	return out
}

// scalar is a node's text.
func (r *reader) scalar(n ast.Node, p place) (string, bool) {
	switch v := n.(type) {
	case *ast.StringNode:
		return v.Value, true
	case *ast.LiteralNode:
		return strings.TrimSuffix(v.Value.Value, "\n"), true
	}
	r.fail(p, "text is expected here, not %s", kindOf(n))
	return "", false
}

func isScalar(n ast.Node) bool {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		return false
	}
	return true
}

func firstToken(n ast.Node) *token.Token {
	switch m := n.(type) {
	case *ast.MappingNode:
		if len(m.Values) > 0 && !m.IsFlowStyle {
			return m.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return m.Key.GetToken()
	case nil:
		return nil
	}
	return n.GetToken()
}

func kindOf(n ast.Node) string {
	switch n.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys with values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number. Put it in quotes if it is meant as text"
	case *ast.BoolNode:
		return "true or false. Put it in quotes if it is meant as text"
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode:
		return "an anchor or alias. Those are not read; write it out"
	case *ast.TagNode:
		return "a tag. Tags are not read"
	}
	return "text"
}

func join(path, key string) string {
	if path == "" {
		return short(key)
	}
	return path + "." + short(key)
}

// short repeats a wrong value, but not at length.
func short(s string) string {
	if utf8.RuneCountInString(s) <= maxShown {
		return s
	}
	return string([]rune(s)[:maxShown]) + "…"
}
