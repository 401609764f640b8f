// Package stores lists the kinds of store that a machine may have, in the order in which they are
// tried, and decides that order from facts.
package stores

import (
	"fmt"
	"time"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/file"
	"github.com/keytether/keytether/internal/keystore/kernel"
	"github.com/keytether/keytether/internal/keystore/keychain"
	"github.com/keytether/keytether/internal/keystore/tpm"
)

// AutoName is the word of config that leaves the choice to Auto.
const AutoName = "auto"

// Options says where the stores are. The zero value of all but Facts and Folder is what a person
// has; tests put each store into a place of its own.
type Options struct {
	Facts  Facts
	Choose string // "auto" or "" for Auto's order; else the name of the one kind to use

	Service string        // what items of the keychain and keys of the kernel are filed under
	Limit   time.Duration // of one call of the keychain
	Folder  string        // absolute: the user's state folder, of the sealed file and of what the TPM made
	Device  string        // the TPM; empty for the system's own
}

// sealers gives what may hold the sealed file's key before a person has to.
func (o Options) sealers() []file.Sealer {
	var out []file.Sealer
	if o.Facts.TPM {
		out = append(out, tpm.NewSealer(tpm.Options{Device: o.Device, Folder: o.Folder}))
	}
	return out
}

// Kinds gives the kinds to try, first to last; with a Choose the one of that name. An unknown
// name is keystore.ErrUnusable.
func Kinds(o Options) ([]keystore.Kind, error) {
	all := map[string]keystore.Kind{
		keychain.Name: keychain.Kind(keychain.Options{Service: o.Service, Limit: o.Limit}),
		kernel.Name:   kernel.Kind(kernel.Options{Prefix: o.Service}),
		file.Name:     file.Kind(file.Options{Folder: o.Folder, Sealers: o.sealers(), Passphrase: true}),
		"tpm":         tpm.Kind(tpm.Options{Device: o.Device, Folder: o.Folder}),
		"memory":      keystore.MemoryKind(),
	}
	if o.Choose != "" && o.Choose != AutoName {
		k, ok := all[o.Choose]
		if !ok {
			return nil, &keystore.Problem{
				Store: o.Choose, Why: fmt.Sprintf("there is no store of the name %q here", o.Choose),
				Mend: "Choose one of auto, tpm, keychain, kernel, file, memory",
			}
		}
		return []keystore.Kind{k}, nil
	}
	var kinds []keystore.Kind
	for _, c := range Auto(o.Facts) {
		if k, ok := all[c.Name]; ok && c.Use {
			kinds = append(kinds, k)
		}
	}
	return kinds, nil
}
