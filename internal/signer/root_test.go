//go:build unix

package signer

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keytether/keytether/internal/testkit"
)

func TestRootIsMadeOnceAndReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	made, err := LoadRoot(RootOptions{File: path}, 0, testkit.Rand("root"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(made.Warning(), "move it") {
		t.Errorf("warning %q", made.Warning())
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", fi.Mode(), err)
	}
	read, err := LoadRoot(RootOptions{File: path}, 5, testkit.Rand("other"))
	if err != nil || !bytes.Equal(read.key.Bytes(), made.key.Bytes()) || read.Warning() != "" {
		t.Errorf("read again: %v, warning %q", err, read.Warning())
	}
}

func TestRootIsNotMadeBesideSealedKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "root.key")
	if _, err := LoadRoot(RootOptions{File: path}, 1, testkit.Rand("x")); !errors.Is(err, ErrNoRoot) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a file was made")
	}
}

// TestRootFileRefused puts unfit files where the root key should be.
//
// Invariant: KY-4
func TestRootFileRefused(t *testing.T) {
	d := t.TempDir()
	good := filepath.Join(d, "good")
	if _, err := LoadRoot(RootOptions{File: good}, 0, testkit.Rand("x")); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte, mode os.FileMode) string {
		p := filepath.Join(d, name)
		if err := errors.Join(os.WriteFile(p, data, 0o600), os.Chmod(p, mode)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	link := filepath.Join(d, "link")
	fifo := filepath.Join(d, "fifo")
	if err := errors.Join(os.Symlink(good, link), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ path, want string }{
		{link, "symbolic link"},
		{fifo, "not a regular file"},
		{d, "not a regular file"},
		{write("group", content, 0o640), "mode 0640"},
		{write("others", content, 0o604), "mode 0604"},
		{write("empty", nil, 0o600), "holds no root key"},
		{write("short", content[:len(content)-3], 0o600), "holds no root key"},
		{write("long", append(bytes.Clone(content), content...), 0o600), "holds no root key"},
		{write("raw", make([]byte, 32), 0o600), "holds no root key"},
		{write("zero", []byte(rootPrefix+strings.Repeat("A", 43)), 0o600), "holds no root key"},
	} {
		_, err := LoadRoot(RootOptions{File: x.path}, 0, testkit.Rand("x"))
		if !errors.Is(err, ErrRootFile) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v, want %q", x.path, err, x.want)
		}
		if strings.Contains(err.Error(), string(content[len(rootPrefix):len(rootPrefix)+10])) {
			t.Errorf("the error holds the key: %v", err)
		}
	}
	if os.Geteuid() == 0 {
		p := write("foreign", content, 0o600)
		if err := os.Chown(p, 12345, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadRoot(RootOptions{File: p}, 0, testkit.Rand("x")); !errors.Is(err, ErrRootFile) || !strings.Contains(err.Error(), "belongs to user 12345") {
			t.Errorf("another user's file: %v", err)
		}
	}
}

// systemd gives a service's user access by an ACL, which shows as the group's.
func TestCredentialIsUsedBeforeTheFile(t *testing.T) {
	d := t.TempDir()
	cred, file := filepath.Join(d, CredentialName), filepath.Join(d, "root.key")
	want, err := LoadRoot(RootOptions{File: cred}, 0, testkit.Rand("credential"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := LoadRoot(RootOptions{File: file}, 0, testkit.Rand("file")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(cred, 0o440); err != nil {
		t.Fatal(err)
	}
	got, err := LoadRoot(RootOptions{Credential: cred, File: file}, 3, testkit.Rand("x"))
	if err != nil || !bytes.Equal(got.key.Bytes(), want.key.Bytes()) {
		t.Fatalf("%v %v", got, err)
	}
	if err := os.Chmod(cred, 0o444); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadRoot(RootOptions{Credential: cred}, 0, testkit.Rand("x")); !errors.Is(err, ErrRootFile) {
		t.Errorf("readable by others: %v", err)
	}
	// A credential that was named and is not there is never replaced by a file.
	if _, err := LoadRoot(RootOptions{Credential: cred + ".gone", File: file}, 0, testkit.Rand("x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}
