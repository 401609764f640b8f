//go:build linux || darwin

package agentstart

import (
	"os"
	"path/filepath"
	"testing"
)

// TestStateDir inherits another user's state folder, as by su without "-". Only root can give a
// folder to another user.
//
// Invariant: IS-1
func TestStateDir(t *testing.T) {
	home, other := t.TempDir(), t.TempDir()
	own := filepath.Join(home, ".local", "state", "keytether")
	env := map[string]string{"HOME": home}
	at := func() string { return StateDir(func(name string) string { return env[name] }) }
	if got := at(); got != own {
		t.Errorf("%s, want %s", got, own)
	}
	env["XDG_STATE_HOME"] = other
	if got, want := at(), filepath.Join(other, "keytether"); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	env["XDG_STATE_HOME"] = "relative"
	if got := at(); got != own {
		t.Errorf("%s, want %s", got, own)
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(other, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	env["XDG_STATE_HOME"] = other
	if got := at(); got != own {
		t.Errorf("another user's folder: %s", got)
	}
	env["HOME"] = other
	if got := at(); got != "" {
		t.Errorf("another user's home: %s", got)
	}
}
