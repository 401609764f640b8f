package keytether

import (
	"cmp"
	"fmt"
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// row is one line of the table in INVARIANTS.md.
type row struct {
	id       string
	text     string
	source   string
	enforced []string // file.go:Func or file.go:Type.Method
	proved   []string // package/folder:TestName
	mutation string
	seen     string // "yes" when somebody saw the tests fail under the mutation
	line     int
}

const columns = 7

var (
	idPattern       = regexp.MustCompile(`^[A-Z]{2,3}-[0-9]+[a-z]?$`)
	enforcedPattern = regexp.MustCompile(`^[\w./-]+\.(go|py):(\w+\.)?\w+$`)
	provedPattern   = regexp.MustCompile(`^[\w./-]+:(Test|Fuzz|Example)\w+$`)
	commentPattern  = regexp.MustCompile(`(?s)<!--.*?-->`)
	pythonPattern   = regexp.MustCompile(`(?m)^(    )?(class|def|async def) (\w+)`)
	markerPattern   = regexp.MustCompile(`^Invariants?:\s*(.+)$`)
)

// parseInvariants reads the rows of the Markdown table: its head begins with
// "| id |". HTML comments are no part of it.
func parseInvariants(md string) ([]row, []string) {
	var rows []row
	var wrong []string
	md = commentPattern.ReplaceAllStringFunc(md, func(c string) string { return strings.Repeat("\n", strings.Count(c, "\n")) })
	inTable := false
	for i, line := range strings.Split(md, "\n") {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			inTable = false
			continue
		}
		cells := splitCells(line)
		switch {
		case len(cells) > 0 && cells[0] == "id":
			inTable = true
		case !inTable || strings.Trim(strings.Join(cells, ""), "-: ") == "":
		case len(cells) != columns:
			wrong = append(wrong, fmt.Sprintf("line %d has %d cells, want %d", i+1, len(cells), columns))
		default:
			rows = append(rows, row{
				id: cells[0], text: cells[1], source: cells[2],
				enforced: splitNames(cells[3]), proved: splitNames(cells[4]),
				mutation: cells[5], seen: cells[6], line: i + 1,
			})
		}
	}
	return rows, wrong
}

// splitCells splits a line of a Markdown table; "\|" is no border.
func splitCells(line string) []string {
	const bar = "\x00"
	line = strings.ReplaceAll(line, `\|`, bar)
	line = strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|")
	var cells []string
	for _, c := range strings.Split(line, "|") {
		cells = append(cells, strings.TrimSpace(strings.ReplaceAll(c, bar, "|")))
	}
	return cells
}

// splitNames splits names that may stand in back quotes and are parted by
// commas, white space or <br>.
func splitNames(cell string) []string {
	cell = strings.NewReplacer("`", " ", ",", " ", "<br>", " ").Replace(cell)
	return strings.Fields(cell)
}

// source is what the checks need to know of our code.
type source struct {
	funcs map[string]bool          // file.go:Func and file.go:Type.Method
	tests map[string]*ast.FuncDecl // folder:TestName
	marks map[string][]string      // folder:TestName -> ids in its doc comment
}

func readSource(t *testing.T) source {
	s := source{map[string]bool{}, map[string]*ast.FuncDecl{}, map[string][]string{}}
	for _, p := range packages(t) {
		for _, f := range p.files {
			for _, d := range f.ast.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok {
					continue
				}
				if !f.test {
					s.funcs[f.path+":"+funcName(fn)] = true
					continue
				}
				s.addTest(p.path+":"+fn.Name.Name, fn)
			}
		}
	}
	s.addPython(t)
	return s
}

func (s source) addTest(name string, fn *ast.FuncDecl) {
	s.tests[name] = fn
	if ids := marks(fn.Doc); len(ids) > 0 {
		s.marks[name] = ids
	}
}

// addPython adds the functions and methods of the Python package. There, too, only
// Go tests count as proofs.
func (s source) addPython(t *testing.T) {
	t.Helper()
	files, err := filepath.Glob("python/src/keytether/*.py")
	if err != nil || len(files) == 0 {
		t.Fatalf("no Python: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		class := ""
		for _, m := range pythonPattern.FindAllStringSubmatch(string(text), -1) {
			switch {
			case m[2] == "class":
				class = m[3]
			case m[1] == "":
				s.funcs[file+":"+m[3]] = true
			default:
				s.funcs[file+":"+class+"."+m[3]] = true
			}
		}
	}
}

// marks reads the ids of a doc comment's lines "Invariant: ID, ID".
func marks(doc *ast.CommentGroup) []string {
	var ids []string
	for _, line := range strings.Split(doc.Text(), "\n") {
		if m := markerPattern.FindStringSubmatch(strings.TrimSpace(line)); m != nil {
			ids = append(ids, splitNames(strings.TrimRight(m[1], "."))...)
		}
	}
	return ids
}

func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return fn.Name.Name
	}
	typ := fn.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	switch x := typ.(type) {
	case *ast.IndexExpr:
		typ = x.X
	case *ast.IndexListExpr:
		typ = x.X
	}
	if id, ok := typ.(*ast.Ident); ok {
		return id.Name + "." + fn.Name.Name
	}
	return fn.Name.Name
}

// skips says how a test may come to nothing without failing, or "".
func skips(fn *ast.FuncDecl) string {
	found := ""
	ast.Inspect(fn, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			switch sel.Sel.Name {
			case "Skip", "Skipf", "SkipNow", "Short":
				found = sel.Sel.Name
			}
		}
		return found == ""
	})
	return found
}

