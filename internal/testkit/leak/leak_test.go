package leak

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestFormsAreFound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), minSecret+4, 64).Draw(t, "secret")
		before := rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "before")
		after := rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "after")
		s, err := New(map[string][]byte{"it": secret})
		if err != nil {
			t.Fatal(err)
		}
		whole := slices.Concat(before, secret, after)
		for form, text := range map[string]string{
			"raw":           string(whole),
			"base64url":     base64.RawURLEncoding.EncodeToString(whole),
			"base64 padded": base64.StdEncoding.EncodeToString(whole),
			"hex":           hex.EncodeToString(whole),
			"HEX":           strings.ToUpper(hex.EncodeToString(whole)),
			"path":          url.PathEscape(string(secret)),
			"utf-16":        string(utf16(whole)),
		} {
			if form == "path" && strings.ContainsAny(string(secret), "$&+=:@") {
				continue // PathEscape leaves these as they are
			}
			if len(s.Bytes("here", []byte(text))) == 0 {
				t.Fatalf("%s of %x within %x not found", form, secret, whole)
			}
		}
		if hits := s.Bytes("here", secret[1:]); len(hits) != 0 {
			t.Fatalf("a part of the secret is taken for the whole: %v", hits)
		}
	})
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("deep/er/.hidden", "x ktr_0123456789abcdef y")
	write("clean", "ktr_0123456789abcdeX")
	write("name-ktr_0123456789abcdef", "")
	hits, err := Scan([]string{dir}, nil, map[string]string{"refresh token": "ktr_0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	if len(hits) != 2 || hits[0].Where != filepath.Join(dir, "deep/er/.hidden") || !strings.HasPrefix(hits[1].Where, "the name ") {
		t.Errorf("hits = %v", hits)
	}
	if strings.Contains(hits[0].String(), "ktr_0123456789abcdef") {
		t.Error("a hit repeats the secret")
	}
	if _, err := Scan([]string{filepath.Join(dir, "none")}, nil, map[string]string{"a": "0123456789abc"}); err == nil {
		t.Error("a root that is not there was taken for clean")
	}
	if _, err := New(map[string][]byte{"pin": []byte("1234")}); !errors.Is(err, ErrShort) {
		t.Errorf("short secret: %v", err)
	}
}

func TestProcesses(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "read x; : argument-0123456789abcdef")
	cmd.Env = []string{"TOKEN=environment-0123456789abcdef"}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	pids, err := Children(os.Getpid())
	if err != nil || !slices.Contains(pids, cmd.Process.Pid) {
		t.Fatalf("Children = %v, %v; want %d among them", pids, err, cmd.Process.Pid)
	}
	hits, err := Scan(nil, []int{cmd.Process.Pid}, map[string]string{
		"arg": "argument-0123456789abcdef", "env": "environment-0123456789abcdef", "none": "nothing-0123456789abcdef",
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, h := range hits {
		names = append(names, h.Secret)
	}
	if !slices.Equal(names, []string{"arg", "env"}) {
		t.Errorf("found %v; want arg and env", hits)
	}
	if _, err := Scan(nil, []int{1 << 30}, map[string]string{"a": "0123456789abc"}); err == nil {
		t.Error("a process that is not there was taken for clean")
	}
}
