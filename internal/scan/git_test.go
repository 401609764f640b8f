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

// TestStagedOddNames: no name of a file hides it, neither from git's revision syntax nor in a
// folder that diff.relative would leave out.
func TestStagedOddNames(t *testing.T) {
	r := newRepository(t)
	names := []string{"0:env", "1:env", "-env", ":env", "a\nb", "sp ace", "ünï", "x/env", "@{0}"}
	for _, name := range names {
		r.write(name, mint(secret.Code)+" of "+name)
	}
	r.git("add", "-A")
	r.git("config", "diff.relative", "true")
	s := New(Rules{})
	if err := s.Staged(t.Context(), filepath.Join(r.dir, "x")); err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range s.Report().Findings {
		found[f.Source] = true
	}
	for _, name := range names {
		if !found[name] {
			t.Errorf("%q was not looked at", name)
		}
	}
}

// TestStrangersRepository: nothing that the config of a repository names is run, whatever it is
// called.
//
// Invariant: HY-4
func TestStrangersRepository(t *testing.T) {
	r := newRepository(t)
	ran := filepath.Join(t.TempDir(), "ran")
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$*\" >>'"+ran+"'\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.write("env", refresh())
	r.write("folder/file", "nothing")
	r.write(".gitattributes", "* diff=d filter=f\n")
	r.commit("first")
	signed := strings.Replace(r.git("cat-file", "commit", "HEAD"), "\n\n", "\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n iQEz\n -----END PGP SIGNATURE-----\n\n", 1)
	c := exec.Command("git", "-C", r.dir, "hash-object", "-t", "commit", "-w", "--stdin")
	c.Stdin = strings.NewReader(signed)
	commit, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	r.git("update-ref", "refs/heads/main", strings.TrimSpace(string(commit)))
	r.write("env", refresh()+" again")
	r.git("add", "-A")
	for _, key := range []string{
		"core.fsmonitor", "core.pager", "pager.log", "pager.diff", "core.sshCommand", "core.alternateRefsCommand", "core.editor", "core.askPass",
		"gpg.program", "gpg.ssh.program", "diff.external", "diff.d.command", "diff.d.textconv", "filter.f.clean", "filter.f.smudge", "filter.f.process",
	} {
		r.git("config", key, program)
	}
	r.git("config", "core.hooksPath", filepath.Dir(program))
	r.git("config", "log.showSignature", "true")
	_ = os.Remove(ran) // what git itself did of that until now
	s := New(Rules{})
	if err := s.History(t.Context(), r.dir); err != nil || len(s.Report().Findings) == 0 {
		t.Errorf("%v, %+v", err, s.Report())
	}
	if err := s.Staged(t.Context(), r.dir); err != nil {
		t.Error(err)
	}
	// A folder is gone that a partial clone would fetch.
	tree := r.git("rev-parse", "HEAD:folder")
	if err := os.Remove(filepath.Join(r.dir, ".git", "objects", tree[:2], tree[2:])); err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{
		"core.repositoryFormatVersion": "1", "extensions.partialClone": "origin", "remote.origin.promisor": "true",
		"remote.origin.url": "ext::" + program, "remote.origin.uploadPack": program, "protocol.ext.allow": "always",
	} {
		r.git("config", key, value)
	}
	if err := New(Rules{}).History(t.Context(), r.dir); !errors.Is(err, ErrGit) {
		t.Errorf("an object is missing: %v", err)
	}
	if b, err := os.ReadFile(ran); err == nil {
		t.Errorf("a program that the repository names was run: %s", b)
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
