// Package safefile keeps a small file that nobody but its owner may read or put in place: the
// files of the stores that last. It checks owner, mode, kind and links before it believes a
// byte, replaces the file as a whole or not at all, and lets one process write at a time.
//
// On Windows the folder's access list decides who reads, and of the checks only those of the
// file's kind are made.
package safefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// ErrUnsafe: another user could read the file, or could have put it there.
var ErrUnsafe = errors.New("safefile: the file is not safe to use")

// Unsafe says what is wrong with a path, in words for a person. It is ErrUnsafe.
type Unsafe struct {
	Path string
	Why  string // without a full stop
	Mend string // what to do
}

// Error gives the words.
func (e *Unsafe) Error() string { return e.Path + " " + e.Why }

// Unwrap gives ErrUnsafe.
func (e *Unsafe) Unwrap() error { return ErrUnsafe }

// Read gives the bytes of a file: regular, ours, of mode 0600 or less, with one name, in a
// folder that only we can write to, and at most limit bytes long. It is ErrUnsafe otherwise, and
// fs.ErrNotExist where there is no such file or folder.
func Read(path string, limit int64) ([]byte, error) {
	if err := checkDir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	f, err := openChecked(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("safefile: %w", err)
	}
	if int64(len(b)) > limit {
		return nil, &Unsafe{path, fmt.Sprintf("has more than %d bytes", limit), "Move it away"}
	}
	return b, nil
}

// Write puts data in place of the file, or leaves it as it was: what a reader finds, after a
// crash too, is one or the other. The mode is 0600. The caller holds the Lock.
func Write(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := checkDir(dir); err != nil {
		return err
	}
	// One name for what is half written, so that crashes leave one such file and not many.
	half := path + ".new"
	if err := os.Remove(half); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("safefile: %w", err)
	}
	f, err := os.OpenFile(half, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("safefile: %w", err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(half, path)
	}
	if err != nil {
		_ = os.Remove(half)
		return fmt.Errorf("safefile: %w", err)
	}
	return syncDir(dir)
}

// Remove takes the file away; that there is none is fine. The caller holds the Lock.
func Remove(path string) error {
	for _, p := range []string{path + ".new", path} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("safefile: %w", err)
		}
	}
	return nil
}

// Lock lets one caller at a time write the file, over all processes, and ends with the process
// that holds it. It makes the folder, of mode 0700, where there is none. Each lock is unlocked
// once. It waits until ctx ends.
func Lock(ctx context.Context, path string) (unlock func(), err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("safefile: %w", err)
	}
	if err := checkDir(dir); err != nil {
		return nil, err
	}
	f, err := openChecked(path+".lock", os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		switch held, err := tryLock(f); {
		case err != nil:
			f.Close()
			return nil, fmt.Errorf("safefile: locking %s: %w", f.Name(), err)
		case held:
			return func() { f.Close() }, nil
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}
