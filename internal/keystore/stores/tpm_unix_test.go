//go:build unix

package stores

import (
	"path/filepath"
	"testing"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/testkit/swtpm"
)

// TestFileSealedByTPM keeps a login in the sealed file of a chip, and finds it again there alone.
func TestFileSealedByTPM(t *testing.T) {
	chip := swtpm.Start(t)
	o := Options{Facts: Facts{GOOS: "linux", TPM: true}, Choose: "file", Device: chip.Socket, Folder: filepath.Join(t.TempDir(), "state")}
	open := func() (keystore.Store, error) {
		kinds, err := Kinds(o)
		if err != nil {
			t.Fatal(err)
		}
		return kinds[0].Open(t.Context())
	}
	s, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.NewKey(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a", keystore.Entry{Key: "a", RefreshToken: secret.New("token")}); err != nil {
		t.Fatal(err)
	}
	if s, err = open(); err != nil {
		t.Fatal(err)
	}
	if e, err := s.Get(t.Context(), "a"); err != nil || e.RefreshToken.Reveal() != "token" {
		t.Errorf("opened again: %v", err)
	}
	o.Device = swtpm.Start(t).Socket
	if _, err := open(); err == nil {
		t.Error("another chip opens the file")
	}
}
