package keytether

import (
	"cmp"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// linkPattern finds the relative links of a Markdown document.
var linkPattern = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)|(?:src|srcset)="([^"#]+)"`)

// codeBlock is a block of Go or Python in a Markdown document.
var codeBlock = regexp.MustCompile("(?s)\n```(go|python)\n(.*?)```")

// TestDocsLinks follows the links between our documents.
func TestDocsLinks(t *testing.T) {
	var docs []string
	for _, dir := range []string{".", "docs", "docs/adr", "docs/cli", "docs/guides"} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".md") {
				docs = append(docs, path.Join(dir, e.Name()))
			}
		}
	}
	for _, doc := range docs {
		md, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range linkPattern.FindAllStringSubmatch(string(md), -1) {
			target := cmp.Or(m[1], m[2])
			if strings.Contains(target, ":") {
				continue // another site
			}
			if !exists(path.Join(path.Dir(doc), target)) {
				t.Errorf("%s links to %s, which is not there", doc, target)
			}
		}
	}
}

// TestDocsGuides wants every line of code in a guide to stand, in one piece, in an
// example that is compiled, or in Python run.
func TestDocsGuides(t *testing.T) {
	var code string
	for _, pattern := range []string{"examples/go/*/*.go", "login/example_test.go", "verify/example_test.go", "examples/python/*/*.py"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", pattern, err, len(files))
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			code += string(text)
		}
	}
	guides, err := filepath.Glob("docs/guides/*.md")
	if err != nil || len(guides) == 0 {
		t.Fatalf("no guides: %v", err)
	}
	guides = append(guides, "python/README.md", "README.md")
	for _, guide := range guides {
		md, err := os.ReadFile(guide)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range codeBlock.FindAllStringSubmatch(string(md), -1) {
			if !strings.Contains(code, m[2]) {
				t.Errorf("%s shows code (%s) that no example has:\n%s", guide, m[1], m[2])
			}
		}
	}
}

// TestDocsArchitecture wants a word about every package in ARCHITECTURE.md.
func TestDocsArchitecture(t *testing.T) {
	md, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range table {
		name := strings.TrimPrefix(r.pkg, "internal/")
		if !strings.Contains(string(md), "`"+name+"`") {
			t.Errorf("ARCHITECTURE.md does not speak of `%s`", name)
		}
	}
}

// TestDocsDependencies wants a line about every module that we import, tests
// included.
func TestDocsDependencies(t *testing.T) {
	md, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for _, p := range packages(t) {
		for _, f := range p.files {
			for _, spec := range f.ast.Imports {
				imp := importPath(spec)
				if !isThirdParty(imp) || strings.HasPrefix(imp, module) || listed(string(md), imp) || said[imp] {
					continue
				}
				said[imp] = true
				t.Errorf("docs/dependencies.md does not speak of %s, which %s imports", imp, f.path)
			}
		}
	}
}

// listed says whether the table names the module of an import path: the path or
// a beginning of it, of two elements at least.
func listed(md, imp string) bool {
	for elems := strings.Split(imp, "/"); len(elems) >= 2; elems = elems[:len(elems)-1] {
		name := regexp.QuoteMeta(strings.Join(elems, "/"))
		if regexp.MustCompile(`(?m)^\|[^|]*\b` + name + `[ ,]`).MatchString(md) {
			return true
		}
	}
	return false
}

// TestDocsConfig wants a line about every key of the config in docs/config.md.
func TestDocsConfig(t *testing.T) {
	md, err := os.ReadFile("docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range packages(t) {
		if p.path != "internal/config" {
			continue
		}
		for _, f := range p.files {
			for _, key := range configKeys(f.ast) {
				found++
				if !strings.Contains(string(md), "`"+key+"`") {
					t.Errorf("docs/config.md does not speak of `%s`", key)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("found %d keys only: is the table in internal/config still called keys?", found)
	}
}

// configKeys reads the strings of `var keys = map[string][]string{…}`.
func configKeys(f *ast.File) []string {
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Names) != 1 || spec.Names[0].Name != "keys" || len(spec.Values) != 1 {
			return true
		}
		table, ok := spec.Values[0].(*ast.CompositeLit)
		if !ok {
			return true
		}
		for _, e := range table.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			ast.Inspect(kv.Value, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok {
					out = append(out, strings.Trim(lit.Value, "\""))
				}
				return true
			})
		}
		return false
	})
	return out
}
