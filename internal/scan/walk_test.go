//go:build unix

package scan

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/keytether/keytether/internal/secret"
)

func write(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func pack(t *testing.T, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestWalk reads files, folders and what is packed; it neither hangs at a pipe nor goes round in
// a circle, and says what it could not read.
func TestWalk(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	code := mint(secret.Code)
	write(t, filepath.Join(dir, "a", "plain.log"), []byte("x "+code))
	write(t, filepath.Join(dir, "b.log.gz"), pack(t, "1\n"+code))
	write(t, filepath.Join(dir, "not-packed.gz"), []byte(code))
	write(t, filepath.Join(dir, ".git", "objects", "aa", "bb"), []byte(code))
	write(t, filepath.Join(dir, ".git", "config"), []byte(code))
	write(t, filepath.Join(other, "linked.txt"), []byte(code))
	for link, to := range map[string]string{"round": dir, "away": other} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := New(Rules{})
	missing := filepath.Join(dir, "missing")
	if err := s.Walk(t.Context(), []string{dir, filepath.Join(dir, "away"), missing}); err != nil {
		t.Fatal(err)
	}
	r := s.Report()
	var got []string
	for _, f := range r.Findings {
		got = append(got, strings.TrimPrefix(strings.TrimPrefix(f.Source, dir), other))
	}
	want := []string{"/.git/config", "/a/plain.log", "/b.log.gz", "/linked.txt", "/not-packed.gz"}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("found in %v, want %v", got, want)
	}
	if len(r.Unread) != 1 || r.Unread[0].Source != missing {
		t.Errorf("not read: %+v", r.Unread)
	}
	if files, n, found := s.Progress(); files != r.Files || n != r.Bytes || found != 5 || n == 0 {
		t.Errorf("progress: %d files, %d bytes, %d found", files, n, found)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := New(Rules{}).Walk(ctx, []string{dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
}

func TestPlaces(t *testing.T) {
	home, temp := t.TempDir(), t.TempDir()
	write(t, filepath.Join(home, ".bash_history"), []byte("x"))
	write(t, filepath.Join(home, ".config", "tool", "token"), []byte("x"))
	write(t, filepath.Join(home, "kept", "history"), []byte("x"))
	write(t, filepath.Join(home, "work", "project"), []byte("x"))
	write(t, filepath.Join(temp, "mine"), []byte("x"))
	env := map[string]string{"HISTFILE": filepath.Join(home, "kept", "history"), "TMPDIR": temp, "XDG_CONFIG_HOME": filepath.Join(home, ".config"), "XDG_STATE_HOME": "relative"}
	got := Places(home, func(k string) string { return env[k] })
	for _, p := range []string{filepath.Join(home, ".bash_history"), filepath.Join(home, ".config", "tool"), filepath.Join(home, "kept", "history"), filepath.Join(temp, "mine")} {
		n := 0
		for _, o := range got {
			if within(p, o) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%s is looked at %d times", p, n)
		}
	}
	for _, p := range got {
		if within(p, filepath.Join(home, "work")) || !filepath.IsAbs(p) {
			t.Errorf("%s is no place of that kind", p)
		}
	}
}

func TestSARIF(t *testing.T) {
	var out bytes.Buffer
	r := Report{Findings: []Finding{
		{Kind: RefreshToken, Source: "dir/a b.txt", Line: 3, Column: 7, Fingerprint: "f1", Value: secret.New(refresh())},
		{Kind: RefreshToken, Source: "/abs/c", Commit: "abc", Line: 1, Column: 1, Fingerprint: "f2"},
	}}
	if err := WriteSARIF(&out, "1.2.3", r); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), refresh()) {
		t.Error("the report holds what was found")
	}
	var got struct {
		Schema  string `json:"$schema"`
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID, Level string
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, StartColumn int }
					}
				}
				PartialFingerprints map[string]string
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	run := got.Runs[0]
	if got.Version != "2.1.0" || got.Schema == "" || len(run.Tool.Driver.Rules) != 1 || len(run.Results) != 2 {
		t.Fatalf("%s", out.String())
	}
	first := run.Results[0]
	place := first.Locations[0].PhysicalLocation
	if first.RuleID != run.Tool.Driver.Rules[0].ID || first.Level != "error" || place.ArtifactLocation.URI != "dir/a%20b.txt" || place.Region.StartLine != 3 || place.Region.StartColumn != 7 || len(first.PartialFingerprints) != 1 {
		t.Errorf("%+v", first)
	}
	if uri := run.Results[1].Locations[0].PhysicalLocation.ArtifactLocation.URI; uri != "file:///abs/c" {
		t.Errorf("an absolute path is %s", uri)
	}
}
