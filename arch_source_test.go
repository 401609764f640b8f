package keytether

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// file is one parsed file, for whatever system it is.
type file struct {
	path string
	test bool
	ast  *ast.File
	fset *token.FileSet
}

// pkg is one folder with Go files.
type pkg struct {
	path    string // relative to the module; "." for the root
	files   []file
	imports []string // by the files that are not tests
}

// packages parses all our Go files, those for other systems too, which
// `go list` would leave out.
func packages(t *testing.T) []*pkg {
	t.Helper()
	byPath := map[string]*pkg{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if path != "." && (name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		p := byPath[dir]
		if p == nil {
			p = &pkg{path: dir}
			byPath[dir] = p
		}
		test := strings.HasSuffix(path, "_test.go")
		p.files = append(p.files, file{filepath.ToSlash(path), test, f, fset})
		if !test {
			for _, imp := range f.Imports {
				p.imports = append(p.imports, importPath(imp))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var out []*pkg
	for _, p := range byPath {
		sort.Strings(p.imports)
		p.imports = slices.Compact(p.imports)
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *pkg) int { return strings.Compare(a.path, b.path) })
	if len(out) < 2 {
		t.Fatal("found no packages: the test does not run in the module's root")
	}
	return out
}

func importPath(imp *ast.ImportSpec) string {
	path, _ := strconv.Unquote(imp.Path.Value)
	return path
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// impure lists what a pure package may not import of the standard library.
var impure = map[string]string{
	"os": "the world", "os/exec": "the world", "os/signal": "the world", "os/user": "the world",
	"syscall": "the world", "plugin": "the world", "unsafe": "memory",
	"runtime": "the scheduler", "runtime/debug": "the scheduler",
	"crypto/rand": "randomness", "math/rand": "randomness", "math/rand/v2": "randomness",
	"log": "a global logger", "flag": "the command line", "testing": "tests", "expvar": "a global",
	"io/ioutil": "the world", "path/filepath": "the world's shape", "embed": "nothing yet; say why",
}

// exempt names the exceptions, each with its reason.
var exempt = map[string]string{
	"internal/redact imports unsafe (memory)": "reads a string's bytes without a copy: it runs over every line that is logged",
}

// impureNames lists identifiers that a pure package may not use.
var impureNames = map[string]string{
	"time.Now": "a clock", "time.Since": "a clock", "time.Until": "a clock",
	"time.After": "a timer", "time.AfterFunc": "a timer", "time.Tick": "a timer",
	"time.NewTimer": "a timer", "time.NewTicker": "a timer", "time.Sleep": "a timer",
	"time.Local": "the machine's time zone", "time.LoadLocation": "the machine's files",
	"slog.Default": "a global logger", "slog.Debug": "a global logger", "slog.Info": "a global logger",
	"slog.Warn": "a global logger", "slog.Error": "a global logger", "slog.SetDefault": "a global logger",
	"big.NewRand": "randomness", "ecdsa.GenerateKey": "randomness", "rsa.GenerateKey": "randomness",
	"ed25519.GenerateKey": "randomness",
}

// TestArchPure keeps time, randomness and the world out of the pure packages.
func TestArchPure(t *testing.T) {
	isPure := map[string]bool{}
	for _, name := range strings.Fields(pure) {
		isPure["internal/"+name] = true
	}
	for _, p := range packages(t) {
		if !isPure[p.path] {
			continue
		}
		for _, f := range p.files {
			if !f.test {
				for _, broken := range impurities(f.ast) {
					if exempt[p.path+" "+broken] != "" {
						continue
					}
					t.Errorf("%s: %s; a pure package gets it as an argument, so that every decision can be replayed", f.path, broken)
				}
			}
		}
	}
}

func impurities(f *ast.File) []string {
	var out []string
	names := map[string]string{} // how the file calls a package -> the package's last element
	for _, imp := range f.Imports {
		path := importPath(imp)
		if what, bad := impure[path]; bad {
			out = append(out, "imports "+path+" ("+what+")")
		}
		if path == "net" || strings.HasPrefix(path, "net/") && path != "net/url" && path != "net/netip" {
			out = append(out, "imports "+path+" (the network)")
		}
		base := path[strings.LastIndex(path, "/")+1:]
		name := base
		if imp.Name != nil {
			name = imp.Name.Name
		}
		if name == "." {
			out = append(out, "imports "+path+" with a dot, which hides where names come from")
		}
		names[name] = base
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok || names[x.Name] == "" {
			return true
		}
		full := names[x.Name] + "." + sel.Sel.Name
		if what, bad := impureNames[full]; bad {
			out = append(out, "uses "+full+" ("+what+")")
		}
		return true
	})
	return out
}

// TestArchPureFindsImpurities shows that the search finds what it is for.
func TestArchPureFindsImpurities(t *testing.T) {
	const src = `package p
import (
	clock "time"
	"net/http"
	"net/url"
	. "strings"
	"crypto/rand"
	"log/slog"
)
var _ = clock.Now
var _ = clock.Second
var _ url.URL
func f(l *slog.Logger) { l.Info("allowed"); slog.Info("not allowed") }
`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(impurities(f), "\n")
	for _, want := range []string{"uses time.Now", "imports net/http", "imports strings with a dot", "imports crypto/rand", "uses slog.Info"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q in:\n%s", want, got)
		}
	}
	if n := len(impurities(f)); n != 5 {
		t.Errorf("%d impurities, want 5:\n%s", n, got)
	}
}

// TestArchPackageComments wants exactly one package comment per package: the
// place where a newcomer reads what the room is for.
func TestArchPackageComments(t *testing.T) {
	for _, p := range packages(t) {
		var with []string
		tests := !slices.ContainsFunc(p.files, func(f file) bool { return !f.test })
		for _, f := range p.files {
			if f.test == tests && f.ast.Doc != nil {
				with = append(with, f.path)
			}
		}
		if len(with) != 1 {
			t.Errorf("%s has %d package comments %v, want one, in its main file", p.path, len(with), with)
		}
	}
}

// Bounds of size; what is longer does more than one thing.
const (
	maxLines   = 500
	maxMethods = 6
)

// TestArchShape keeps files and interfaces small and start-up without surprises.
func TestArchShape(t *testing.T) {
	for _, p := range packages(t) {
		for _, f := range p.files {
			if f.test {
				continue
			}
			if n := f.fset.File(f.ast.Pos()).LineCount(); n > maxLines {
				t.Errorf("%s has %d lines, at most %d: split it by what its parts are for", f.path, n, maxLines)
			}
			for _, broken := range shapes(f.ast) {
				t.Errorf("%s: %s", f.path, broken)
			}
		}
	}
}

func shapes(f *ast.File) []string {
	var out []string
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				out = append(out, "has a func init: what runs before main cannot be tested, nor handed another clock")
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				ts, ok := s.(*ast.TypeSpec)
				if !ok {
					continue
				}
				if it, ok := ts.Type.(*ast.InterfaceType); ok && methods(it) > maxMethods {
					out = append(out, "interface "+ts.Name.Name+" has "+strconv.Itoa(methods(it))+" methods of its own, at most 6: split it by who calls it, or by the consistency it needs")
				}
			}
		}
	}
	return out
}

// methods counts the methods an interface declares itself. Composing small
// interfaces into the one that a driver implements is fine.
func methods(it *ast.InterfaceType) int {
	n := 0
	for _, m := range it.Methods.List {
		n += len(m.Names)
	}
	return n
}

// TestArchShapeFinds shows that the search finds what it is for.
func TestArchShapeFinds(t *testing.T) {
	const src = `package p
func init() {}
type T struct{}
func (T) init() {}
type Big interface { A(); B(); C(); D(); E(); F(); G() }
type Whole interface { Six; Seven; Close() error }
`
	f, err := parser.ParseFile(token.NewFileSet(), "p.go", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	got := shapes(f)
	if len(got) != 2 || !strings.Contains(got[0], "func init") || !strings.Contains(got[1], "interface Big has 7") {
		t.Errorf("shapes = %q", got)
	}
}
