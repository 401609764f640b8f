//go:build unix

package safefile

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func folder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "own")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func do(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Invariant: TP-1
func TestReadRefusesWhatOthersCouldReadOrPlace(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, path string)
	}{
		{"the group may read", func(t *testing.T, p string) { do(t, os.Chmod(p, 0o640)) }},
		{"others may write", func(t *testing.T, p string) { do(t, os.Chmod(p, 0o602)) }},
		{"a hard link", func(t *testing.T, p string) { do(t, os.Link(p, p+"2")) }},
		{"a symbolic link", func(t *testing.T, p string) {
			do(t, os.Rename(p, p+"2"))
			do(t, os.Symlink(p+"2", p))
		}},
		{"a pipe", func(t *testing.T, p string) {
			do(t, os.Remove(p))
			do(t, syscall.Mkfifo(p, 0o600))
		}},
		{"a folder", func(t *testing.T, p string) {
			do(t, os.Remove(p))
			do(t, os.Mkdir(p, 0o700))
		}},
		{"too long", func(t *testing.T, p string) { do(t, os.WriteFile(p, make([]byte, 101), 0o600)) }},
		{"others may write to the folder", func(t *testing.T, p string) { do(t, os.Chmod(filepath.Dir(p), 0o777)) }},
		{"the folder is a link", func(t *testing.T, p string) {
			dir := filepath.Dir(p)
			do(t, os.Rename(dir, dir+"2"))
			do(t, os.Symlink(dir+"2", dir))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(folder(t), "f")
			do(t, Write(path, []byte("x")))
			if b, err := Read(path, 100); err != nil || string(b) != "x" {
				t.Fatalf("%q %v", b, err)
			}
			tt.spoil(t, path)
			b, err := Read(path, 100)
			var u *Unsafe
			if !errors.As(err, &u) || !errors.Is(err, ErrUnsafe) || u.Mend == "" || b != nil {
				t.Errorf("read %q, %v", b, err)
			}
		})
	}
}

// Invariant: TP-1
func TestOwner(t *testing.T) {
	if err := checkFile("f", facts{syscall.S_IFREG | 0o600, 1001, 1}, 1000); !errors.Is(err, ErrUnsafe) {
		t.Errorf("another's file: %v", err)
	}
	if err := checkFolder("d", facts{mode: syscall.S_IFDIR | 0o700, uid: 1001}, 1000); !errors.Is(err, ErrUnsafe) {
		t.Errorf("another's folder: %v", err)
	}
	if err := checkFile("f", facts{syscall.S_IFREG | 0o400, 1000, 1}, 1000); err != nil {
		t.Error(err)
	}
}

func TestNothingThere(t *testing.T) {
	for _, path := range []string{filepath.Join(folder(t), "f"), filepath.Join(t.TempDir(), "no", "f")} {
		if _, err := Read(path, 1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v", err)
		}
		if err := Remove(path); err != nil {
			t.Error(err)
		}
	}
}

func TestWriteReplaces(t *testing.T) {
	path := filepath.Join(folder(t), "f")
	do(t, os.WriteFile(path+".new", []byte("left by a crash"), 0o644))
	for _, s := range []string{"one", "two"} {
		do(t, Write(path, []byte(s)))
		if b, err := Read(path, 3); err != nil || string(b) != s {
			t.Errorf("%q %v", b, err)
		}
	}
	if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the half is left: %v", err)
	}
	// A link that waits at the name of the half leads nowhere.
	victim := filepath.Join(t.TempDir(), "victim")
	do(t, os.Symlink(victim, path+".new"))
	do(t, Write(path, []byte("three")))
	if _, err := os.Stat(victim); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("written through a link: %v", err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made", "f")
	var wg sync.WaitGroup
	var inside atomic.Int32
	for range 8 {
		wg.Go(func() {
			for range 20 {
				unlock, err := Lock(t.Context(), path)
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two hold the lock")
				}
				inside.Add(-1)
				unlock()
			}
		})
	}
	wg.Wait()
	unlock, err := Lock(t.Context(), path)
	do(t, err)
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := Lock(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if st, err := os.Stat(filepath.Dir(path)); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("folder %v %v", st, err)
	}
	do(t, os.Chmod(path+".lock", 0o666))
	if _, err := Lock(t.Context(), path); err == nil || !strings.Contains(err.Error(), "mode 0666") {
		t.Errorf("%v", err)
	}
}

// TestWriteIsWhole reads beside a writer.
//
// Invariant: TP-8
func TestWriteIsWhole(t *testing.T) {
	path := filepath.Join(folder(t), "f")
	const size = 1 << 16
	do(t, Write(path, make([]byte, size)))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 200 {
			if err := Write(path, bytes.Repeat([]byte{byte(i)}, size)); err != nil {
				t.Error(err)
			}
		}
	}()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		b, err := Read(path, size)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) != size || bytes.Count(b, b[:1]) != size {
			t.Fatalf("half of it: %d bytes", len(b))
		}
	}
}
