package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/secret"
)

// What registration may say, and what is wrong with the rest.
//
// Invariant: CL-12
func TestRegistration(t *testing.T) {
	hash := func(s string) string { return secret.New(s).Hash().Base64() }
	const top = base + res
	for _, x := range []struct{ in, file, want string }{
		{top + "registration: {tokens_file: f}\n", "# ours\n\nci " + hash("a") + "\nlab\t" + hash("b") + "\n", ""},
		{top + "registration: {tokens_file: f}\n", "", ""},
		{top + "registration: {tokens_file: f, resources: ['https://b.test'], disabled: [cli_x]}\n", "ci " + hash("a"), ""},
		{base + "registration: {tokens_file: f}\n", "", "no resource"},
		{top + "registration: {}\n", "", "missing"},
		{top + "registration: yes\n", "", "keys with values"},
		{top + "registration: {tokens_file: gone}\n", "", "cannot be read"},
		{top + "registration: {tokens_file: f, resources: ['" + "http://127.0.0.1:8430/api/v1']}\n", "", "not allowed"},
		{top + "registration: {tokens_file: f, open: yes}\n", "", "no such key"},
		{top + "registration: {tokens_file: f}\n", "ci\n", "line 1: a line is NAME HASH"},
		{top + "registration: {tokens_file: f}\n", "\nci x y\n", "line 2: a line is NAME HASH"},
		{top + "registration: {tokens_file: f}\n", "c/i " + hash("a"), "NAME HASH"},
		{top + "registration: {tokens_file: f}\n", "ci " + hash("a")[1:], "no hash"},
		{top + "registration: {tokens_file: f}\n", "ci " + hash("a") + "\nci " + hash("b"), "line 2: this name or hash stands here already"},
		{top + "registration: {tokens_file: f}\n", "ci " + hash("a") + "\nlab " + hash("a"), "stands here already"},
		{top + "registration: {tokens_file: f}\n", "ci " + secret.Mint(secret.Initial, [32]byte{1}).Reveal(), "itself"},
	} {
		d := t.TempDir()
		if err := os.WriteFile(filepath.Join(d, "f"), []byte(x.file), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Parse([]byte(x.in), d)
		if x.want == "" {
			if err != nil || c.Registration == nil {
				t.Errorf("%q with %q: %v", x.in, x.file, err)
			}
			continue
		}
		if !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "kti_") {
			t.Errorf("%q with %q: %v, want %q", x.in, x.file, err, x.want)
		}
	}

	d := t.TempDir()
	if err := os.WriteFile(filepath.Join(d, "f"), []byte("ci "+hash("a")+"\nlab "+hash("b")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Parse([]byte(top+"registration: {tokens_file: f}\n"), d)
	if err != nil {
		t.Fatal(err)
	}
	reg := c.Registration
	if len(reg.Tokens) != 2 || reg.Tokens[1].Name != "lab" || reg.Tokens[1].Hash != secret.New("b").Hash() {
		t.Errorf("tokens %v", reg.Tokens)
	}
	if strings.Join(reg.Resources, " ") != "https://a.test https://b.test" {
		t.Errorf("resources %v: the server's own API is not for clients that register themselves", reg.Resources)
	}
	if reg.Device.OtherNetwork != "confirm" {
		t.Errorf("device rules %+v", reg.Device)
	}
}
