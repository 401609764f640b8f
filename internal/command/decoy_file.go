package command

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/keytether/keytether/internal/agentwire"
)

// planting is how a decoy comes to its file.
type planting struct{ append, force bool }

func (p planting) check(path, kind string) error {
	switch {
	case p.append && p.force:
		return usage("--append and --force exclude each other", "Give one of them")
	case path == "" && (p.append || p.force):
		return usage("there is no file to write to", "Name the file")
	case p.append && kind == "json":
		return usage("JSON cannot be added to a file", "Choose another --kind, or another file")
	}
	switch kind {
	case "token", "env", "netrc", "npmrc", "json":
		return nil
	}
	return usage("there is no form "+quote(kind), "Give --kind token, env, netrc, npmrc or json")
}

// bait is the file that a decoy goes to. It is opened before the server is asked, so that none is
// planted that cannot be written.
type bait struct {
	f    *os.File // nil: standard output
	path string
	temp bool // f is to be renamed to path
	made bool // f was made here, and is nothing without the decoy
}

func (p planting) open(path string) (*bait, error) {
	if path == "" {
		return &bait{}, nil
	}
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, unwritable(path, errors.New("it is not a plain file"), "Name another file")
	}
	b := &bait{path: path}
	var err error
	switch {
	case p.force:
		b.temp, b.made = true, true
		b.f, err = os.CreateTemp(filepath.Dir(path), ".keytether-*") // 0600
	case p.append:
		b.f, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND, 0)
		if errors.Is(err, fs.ErrNotExist) {
			b.made = true
			b.f, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
		}
	default:
		b.made = true
		b.f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil, unwritable(path, errors.New("it is there already"), "Name another file, or add to it with --append, or replace it with --force")
	}
	if err != nil {
		return nil, unwritable(path, cause(err), "Name a file in a folder that you can write to")
	}
	return b, nil
}

func unwritable(path string, why error, do string) error {
	return agentwire.NewError(agentwire.Failed, notPlanted, clean(path)+": "+why.Error(), do, why)
}

// write puts the text behind what is there, on a line of its own.
func (b *bait) write(text string) error {
	if size, err := b.f.Seek(0, io.SeekEnd); err == nil && size > 0 {
		last := make([]byte, 1)
		if _, err := b.f.ReadAt(last, size-1); err == nil && last[0] != '\n' {
			text = "\n" + text
		}
	}
	_, err := b.f.WriteString(text)
	if e := b.f.Close(); err == nil {
		err = e
	}
	if err == nil && b.temp {
		err = os.Rename(b.f.Name(), b.path)
	}
	if err != nil {
		return unwritable(b.path, cause(err), "Name another file; the decoy that the server gave out lies nowhere")
	}
	b.made, b.f = false, nil
	return nil
}

// discard takes away a file that did not get its decoy.
func (b *bait) discard() {
	if b.f == nil {
		return
	}
	_ = b.f.Close()
	if b.made {
		_ = os.Remove(b.f.Name())
	}
}
