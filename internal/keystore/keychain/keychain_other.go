//go:build darwin || windows

package keychain

import (
	"errors"
	"runtime"

	"github.com/zalando/go-keyring"

	"github.com/keytether/keytether/internal/keystore"
)

// maxText is what one item may have: 2560 bytes at the Credential Manager (CRED_MAX_CREDENTIAL_BLOB_SIZE);
// on macOS a command of security(1), 4096 bytes with names and another base64.
const maxText = 2500

func ready() error { return nil }

// problem puts an error of the system into words.
func problem(err error) error {
	var p *keystore.Problem
	if errors.As(err, &p) {
		return err
	}
	if errors.Is(err, keyring.ErrSetDataTooBig) {
		return &keystore.Problem{Store: Name, Why: "the login is too large for one item", Mend: "Choose another store, such as file", Err: err}
	}
	if runtime.GOOS == "darwin" {
		return &keystore.Problem{Store: Name, Why: "the macOS Keychain refused", Mend: "Unlock the login keychain in Keychain Access, then try again", Err: err}
	}
	return &keystore.Problem{Store: Name, Why: "the Windows Credential Manager refused", Mend: "See whether this user may use the Credential Manager", Err: err}
}