// check compares the table with the code, in both directions.
func check(rows []row, s source) []string {
	var wrong []string
	say := func(r row, format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("line %d, %s: ", r.line, cmp.Or(r.id, "no id"))+fmt.Sprintf(format, args...))
	}
	ids := map[string]bool{}
	inTable := map[string]bool{} // "test id"
	for _, r := range rows {
		if !idPattern.MatchString(r.id) {
			say(r, "the id does not look like CF-1a")
		}
		if ids[r.id] {
			say(r, "the id stands twice")
		}
		ids[r.id] = true
		if r.text == "" || r.source == "" || r.mutation == "" || len(r.enforced) == 0 || len(r.proved) == 0 {
			say(r, "a cell is empty (only the last may be)")
		}
		if r.seen != "" && r.seen != "yes" {
			say(r, "the last cell is %q, want yes or nothing", r.seen)
		}
		for _, name := range r.enforced {
			switch {
			case !enforcedPattern.MatchString(name):
				say(r, "%s does not look like internal/grant/step.go:Step", name)
			case !s.funcs[name]:
				say(r, "there is no function %s", name)
			}
		}
		for _, name := range r.proved {
			inTable[name+" "+r.id] = true
			fn := s.tests[name]
			switch {
			case !provedPattern.MatchString(name):
				say(r, "%s does not look like internal/grant:TestStep", name)
			case fn == nil:
				say(r, "there is no test %s", name)
			case !slices.Contains(s.marks[name], r.id):
				say(r, "the doc comment of %s does not say \"Invariant: %s\"", name, r.id)
			case skips(fn) != "":
				say(r, "%s calls %s: a proof is not optional", name, skips(fn))
			}
		}
	}
	for name, marked := range s.marks {
		for _, id := range marked {
			if !inTable[name+" "+id] {
				wrong = append(wrong, fmt.Sprintf("%s says it proves %s, which INVARIANTS.md does not say", name, id))
			}
		}
	}
	slices.Sort(wrong)
	return wrong
}

// TestInvariants keeps INVARIANTS.md true.
func TestInvariants(t *testing.T) {
	md, err := os.ReadFile("INVARIANTS.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(md), "| id |") {
		t.Fatal("INVARIANTS.md has no table")
	}
	rows, wrong := parseInvariants(string(md))
	for _, w := range append(wrong, check(rows, readSource(t))...) {
		t.Error(w)
	}
	t.Logf("%d invariants", len(rows))
}

// TestInvariantsFindsLies breaks each rule of the table once.
func TestInvariantsFindsLies(t *testing.T) {
	s := source{
		funcs: map[string]bool{"a/a.go:F": true, "a/a.go:T.M": true},
		tests: map[string]*ast.FuncDecl{"a:TestA": {Name: ast.NewIdent("TestA"), Type: &ast.FuncType{}}},
		marks: map[string][]string{"a:TestA": {"CF-1"}},
	}
	const head = "| id | it | source | enforced | proved | mutation | seen |\n|---|---|---|---|---|---|---|\n"
	const good = "| CF-1 | text | RFC 1 §2 | `a/a.go:F`, `a/a.go:T.M` | `a:TestA` | drop \\| it | yes |\n"
	for _, tt := range []struct{ name, table, want string }{
		{"all well", good, ""},
		{"planned rows are a comment", good + "\n<!--\n" + head + "| CF-2 | x |\n-->\n", ""},
		{"no row for a marked test", "", "a:TestA says it proves CF-1"},
		{"twice", good + good, "stands twice"},
		{"no function", strings.Replace(good, "a.go:F", "a.go:G", 1), "no function a/a.go:G"},
		{"no test", strings.Replace(good, "TestA", "TestB", 1), "no test a:TestB"},
		{"unmarked test", good + strings.Replace(good, "CF-1", "CF-2", 1), `does not say "Invariant: CF-2"`},
		{"empty mutation", strings.Replace(good, `drop \| it`, "", 1), "a cell is empty"},
		{"odd id", strings.Replace(good, "CF-1", "first", 1), "does not look like CF-1a"},
		{"a cell too few", good + "| CF-3 | x |\n", "has 2 cells"},
		{"odd last cell", strings.Replace(good, "yes", "perhaps", 1), "want yes or nothing"},
		{"no test name", strings.Replace(good, "a:TestA", "a:Helper", 1), "does not look like internal/grant:TestStep"},
	} {
		rows, wrong := parseInvariants(head + tt.table)
		got := strings.Join(append(wrong, check(rows, s)...), "\n")
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	rows, _ := parseInvariants(head + good)
	if len(rows) != 1 || rows[0].mutation != "drop | it" {
		t.Errorf("rows = %+v", rows)
	}
	skipping := &ast.FuncDecl{Name: ast.NewIdent("TestA"), Type: &ast.FuncType{}, Body: &ast.BlockStmt{List: []ast.Stmt{
		&ast.ExprStmt{X: &ast.CallExpr{Fun: &ast.SelectorExpr{X: ast.NewIdent("t"), Sel: ast.NewIdent("Skipf")}}},
	}}}
	s.tests["a:TestA"] = skipping
	if got := check(rows, s); len(got) != 1 || !strings.Contains(got[0], "calls Skipf") {
		t.Errorf("a skipped proof: %q", got)
	}
	doc := &ast.CommentGroup{List: []*ast.Comment{{Text: "// TestA is a test."}, {Text: "//"}, {Text: "// Invariant: CF-1, DP-16a."}}}
	if got := marks(doc); !slices.Equal(got, []string{"CF-1", "DP-16a"}) {
		t.Errorf("marks = %q", got)
	}
}
