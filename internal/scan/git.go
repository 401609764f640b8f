package scan

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrGit is git's refusal; the text after it is git's own.
var ErrGit = errors.New("scan: git refused")

// IsRepository says whether a folder is the root of a repository, with or without a work tree.
func IsRepository(dir string) bool {
	if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
		return true
	}
	for _, name := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// git makes a command that runs nothing that the repository's config names (file system monitor,
// signature checker, pager, what fetches by ssh), and fetches nothing, not even what a partial
// clone has left out: versions that do not know GIT_NO_LAZY_FETCH find every protocol forbidden.
func git(ctx context.Context, dir string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "git", append([]string{
		"-C", dir, "-c", "core.fsmonitor=false", "-c", "log.showSignature=false", "--no-pager", "--no-optional-locks",
	}, args...)...)
	c.Env = append(c.Environ(), "GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	return c
}

func gitLines(ctx context.Context, dir string, split string, args ...string) ([]string, error) {
	c := git(ctx, dir, args...)
	var words bytes.Buffer
	c.Stderr = &words
	out, err := c.Output()
	if err != nil {
		return nil, refused(err, words.String())
	}
	return slices.DeleteFunc(strings.Split(string(out), split), func(s string) bool { return s == "" }), nil
}

func refused(err error, words string) error {
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%w: git is not installed", ErrGit)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(words), "\n")
	return fmt.Errorf("%w: %s", ErrGit, first)
}

// History looks through every object that a repository holds: all that was ever committed, on
// every branch and in the reflog, until git collects it. The findings name the commit that
// brought it in, where one still does, and the path that it had there.
func (s *Scanner) History(ctx context.Context, repo string) error {
	byObject := map[string][]Finding{}
	err := s.objects(ctx, repo, git(ctx, repo, "cat-file", "--batch", "--batch-all-objects", "--unordered", "--buffer"), nil,
		func(object string) string { return object },
		func(f Finding) { byObject[f.Source] = append(byObject[f.Source], f) })
	if err != nil {
		return err
	}
	paths := map[string]string{}
	if len(byObject) > 0 {
		lines, err := gitLines(ctx, repo, "\n", "rev-list", "--all", "--reflog", "--objects")
		if err != nil {
			return err
		}
		for _, l := range lines {
			object, path, _ := strings.Cut(l, " ")
			if path != "" && byObject[object] != nil {
				paths[object] = path
			}
		}
	}
	for object, found := range byObject {
		commit := introduced(ctx, repo, object)
		for _, f := range found {
			f.Commit, f.Source = commit, filepath.Join(repo, paths[object])
			if paths[object] == "" && commit != object {
				f.Source += ":" + object // no commit has it any more, but it is there
			}
			s.keep(f)
		}
	}
	return nil
}

// introduced is the first commit that has an object, the object itself if it is a commit, or
// empty.
func introduced(ctx context.Context, repo, object string) string {
	if kind, err := gitLines(ctx, repo, "\n", "cat-file", "-t", object); err == nil && len(kind) == 1 && kind[0] != "blob" {
		return object
	}
	lines, err := gitLines(ctx, repo, "\n", "log", "--all", "--reflog", "--topo-order", "--reverse", "--format=%H", "--find-object="+object)
	if err != nil || len(lines) == 0 {
		return ""
	}
	return lines[0]
}

// modeSubmodule is a commit of another repository.
const modeSubmodule = "160000"

// Staged looks through what the next commit would hold of files that it changes.
func (s *Scanner) Staged(ctx context.Context, repo string) error {
	// Each change is ":MODE MODE OBJECT OBJECT STATUS", a zero byte, the path and another one
	// (git-diff, raw output format).
	fields, err := gitLines(ctx, repo, "\x00", "diff", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames", "--no-relative",
		"--ignore-submodules=none", "--diff-filter=AMT", "--no-ext-diff", "--no-textconv")
	if err != nil {
		return err
	}
	var objects, paths []string
	for change := range slices.Chunk(fields, 2) {
		about := strings.Fields(change[0])
		if len(change) != 2 || len(about) != 5 {
			return fmt.Errorf("%w: its answer was not understood", ErrGit)
		}
		if about[1] == modeSubmodule {
			continue
		}
		objects, paths = append(objects, about[3]), append(paths, change[1])
	}
	if len(objects) == 0 {
		return nil
	}
	next := 0
	return s.objects(ctx, repo, git(ctx, repo, "cat-file", "--batch", "--buffer"), objects,
		func(object string) string {
			for next < len(objects) && objects[next] != object {
				next++
			}
			next++
			return paths[min(next, len(paths))-1]
		}, s.keep)
}

// objects runs a `git cat-file --batch` and looks through blobs, commits and tags.
func (s *Scanner) objects(ctx context.Context, repo string, c *exec.Cmd, ask []string, name func(object string) string, report func(Finding)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var words bytes.Buffer
	c.Stderr = &words
	c.Stdin = strings.NewReader(strings.Join(ask, "\n") + "\n")
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return refused(err, err.Error())
	}
	err = s.batch(ctx, bufio.NewReaderSize(out, chunk), name, report)
	if err != nil {
		_ = c.Process.Kill()
	}
	if werr := c.Wait(); err == nil && werr != nil {
		err = refused(werr, words.String())
	}
	return err
}

// batch reads the output of git cat-file --batch: a line "OBJECT TYPE SIZE", the object, a line
// break.
func (s *Scanner) batch(ctx context.Context, in *bufio.Reader, name func(string) string, report func(Finding)) error {
	var buf Buffer
	for {
		head, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) && head == "" {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: its answer ended early", ErrGit)
		}
		parts := strings.Fields(head)
		if len(parts) != 3 {
			continue // "OBJECT missing"
		}
		size, err := strconv.ParseInt(parts[2], 10, 64)
		if err != nil || size < 0 {
			return fmt.Errorf("%w: its answer was not understood", ErrGit)
		}
		object := &io.LimitedReader{R: in, N: size}
		if parts[1] != "tree" {
			s.files.Add(1)
			source := name(parts[0])
			_, err = s.rules.Stream(&counted{in: object, ctx: ctx, n: &s.bytes}, &buf, func(f Finding) {
				f.Source = source
				report(f)
			})
			if err != nil {
				return err
			}
		}
		if _, err := in.Discard(int(object.N) + 1); err != nil {
			return fmt.Errorf("%w: its answer ended early", ErrGit)
		}
	}
}

const hookMark = "# keytether scan"

const hook = `#!/bin/sh
` + hookMark + `: no credential goes into a commit. Remove this file to end that.
exec keytether scan --staged
`

// InstallHook writes the pre-commit hook of a repository, and says where. One that somebody else
// wrote stays: then the error is fs.ErrExist.
func InstallHook(ctx context.Context, repo string) (string, error) {
	lines, err := gitLines(ctx, repo, "\n", "rev-parse", "--git-path", "hooks/pre-commit")
	if err != nil {
		return "", err
	}
	if len(lines) != 1 {
		return "", fmt.Errorf("%w: it named no folder for hooks", ErrGit)
	}
	path := lines[0]
	if !filepath.IsAbs(path) {
		path = filepath.Join(repo, path)
	}
	if old, err := os.ReadFile(path); err == nil {
		if bytes.Contains(old, []byte(hookMark)) {
			return path, nil
		}
		return path, os.ErrExist
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return path, err
	}
	return path, os.WriteFile(path, []byte(hook), 0o755)
}
