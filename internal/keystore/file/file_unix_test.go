//go:build unix

package file

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/secret"
)

// TestUnsafe spoils the file and its folder under the store, in ways that let another user read
// or place it.
//
// Invariant: KS-9
func TestUnsafe(t *testing.T) {
	type spoil struct {
		words string
		f     func(path string) error
	}
	ways := map[string]spoil{
		"mode":   {"may be read or written by others", func(p string) error { return os.Chmod(p, 0o644) }},
		"folder": {"may be written to by others", func(p string) error { return os.Chmod(filepath.Dir(p), 0o770) }},
		"hard":   {"2 names", func(p string) error { return os.Link(p, p+"2") }},
		"symbolic": {"symbolic link", func(p string) error {
			return errors.Join(os.Rename(p, p+"2"), os.Symlink(p+"2", p))
		}},
	}
	if os.Geteuid() == 0 { // who else may give files away
		ways["owner"] = spoil{"belongs to user 12345", func(p string) error { return os.Chown(p, 12345, 12345) }}
		ways["folder's owner"] = spoil{"belongs to user 12345", func(p string) error { return os.Chown(filepath.Dir(p), 12345, 12345) }}
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			folder := filepath.Join(t.TempDir(), "state")
			s := open(t, folder)
			put(t, s, "a", "token")
			path := filepath.Join(folder, FileName)
			if err := way.f(path); err != nil {
				t.Fatal(err)
			}
			problem(t, Options{Folder: folder, Sealers: []Sealer{with("correct")}}, way.words)
			if _, err := s.Get(t.Context(), "a"); !errors.Is(err, keystore.ErrUnusable) {
				t.Errorf("under the store: %v", err)
			}
			if err := s.Put(t.Context(), "a", keystore.Entry{Key: "a"}); !errors.Is(err, keystore.ErrUnusable) {
				t.Errorf("written: %v", err)
			}
		})
	}
}

// TestKilled kills a process in the middle of its writing, again and again: the newest token
// that it was told is kept is there, or the next.
//
// Invariant: KS-11
func TestKilled(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "state")
	put(t, open(t, folder), "a", "0")
	for round := range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=TestWriteForEver$")
		cmd.Env = append(os.Environ(), "WRITE_FOLDER="+folder)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := 0
		for sc := bufio.NewScanner(out); sc.Scan(); {
			if n, err := strconv.Atoi(sc.Text()); err == nil {
				if said == 0 {
					time.AfterFunc(time.Duration(5*round)*time.Millisecond+time.Millisecond, func() { _ = cmd.Process.Kill() })
				}
				said = n
			}
		}
		_ = cmd.Wait()
		s := open(t, folder)
		e, err := s.Get(t.Context(), "a")
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		has, err := strconv.Atoi(e.RefreshToken.Reveal())
		if err != nil || has != said && has != said+1 {
			t.Errorf("round %d: said %d, has %q", round, said, e.RefreshToken.Reveal())
		}
		if said == 0 {
			t.Errorf("round %d: it wrote nothing", round)
		}
		put(t, s, "a", "0")
	}
}

// TestWriteForEver is run by TestKilled in another process.
func TestWriteForEver(t *testing.T) {
	folder := os.Getenv("WRITE_FOLDER")
	if folder == "" {
		return
	}
	s := open(t, folder)
	for i := 1; ; i++ {
		if err := s.Put(t.Context(), "a", keystore.Entry{Key: "a", RefreshToken: secret.New(strconv.Itoa(i))}); err != nil {
			t.Fatal(err)
		}
		fmt.Println(i)
	}
}
