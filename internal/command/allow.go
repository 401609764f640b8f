package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"github.com/keytether/keytether/internal/agentwire"
)

// ProfileRules is what the config says about who may use a profile.
type ProfileRules struct {
	Allow   []AllowRule // empty: every program of the user's
	Confirm bool        // the first use by a program waits for the person
}

// AllowRule names a program, or with a separator at the end all below a folder.
type AllowRule struct {
	Executable programPath `yaml:"executable"`
	Resources  []string    `yaml:"resources,omitempty"` // that it may have tokens for; empty: all
}

// programPath is an absolute path, written in one way only; see valid.
type programPath string

func (p programPath) valid() bool {
	s := string(p)
	bare := strings.TrimSuffix(strings.TrimSuffix(s, "/"), string(filepath.Separator))
	return filepath.IsAbs(bare) && filepath.Clean(bare) == bare && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}

// checkAllow refuses lists that say nothing or name no program, and gives place and reason. An
// empty list would be dropped when a login is remembered, and then allow everything.
func checkAllow(b []byte, c config) (why string) {
	for name, p := range c.Profiles {
		path := "$.profiles.'" + name + "'.allow"
		if p.Allow != nil && len(p.Allow) == 0 {
			return lineOf(b, path) + ": allow names no program. Name one with executable, or leave the key out and every program of yours may ask"
		}
		for i, r := range p.Allow {
			at := fmt.Sprintf("%s[%d]", path, i)
			if r.Executable != "" {
				at += ".executable"
			}
			if !r.Executable.valid() {
				return lineOf(b, at) + ": executable is not an absolute path such as /usr/bin/git, or of a folder such as /opt/tools/"
			}
		}
	}
	return ""
}

// lineOf is ":LINE:COLUMN" of a node, or nothing where it cannot be said.
func lineOf(b []byte, path string) string {
	p, err := yaml.PathString(path)
	if err != nil {
		return ""
	}
	f, err := parser.ParseBytes(b, 0)
	if err != nil {
		return ""
	}
	n, err := p.FilterFile(f)
	if err != nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return ""
	}
	at := n.GetToken().Position
	return fmt.Sprintf(":%d:%d", at.Line, at.Column)
}

// rules gives what an agent asks for each call: the config's rules of a profile, read anew when the
// file changes. A file that cannot be understood is an error for every profile.
func (a *app) rules() func(profile string) (ProfileRules, error) {
	path, err := a.configPath()
	if err != nil {
		return nil // nothing can have been written there
	}
	r := &ruleFile{path: path}
	return r.get
}

type ruleFile struct {
	path string

	mu   sync.Mutex
	seen fs.FileInfo
	c    config
	err  error
}

func (r *ruleFile) get(profile string) (ProfileRules, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, err := os.Stat(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.seen, r.c, r.err = nil, config{}, nil
	case err != nil:
		return ProfileRules{}, fmt.Errorf("%s cannot be read: %w", r.path, cause(err))
	case r.seen == nil || !os.SameFile(now, r.seen) || !now.ModTime().Equal(r.seen.ModTime()) || now.Size() != r.seen.Size():
		r.c, _, r.err = loadConfig(r.path)
		r.seen = now
	}
	if e, ok := errors.AsType[*agentwire.Error](r.err); ok {
		return ProfileRules{}, errors.New(e.What + ": " + e.Why)
	}
	p := r.c.Profiles[profile]
	return ProfileRules{p.Allow, p.Confirm}, r.err
}
