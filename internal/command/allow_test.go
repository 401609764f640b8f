package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const listed = `# mine
profiles:
  work:
    issuer: https://auth.example.test
    resource: https://api.example.test
    allow:
      - executable: /usr/bin/git # for pushes
        resources: [https://api.example.test]
      - {executable: /opt/tools/}
    confirm: true
  home:
    issuer: https://home.example.test
`

// TestRulesOfTheConfig reads the lists as an agent does, while the file changes.
//
// Invariant: WA-9
func TestRulesOfTheConfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	a := newApp(Program{Environ: []string{"KEYTETHER_CONFIG=" + path}})
	rules := a.rules()
	if r, err := rules("work"); err != nil || r.Allow != nil || r.Confirm {
		t.Errorf("without a file: %+v %v", r, err)
	}
	write := func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(listed)
	r, err := rules("work")
	if err != nil || len(r.Allow) != 2 || r.Allow[0].Executable != "/usr/bin/git" || r.Allow[0].Resources[0] != "https://api.example.test" ||
		r.Allow[1].Executable != "/opt/tools/" || !r.Confirm {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := rules("home"); err != nil || r.Allow != nil || r.Confirm {
		t.Errorf("%+v %v", r, err)
	}
	write(strings.Replace(listed, "confirm", "conform", 1)) // the same length
	if err := os.Chtimes(path, time.Now(), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, profile := range []string{"work", "home", "none"} {
		if r, err := rules(profile); err == nil || !strings.Contains(err.Error(), path+":10:5: unknown field") {
			t.Errorf("a config that is not understood: %+v %v", r, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := rules("work"); err == nil {
		t.Error("what cannot be read allows everything")
	}
}

// TestAllowIsStrict: what a list cannot mean is refused with its line.
//
// Invariant: WA-9
func TestAllowIsStrict(t *testing.T) {
	const head = "profiles:\n  work:\n    allow:"
	for _, c := range []struct{ text, want string }{
		{" []", ":3:"},
		{"\n      - executable: git", ":4:"},
		{"\n      - executable: /usr/bin/../bin/git", ":4:"},
		{"\n      - executable: /usr//bin/git", ":4:"},
		{"\n      - executable: /usr/bin/git\n      - executable: \"/usr/bin/g\\tt\"", ":5:"},
		{"\n      - executable: /usr/bin/git\n      - resources: [https://api.example.test]", ":5"},
		{"\n      - executable: /usr/bin/git\n        resource: https://api.example.test", ":5:"},
		{"\n      - /usr/bin/git", ":4:"},
		{" /usr/bin/git", ":3:"},
		{"\n      - {}", ":4"},
	} {
		_, _, err := parseConfig("config.yaml", []byte(head+c.text+"\n"))
		if err == nil || !strings.Contains(err.Error(), "config.yaml"+c.want) {
			t.Errorf("%q: %v, want line %s", c.text, err, c.want)
		}
	}
}

// TestRememberKeepsTheLists: a login writes what it was for and leaves the person's own words.
//
// Invariant: WA-9
func TestRememberKeepsTheLists(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(listed), 0o600); err != nil {
		t.Fatal(err)
	}
	a := newApp(Program{Environ: []string{"KEYTETHER_CONFIG=" + path}})
	if err := a.remember(wanted{Profile: "work", Issuer: "https://other.example.test"}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.rules()("work")
	if err != nil || len(r.Allow) != 2 || !r.Confirm || !strings.Contains(string(b), "https://other.example.test") || !strings.Contains(string(b), "# for pushes") {
		t.Errorf("%+v %v\n%s", r, err, b)
	}
}
