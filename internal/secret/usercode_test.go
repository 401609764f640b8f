package secret

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestUserCodeIsReadAsItIsTyped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		code, err := NewUserCode(draw32(t, "random"))
		if err != nil {
			return // too few unbiased bytes: about once in 10^9
		}
		if len(code) != 9 || code[4] != '-' || strings.Trim(code, userAlphabet+"-") != "" {
			t.Fatalf("%q", code)
		}
		typed := code
		for i, f := range []func(string) string{
			strings.ToLower,
			func(s string) string { return strings.ReplaceAll(s, "-", " ") },
			func(s string) string { return "  " + strings.ReplaceAll(s, "-", "") + "\t" },
			func(s string) string { return strings.NewReplacer("B", "8", "b", "8", "S", "5", "s", "5").Replace(s) },
			func(s string) string { return strings.NewReplacer("Z", "2", "G", "6", "L", "1", "V", "u").Replace(s) },
		} {
			if rapid.Bool().Draw(t, string(rune('a'+i))) {
				typed = f(typed)
			}
		}
		if got, err := ReadUserCode(typed); err != nil || got != code {
			t.Fatalf("%q typed as %q was read as %q (%v)", code, typed, got, err)
		}
		if UserCodeHash(code) == UserCodeHash(code[1:]) {
			t.Fatal("the hash tells nothing apart")
		}
	})
}

func TestReadUserCodeRefuses(t *testing.T) {
	for _, s := range []string{"", "BCDF", "BCDF-GHJ", "BCDF-GHJKL", "BCDF-GHJA", "BCDF-GHJ0", "BCDF-GHJO", "ВCDF-GHJK", strings.Repeat(" ", 65)} {
		if got, err := ReadUserCode(s); err == nil {
			t.Errorf("%q read as %q", s, got)
		}
	}
}

func FuzzReadUserCode(f *testing.F) {
	f.Add("bcdf ghjk")
	f.Fuzz(func(t *testing.T, s string) {
		code, err := ReadUserCode(s)
		if err != nil {
			return
		}
		if again, err := ReadUserCode(code); err != nil || again != code {
			t.Fatalf("%q → %q → %q", s, code, again)
		}
	})
}
