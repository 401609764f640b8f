package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/secret"
)

// TestExitCodesAreThoseOfTheWire reads the table that every client shares.
func TestExitCodesAreThoseOfTheWire(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "conformance", "agentwire", "errors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Codes []struct {
			Code agentwire.Code
			Exit int
		}
	}
	if err := json.Unmarshal(b, &table); err != nil {
		t.Fatal(err)
	}
	if len(table.Codes) != len(agentwire.Codes()) {
		t.Errorf("%d codes in the table, %d in the package", len(table.Codes), len(agentwire.Codes()))
	}
	for _, c := range table.Codes {
		if got := exitCode(c.Code); got != c.Exit {
			t.Errorf("%s exits with %d, want %d", c.Code, got, c.Exit)
		}
	}
}

func TestBrowserArgs(t *testing.T) {
	const url = "http://127.0.0.1:1/start/a%20b;rm"
	for _, tt := range []struct {
		command string
		want    []string
	}{
		{"firefox", []string{"firefox", url}},
		{"firefox -P work", []string{"firefox", "-P", "work", url}},
		{"open --url=%s -x", []string{"open", "--url=" + url, "-x"}},
		{`"/opt/My Browser/b" '%s'`, []string{"/opt/My Browser/b", url}},
		{"b 100%% %s", []string{"b", "100%", url}},
		{`b ""`, []string{"b", "", url}},
		{"b $(id) `id` ;id", []string{"b", "$(id)", "`id`", ";id", url}},
		{"  ", nil},
	} {
		if got := browserArgs(tt.command, url); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.command, got, tt.want)
		}
	}
	if got := splitBrowsers(strings.Join([]string{"", "a %s", " ", "b"}, string(os.PathListSeparator))); !slices.Equal(got, []string{"a %s", "b"}) {
		t.Errorf("list %q", got)
	}
}

// TestMaskHidesAKnownTokenInAnyPieces splits a child's output everywhere.
//
// Invariant: HY-1
func TestMaskHidesAKnownTokenInAnyPieces(t *testing.T) {
	const known = "abcabd-opaque-token"
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		for range rapid.IntRange(0, 6).Draw(t, "parts") {
			text.WriteString(rapid.SampledFrom([]string{known, "abc", "abcabc", "abcabd-opaque", "x\n", known[1:]}).Draw(t, "part"))
		}
		var out bytes.Buffer
		w := mask(&out, []secret.Value{secret.New(known)})
		for rest := text.String(); rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			if _, err := w.Write([]byte(rest[:n])); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(out.String(), known) {
				t.Fatalf("shown before the end: %q", out.String())
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if want := strings.ReplaceAll(text.String(), known, "[redacted]"); out.String() != want {
			t.Fatalf("%q, want %q", out.String(), want)
		}
	})
}

func TestResolve(t *testing.T) {
	c := config{Profiles: map[string]profileConfig{"p": {Issuer: "https://a.test", Client: "tool", Resource: "https://api.test", Scope: "read"}}}
	for _, tt := range []struct {
		name string
		env  []string
		ask  wanted
		want wanted
	}{
		{"all from the config", nil, wanted{}, wanted{Issuer: "https://a.test", Client: "tool", Resource: "https://api.test", Scope: "read"}},
		{"the same issuer", nil, wanted{Issuer: "https://a.test/"}, wanted{Issuer: "https://a.test/", Client: "tool", Resource: "https://api.test", Scope: "read"}},
		{"another issuer", nil, wanted{Issuer: "https://b.test"}, wanted{Issuer: "https://b.test"}},
		{"another issuer by environment", []string{"KEYTETHER_ISSUER=https://b.test"}, wanted{}, wanted{Issuer: "https://b.test"}},
		{"the flag before the environment", []string{"KEYTETHER_ISSUER=https://b.test"}, wanted{Issuer: "https://a.test"}, wanted{Issuer: "https://a.test", Client: "tool", Resource: "https://api.test", Scope: "read"}},
		{"another client", nil, wanted{Client: "other"}, wanted{Issuer: "https://a.test", Client: "other"}},
		{"another resource", nil, wanted{Resource: "https://x.test"}, wanted{Issuer: "https://a.test", Client: "tool", Resource: "https://x.test"}},
		{"another scope", nil, wanted{Scope: "write"}, wanted{Issuer: "https://a.test", Client: "tool", Resource: "https://api.test", Scope: "write"}},
	} {
		a := newApp(Program{Environ: tt.env})
		tt.ask.Profile, tt.want.Profile = "p", "p"
		if got, err := a.resolve(tt.ask, c); err != nil || got != tt.want {
			t.Errorf("%s: %+v %v, want %+v", tt.name, got, err, tt.want)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 s", 59 * time.Second: "59 s", 5 * time.Minute: "5 min", 4*time.Minute + 8*time.Second: "4 min 8 s",
		time.Hour: "1 h 0 min", 23*time.Hour + 59*time.Minute: "23 h 59 min", 72 * time.Hour: "3 days",
	} {
		if got := span(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

// FuzzConfig reads what a person or an accident may have written.
func FuzzConfig(f *testing.F) {
	for _, s := range []string{"", "profiles:\n  default:\n    issuer: https://a.test\n", "profiles: []", "x: 1", "profiles:\n  \"a b\": {}\n", "\x00", "a: &a [*a]", "profiles: {p: {issuer: [1]}}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, _, err := parseConfig("config.yaml", b)
		if err != nil {
			e, ok := errors.AsType[*agentwire.Error](err)
			if !ok || e.Code != agentwire.Usage || strings.Contains(e.Why, "\n") {
				t.Errorf("%#v", err)
			}
		}
		for name := range c.Profiles {
			if !validProfile(name) {
				t.Errorf("profile %q was let through", name)
			}
		}
	})
}
