//go:build !darwin && !windows

package keychain

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	ss "github.com/zalando/go-keyring/secret_service"

	"github.com/keytether/keytether/internal/keystore"
)

// maxText is what one item may have; a Secret Service itself has no such bound.
const maxText = 128 << 10

// ready looks before the library does, which would start a D-Bus daemon where there is none
// (dbus-launch), and put up a window where the keychain is locked. It runs under the limit too.
func ready() error {
	if !haveBus(os.Getenv("DBUS_SESSION_BUS_ADDRESS"), filepath.Join("/run/user", strconv.Itoa(os.Getuid()))) {
		return noBus()
	}
	s, err := ss.NewSecretService()
	if err != nil {
		return err
	}
	v, err := s.GetLoginCollection().GetProperty("org.freedesktop.Secret.Collection.Locked")
	if err != nil {
		return err
	}
	if locked, ok := v.Value().(bool); !ok || locked {
		return &keystore.Problem{
			Store: Name, Why: "the keychain is locked",
			Mend: "Unlock it: sign in to the desktop, or open it in the password manager, then try again",
		}
	}
	return nil
}

func noBus() error {
	return &keystore.Problem{
		Store: Name, Why: "there is no D-Bus session here (DBUS_SESSION_BUS_ADDRESS is not set)",
		Mend: "Sign in to a desktop, or run under dbus-run-session with a Secret Service",
	}
}

// haveBus looks where the library looks for a bus: the address, and the user's runtime folder.
func haveBus(address, runtime string) bool {
	if address != "" && address != "autolaunch:" {
		return true
	}
	for _, name := range []string{"bus", "dbus-session"} {
		if _, err := os.Stat(filepath.Join(runtime, name)); err == nil {
			return true
		}
	}
	return false
}

// problem puts an error of D-Bus into words. Its own words name the bus and the method.
func problem(err error) error {
	var p *keystore.Problem
	if errors.As(err, &p) {
		return err
	}
	words := err.Error()
	switch {
	case strings.Contains(words, "org.freedesktop.secrets was not provided"), strings.Contains(words, "ServiceUnknown"):
		return &keystore.Problem{
			Store: Name, Why: "no Secret Service runs in this D-Bus session",
			Mend: "Install and start one, such as gnome-keyring", Err: err,
		}
	case strings.Contains(words, "UnknownObject"), strings.Contains(words, "UnknownMethod"), strings.Contains(words, "No such interface"), strings.Contains(words, "does not exist"):
		return &keystore.Problem{
			Store: Name, Why: "the Secret Service has no keychain to put things in",
			Mend: "Make one: sign in to the desktop, or gnome-keyring-daemon --unlock", Err: err,
		}
	case strings.Contains(words, "IsLocked"), strings.Contains(words, "failed to unlock"):
		return &keystore.Problem{Store: Name, Why: "the keychain is locked", Mend: "Unlock it, then try again", Err: err}
	}
	return &keystore.Problem{
		Store: Name, Why: "the D-Bus session or its Secret Service cannot be reached",
		Mend: "See whether the D-Bus session of DBUS_SESSION_BUS_ADDRESS still runs", Err: err,
	}
}
