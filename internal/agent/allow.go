package agent

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Rules is what the person's config says about who may use a profile.
type Rules struct {
	Allow   []Allow // empty: every program of the user's
	Confirm bool    // the first use of a resource by a program waits for the person
}

// Allow names a program, or with a separator at the end all below a folder.
type Allow struct {
	Executable string   // an absolute path; links in it are followed
	Resources  []string // that it may have tokens for; empty: all
}

// Why a list refuses. The words are for a person.
var (
	errNotListed  = errors.New("the profile's list (allow) does not name it")
	errReplaced   = errors.New("the file at its path is another one than what runs, as after an update")
	errUnknown    = errors.New("the system does not say which program it is")
	errNotCovered = errors.New("the profile's list (allow) does not give it this resource")
	errOpen       = errors.New("others can write it")
)

// openError is a path that somebody else could change, with the mend.
type openError struct{ path, why, do string }

func (e *openError) Error() string   { return e.path + " " + e.why }
func (e *openError) Is(t error) bool { return t == errOpen }

func mendCaller(err error) string {
	if e, ok := errors.AsType[*openError](err); ok {
		return e.do
	}
	switch {
	case errors.Is(err, errReplaced):
		return "Start it again"
	case errors.Is(err, errUnknown):
		return "Take the list out of the profile, or use confirm: true"
	}
	return "If it should, add it to allow of the profile in config.yaml"
}

// allowed says whether a list names a caller.
func allowed(c caller, r Rules, resource string) error {
	if len(r.Allow) == 0 {
		return nil
	}
	// Who is named by file may have keytether act for anybody.
	if c.through != "" {
		for _, e := range r.Allow {
			if !isFolder(e.Executable) && e.matches(c.through) == nil && e.covers(resource) {
				return nil
			}
		}
	}
	switch {
	case c.Executable == "":
		return errUnknown
	case c.Replaced:
		return errReplaced
	}
	why := errNotListed
	for _, e := range r.Allow {
		switch err := e.matches(c.Executable); {
		case errors.Is(err, errNotListed):
		case err != nil:
			why = err
		case e.covers(resource):
			return nil
		default:
			why = errNotCovered
		}
	}
	return why
}

func (e Allow) equal(o Allow) bool {
	return e.Executable == o.Executable && slices.Equal(e.Resources, o.Resources)
}

func (e Allow) covers(resource string) bool {
	return len(e.Resources) == 0 || slices.Contains(e.Resources, resource)
}

func isFolder(path string) bool {
	return strings.HasSuffix(path, "/") || strings.HasSuffix(path, string(filepath.Separator))
}

// matches says whether an entry names the executable. One that does, over a file or
// folder that others can write, is an error of its own.
func (e Allow) matches(executable string) error {
	named, walkErr := resolve(e.Executable)
	if named == "" {
		return errNotListed // it is not there
	}
	if isFolder(e.Executable) {
		rest, ok := strings.CutPrefix(executable, strings.TrimSuffix(named, string(filepath.Separator))+string(filepath.Separator))
		if !ok {
			return errNotListed
		}
		if walkErr != nil {
			return walkErr
		}
		there, err := resolve(filepath.Join(named, rest))
		if err == nil && !samePath(there, executable) {
			return errReplaced
		}
		return err
	}
	if !samePath(named, executable) {
		return errNotListed
	}
	return walkErr
}

// maxLinks is how many links are followed, as in Linux (path_resolution(7)).
const maxLinks = 40

// resolve follows a path to its file, component by component, and looks at all that
// it passes: whoever could change one of them decides what the path names. The path
// is given even where that is an error; it is empty where there is no such file.
func resolve(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", errNotListed
	}
	root := filepath.VolumeName(path) + string(filepath.Separator)
	rest := strings.Split(filepath.Clean(path)[len(root):], string(filepath.Separator))
	at, found := root, checkPlace(root, true)
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == "" {
			continue
		}
		next := filepath.Join(at, name)
		target, err := readLink(next)
		switch {
		case err != nil:
			return "", fmt.Errorf("%w: %w", errNotListed, err)
		case target == "":
			found = errors.Join(found, checkPlace(next, len(rest) > 0))
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", errNotListed
		}
		found = errors.Join(found, checkPlace(next, false))
		if filepath.IsAbs(target) {
			at = filepath.VolumeName(target) + string(filepath.Separator)
			target = target[len(at):]
		}
		// ".." is taken by name after its own folder was resolved, as the kernel does.
		rest = append(strings.Split(target, string(filepath.Separator)), rest...)
	}
	return at, first(found)
}

// first is the first of joined errors: one mend at a time is enough.
func first(err error) error {
	if e, ok := errors.AsType[*openError](err); ok {
		return e
	}
	return err
}
