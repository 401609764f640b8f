package stores

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/keystore"
)

// TestAuto says for each place which stores are tried, in order.
//
// Invariant: KS-8
func TestAuto(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    Facts
		want string
	}{
		{"a laptop", Facts{GOOS: "linux", TPM: true}, "tpm keychain kernel file memory"},
		{"a laptop without a TPM", Facts{GOOS: "linux"}, "keychain kernel memory"},
		{"macOS", Facts{GOOS: "darwin"}, "keychain memory"},
		{"Windows", Facts{GOOS: "windows", TPM: true}, "tpm keychain file memory"},
		{"a container", Facts{GOOS: "linux", Container: "/.dockerenv", TPM: true}, "memory"},
		{"a CI job", Facts{GOOS: "linux", CI: "CI", TPM: true}, "memory"},
		{"a CI job on macOS", Facts{GOOS: "darwin", CI: "CI"}, "memory"},
		{"a CI job in a container", Facts{GOOS: "linux", CI: "CI", Container: "/.dockerenv"}, "memory"},
	} {
		var use []string
		choices := Auto(tt.f)
		for _, c := range choices {
			if c.Use {
				use = append(use, c.Name)
			} else if tt.f.Container+tt.f.CI != "" && tt.f.TPM && !strings.Contains(c.Why, "must not outlive") {
				t.Errorf("%s: %s is left out because %q", tt.name, c.Name, c.Why)
			}
			if c.Why == "" || strings.HasSuffix(c.Why, ".") {
				t.Errorf("%s: the reason for %s is %q", tt.name, c.Name, c.Why)
			}
		}
		if got := strings.Join(use, " "); got != tt.want || len(choices) != 5 {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestKinds(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		want string
	}{
		{Options{Facts: Facts{GOOS: "linux"}}, "keychain kernel memory"},
		{Options{Facts: Facts{GOOS: "linux", TPM: true}}, "tpm keychain kernel file memory"},
		{Options{Facts: Facts{GOOS: "linux"}, Choose: "auto"}, "keychain kernel memory"},
		{Options{Facts: Facts{GOOS: "linux", CI: "CI"}, Choose: "file"}, "file"}, // a person's word
		{Options{Choose: "tpm"}, "tpm"},
		{Options{Choose: "memory"}, "memory"},
	} {
		kinds, err := Kinds(tt.o)
		var names []string
		for _, k := range kinds {
			names = append(names, k.Name)
		}
		if got := strings.Join(names, " "); err != nil || got != tt.want {
			t.Errorf("%+v: %s %v", tt.o, got, err)
		}
	}
	for _, name := range []string{"plain", "Auto"} {
		_, err := Kinds(Options{Choose: name})
		var p *keystore.Problem
		if !errors.As(err, &p) || p.Mend == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLives opens the kinds that need nothing, and sees that an ended context ends them all.
func TestLives(t *testing.T) {
	kinds, err := Kinds(Options{Facts: Facts{GOOS: "linux", TPM: true}, Device: "/nonexistent", Folder: t.TempDir(), Service: "keytether-test-lives"})
	if err != nil {
		t.Fatal(err)
	}
	var lives []string
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, k := range kinds {
		lives = append(lives, k.Name+" "+k.Life.String())
		if _, err := k.Open(ctx); !errors.Is(err, keystore.ErrUnusable) {
			t.Errorf("%s: %v", k.Name, err)
		}
	}
	if want := []string{"tpm machine", "keychain machine", "kernel session", "file machine", "memory process"}; !slices.Equal(lives, want) {
		t.Errorf("%q", lives)
	}
	s, err := kinds[4].Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.(keystore.Importer); !ok {
		t.Error("memory takes over no key")
	}
}
