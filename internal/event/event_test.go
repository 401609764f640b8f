package event

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"
)

// The list is closed: what is declared is what All has, once each.
func TestAllIsTheDeclaredList(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []Name
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Name" {
			s, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared = append(declared, Name(s))
		}
		return true
	})
	if !slices.Equal(declared, All()) {
		t.Errorf("declared %v\nAll has %v", declared, All())
	}
	slices.Sort(declared)
	if len(slices.Compact(declared)) != len(All()) {
		t.Error("a name is declared twice")
	}
}
