//go:build !linux

package kernel

import (
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/records"
)

func newBackend(string) (records.Backend, error) {
	return nil, &keystore.Problem{Store: Name, Why: "only Linux has a kernel keyring", Mend: "Choose another store"}
}
