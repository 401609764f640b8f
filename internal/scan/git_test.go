package scan

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/secret"
)

// repository is a real one, with a history of its own.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) repository {
	t.Helper()
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("GIT_CONFIG_SYSTEM", os.DevNull)
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		t.Setenv("GIT_"+who+"_NAME", "Somebody")
		t.Setenv("GIT_"+who+"_EMAIL", "somebody@example.test")
	}
	r := repository{t, t.TempDir()}
	r.git("init", "-q", "-b", "main")
	return r
}

func (r repository) git(args ...string) string {
	r.t.Helper()
	c := exec.Command("git", append([]string{"-C", r.dir}, args...)...)
	out, err := c.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (r repository) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		r.t.Fatal(err)
	}
}

func (r repository) commit(message string) string {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "--allow-empty", "-m", message)
	return r.git("rev-parse", "HEAD")
}

// TestHistory finds what was committed and removed, on a branch that is gone, and in a message.
func TestHistory(t *testing.T) {
	r := newRepository(t)
	r.write("clean.txt", "nothing\n")
	r.commit("first")
	r.write("deploy/env.sh", "a=1\nexport T="+refresh()+"\n")
	bad := r.commit("second")
	r.git("rm", "-q", "deploy/env.sh")
	r.commit("third")
	inMessage := r.commit("log in with " + mint(secret.Code))
	r.git("checkout", "-q", "-b", "gone")
	r.write("other.txt", mint(secret.Device))
	lost := r.commit("on a branch")
	r.git("checkout", "-q", "main")
	r.git("branch", "-q", "-D", "gone")

	s := New(Rules{})
	if err := s.History(t.Context(), r.dir); err != nil {
		t.Fatal(err)
	}
	got := map[Kind]Finding{}
	for _, f := range s.Report().Findings {
		if _, twice := got[f.Kind]; twice {
			t.Errorf("%s is found twice", f.Kind)
		}
		got[f.Kind] = f
	}
	for kind, want := range map[Kind]Finding{
		RefreshToken:      {Source: filepath.Join(r.dir, "deploy/env.sh"), Commit: bad, Line: 2, Column: 10},
		AuthorizationCode: {Source: r.dir, Commit: inMessage, Line: 6, Column: 13},
		DeviceCode:        {Source: filepath.Join(r.dir, "other.txt"), Commit: lost, Line: 1, Column: 1},
	} {
		f := got[kind]
		if f.Source != want.Source || f.Commit != want.Commit || f.Line != want.Line || f.Column != want.Column {
			t.Errorf("%s: %+v, want %+v", kind, f, want)
		}
	}
}

// TestStaged looks at what would be committed, not at what lies in the work tree.
func TestStaged(t *testing.T) {
	r := newRepository(t)
	r.write("old.txt", refresh())
	r.commit("it is in the history already")
	r.write("same.txt", mint(secret.Code))
	r.write("a b.txt", "x\n "+mint(secret.Code))
	r.git("add", "-A")
	r.write("a b.txt", "clean again")
	r.write("not-staged.txt", mint(secret.Device))

	s := New(Rules{})
	if err := s.Staged(t.Context(), r.dir); err != nil {
		t.Fatal(err)
	}
	got := s.Report().Findings
	if len(got) != 2 || got[0].Source != "a b.txt" || got[0].Line != 2 || got[0].Column != 2 || got[1].Source != "same.txt" {
		t.Errorf("%+v", got)
	}
	r.git("reset", "-q")
	s = New(Rules{})
	if err := s.Staged(t.Context(), r.dir); err != nil || len(s.Report().Findings) != 0 {
		t.Errorf("nothing is staged: %v, %+v", err, s.Report())
	}
}

// TestHookStopsACommit uses git itself; the program that the hook names is a stand-in here.
func TestHook(t *testing.T) {
	r := newRepository(t)
	path, err := InstallHook(t.Context(), r.dir)
	if err != nil || path != filepath.Join(r.dir, ".git", "hooks", "pre-commit") {
		t.Fatalf("%s, %v", path, err)
	}
	if again, err := InstallHook(t.Context(), r.dir); err != nil || again != path {
		t.Errorf("a second time: %s, %v", again, err)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "keytether"), []byte("#!/bin/sh\necho \"$*\" >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	c := exec.Command("git", "-C", r.dir, "commit", "-q", "--allow-empty", "-m", "x")
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "scan --staged") {
		t.Errorf("the commit was let through: %v, %s", err, out)
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := InstallHook(t.Context(), r.dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("another's hook: %v", err)
	}
}

// TestGitRefuses says git's own words, and none of a folder that is no repository.
func TestGitRefuses(t *testing.T) {
	dir := t.TempDir()
	if IsRepository(dir) {
		t.Error("an empty folder is a repository")
	}
	if err := New(Rules{}).History(t.Context(), dir); !errors.Is(err, ErrGit) || !strings.Contains(err.Error(), "not a git repository") {
		t.Errorf("%v", err)
	}
	if r := newRepository(t); !IsRepository(r.dir) || !IsRepository(filepath.Join(r.dir, ".git")) {
		t.Error("a repository is none")
	}
}
