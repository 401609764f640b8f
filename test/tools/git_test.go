//go:build linux

package tools

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit/depot"
)

// testGit pushes and clones over HTTP, with a helper configured that would write the token down,
// loses its token in the middle, and tries where it has no login.
func testGit(t *testing.T, w *world) {
	dir := w.folder(t, "git")
	root := filepath.Join(w.st.Dir, "repositories")
	do(t, os.Mkdir(root, 0o700))
	backend, err := depot.Git(root, "reports.git")
	do(t, err)
	w.serveBasic(t, "git", backend)
	repo := w.url["git"] + "/reports.git"

	// The lines of the help and of the guide are the same, and they are what is used.
	lines := guide(t, "sh", "git config")
	if help := runs(t, w.command(t, dir, "keytether", "helper", "git", "--help")).out; strings.ReplaceAll(lineWith(t, help, `helper ""`), "example.test", "example.com") != "  "+lineWith(t, lines, `helper ""`) ||
		strings.ReplaceAll(lineWith(t, help, "--add"), "example.test", "example.com") != "  "+lineWith(t, lines, "--add") {
		t.Errorf("the help has other lines than the guide:\n%s", help)
	}
	lines = w.replaced(t, lines, "git", "https://git.example.com")
	const store = "git config --global credential.helper store\n"
	const commit = "git -c user.name=Person -c user.email=person@example.test commit -q --allow-empty -m "
	home := w.folder(t, "git-home")
	w.sh(t, dir, store+lines+lines+"git clone -q "+repo+" tree && cd tree && git checkout -q -B main && "+commit+"first && git push -q origin main", "HOME="+home)
	w.sh(t, dir, "rm -rf tree && git clone -q "+repo+" tree", "HOME="+home)
	if log := w.sh(t, dir, "git -C tree log --format=%s").out; log != "first\n" {
		t.Errorf("cloned what was pushed: %q", log)
	}
	// A helper behind ours would be handed the token.
	behind := w.command(t, dir, "/bin/sh", "-euc", lines+store+"git ls-remote -q "+repo)
	late := w.folder(t, "git-late")
	behind.Env = append(behind.Env, "HOME="+late)
	if r := runs(t, behind); r.code == 0 || !strings.Contains(r.errs, "other helper") || !strings.Contains(r.errs, "store") {
		t.Errorf("with another helper behind ours: code %d\n%s", r.code, r.errs)
	}
	for _, h := range []string{home, late} {
		if kept, err := os.ReadFile(filepath.Join(h, ".git-credentials")); err == nil {
			t.Errorf("%d bytes were written down", len(kept))
		}
	}
	w.gitKeeps(t, dir, repo)

	// The token is revoked: one push says so, and the next one has another.
	w.sh(t, dir, lines)
	do(t, sleep(t, 2*time.Second)) // so long an agent does not take a caller's word again
	old := strings.TrimPrefix(lineWith(t, w.ask(t, "keytether helper git get", "protocol=http\nhost="+strings.TrimPrefix(w.url["git"], "http://")+"\n"), "password="), "password=")
	w.revoke(t, "tools", strings.TrimSpace(old))
	push := w.command(t, filepath.Join(dir, "tree"), "git", "push", "origin", "main:again")
	refused := time.Now()
	for {
		if r := runs(t, push); r.code != 0 {
			if !strings.Contains(r.errs, "Authentication failed") {
				t.Errorf("a revoked token: %s", r.errs)
			}
			break
		}
		if time.Since(refused) > 2*time.Second {
			t.Fatal("a revoked token is good for two seconds")
		}
		push = w.command(t, filepath.Join(dir, "tree"), "git", "push", "-f", "origin", "main:again")
	}
	w.sh(t, filepath.Join(dir, "tree"), commit+"renewed && git push -q origin main")

	w.gitWithoutLogin(t, dir, lines)
}

// gitKeeps shows that git's own store would have written a token down, in a home that is not
// searched at the end.
func (w *world) gitKeeps(t *testing.T, dir, repo string) {
	t.Helper()
	home := t.TempDir()
	w.sh(t, dir, "cd "+home+` && printf '#!/bin/sh\ncase $1 in get) env HOME='"$OLDHOME"' GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null keytether helper git get;; esac\n' >wrap && chmod 700 wrap
git config --global credential.helper "$PWD/wrap" && git config --global --add credential.helper store && git ls-remote -q `+repo, "HOME="+home, "OLDHOME="+w.st.Home.Dir+"/home")
	if kept, err := os.ReadFile(filepath.Join(home, ".git-credentials")); err != nil || !strings.Contains(string(kept), "eyJ") {
		t.Errorf("git's store kept nothing (%v): then this test shows nothing", err)
	}
}

// gitWithoutLogin reads what git says where the helper has nothing.
func (w *world) gitWithoutLogin(t *testing.T, dir, lines string) {
	t.Helper()
	denies := func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("WWW-Authenticate", "Basic realm=x")
		rw.WriteHeader(http.StatusUnauthorized)
	}
	at := newServer(t, denies)
	home := w.folder(t, "nobody")
	nobody := w.command(t, dir, "git", "ls-remote", at+"/x.git")
	nobody.Env = append(nobody.Env, "HOME="+home)
	w.sh(t, dir, strings.ReplaceAll(lines, w.url["git"], at), "HOME="+home)
	if r := runs(t, nobody); r.code == 0 || !strings.Contains(r.errs, "no login is for "+at) || !strings.Contains(r.errs, "keytether login --resource "+at) {
		t.Errorf("without a login git says: %s", r.errs)
	}
	// The API of this world takes no bearer tokens.
	w.sh(t, dir, strings.ReplaceAll(lines, w.url["git"], w.url[plain]), "HOME="+home)
	ask := w.command(t, dir, "keytether", "helper", "git", "get")
	ask.Stdin = strings.NewReader("protocol=http\nhost=" + strings.TrimPrefix(w.url[plain], "http://") + "\n")
	if r := runs(t, ask); r.code != 4 || r.out != "quit=1\n" || !strings.Contains(r.errs, "keytether proxy") {
		t.Errorf("where no bearer token is allowed: code %d, %q\n%s", r.code, r.out, r.errs)
	}
}
