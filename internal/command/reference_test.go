package command

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write docs/cli anew")

// TestReference compares docs/cli with the commands. Write it anew with
//
//	go test ./internal/command -run Reference -update
func TestReference(t *testing.T) {
	root := newApp(Program{}).root()
	root.InitDefaultHelpFlag()
	var md, man strings.Builder
	md.WriteString("# keytether\n\nMade from the program itself (`internal/command/reference_test.go`); do not edit.\n")
	man.WriteString(".TH KEYTETHER 1\n.SH NAME\nkeytether \\- " + roff(root.Short) + "\n")
	walk(root, func(c *cobra.Command) {
		markdown(&md, c)
		manual(&man, c)
	})
	man.WriteString(".SH EXIT STATUS\n0 done; 1 failed; 2 wrong usage; 3 not logged in; 4 denied by the person or by policy; 5 expired or timed out; 6 server not reachable; 7 credential store not usable.\n")
	for name, text := range map[string]string{"README.md": md.String(), "keytether.1": man.String()} {
		path := filepath.Join("..", "..", "docs", "cli", name)
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != text {
			t.Errorf("docs/cli/%s is not what the program says; run this test with -update", name)
		}
	}
}

func walk(c *cobra.Command, do func(*cobra.Command)) {
	if c.Hidden || c.Name() == "help" {
		return
	}
	do(c)
	for _, sub := range c.Commands() {
		walk(sub, do)
	}
}

func long(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return c.Short + "."
}

func flags(c *cobra.Command) []string {
	var out []string
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		kind, what := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		if kind != "" {
			name += " " + kind
		}
		out = append(out, name+"\x00"+what)
	})
	return out
}

func markdown(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n    %s\n\n%s\n", c.CommandPath(), c.UseLine(), long(c))
	if c.Example != "" {
		fmt.Fprintf(b, "\n```\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(c.Example, "  "), "\n  ", "\n"))
	}
	for i, f := range flags(c) {
		if i == 0 {
			b.WriteString("\n| flag | |\n|---|---|\n")
		}
		name, what, _ := strings.Cut(f, "\x00")
		fmt.Fprintf(b, "| `%s` | %s |\n", name, strings.ReplaceAll(what, "|", `\|`))
	}
}

func manual(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, ".SH %s\n.B %s\n.PP\n%s\n", roff(strings.ToUpper(c.CommandPath())), roff(c.UseLine()), roff(long(c)))
	for _, f := range flags(c) {
		name, what, _ := strings.Cut(f, "\x00")
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(name), roff(what))
	}
	if c.Example != "" {
		fmt.Fprintf(b, ".PP\n.nf\n%s\n.fi\n", roff(c.Example))
	}
}

// roff escapes text for troff: dashes are dashes, and no line begins with a request.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
		if l == "" {
			lines[i] = ".PP"
		}
	}
	return strings.Join(lines, "\n")
}
