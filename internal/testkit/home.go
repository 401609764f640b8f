package testkit

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Home is a person's machine in one folder: a home, a runtime folder for
// sockets, and an environment in which nothing of the developer's own stands.
type Home struct {
	Dir string   // all that a program of this person writes lies below it
	Env []string // NAME=value
}

// NewHome makes the folders below dir, which must exist. Its path should be
// short: the name of a Unix socket has at most 107 bytes (see ShortDir). More
// variables follow the usual ones and go before them.
func NewHome(dir string, more ...string) (Home, error) {
	h := Home{Dir: dir}
	for _, f := range []struct{ name, path string }{
		{"HOME", "home"},
		{"XDG_CONFIG_HOME", "home/.config"},
		{"XDG_CACHE_HOME", "home/.cache"},
		{"XDG_DATA_HOME", "home/.local/share"},
		{"XDG_STATE_HOME", "home/.local/state"},
		{"XDG_RUNTIME_DIR", "run"},
		{"TMPDIR", "tmp"},
	} {
		path := filepath.Join(dir, filepath.FromSlash(f.path))
		if err := os.MkdirAll(path, 0o700); err != nil {
			return Home{}, fmt.Errorf("testkit: home: %w", err)
		}
		h.Env = append(h.Env, f.name+"="+path)
	}
	h.Env = append(h.Env, "PATH="+os.Getenv("PATH"), "LANG=C.UTF-8", "USER=person", "TZ=UTC")
	h.Env = append(h.Env, more...)
	return h, nil
}

// ShortDir makes a temporary folder with a short name. The caller removes it.
func ShortDir() (string, error) {
	dir, err := os.MkdirTemp("", "kt")
	if err != nil {
		return "", fmt.Errorf("testkit: %w", err)
	}
	return dir, nil
}

// Build builds the main packages into dir, as `make build` does: without cgo.
// It returns their paths in the order of pkgs, which are import paths or, when
// the caller runs in the module's root, "./cmd/keytether" and the like.
func Build(ctx context.Context, dir string, pkgs ...string) ([]string, error) {
	var out []string
	for _, pkg := range pkgs {
		path := filepath.Join(dir, filepath.Base(pkg))
		if runtime.GOOS == "windows" {
			path += ".exe"
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", path, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if msg, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("testkit: build %s: %w: %s", pkg, err, msg)
		}
		out = append(out, path)
	}
	return out, nil
}
