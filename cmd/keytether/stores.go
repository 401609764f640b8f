package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"runtime"

	"github.com/keytether/keytether/internal/agent"
	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/stores"
)

// tpmDevice is where Linux has the chip that programs may share.
const tpmDevice = "/dev/tpmrm0"

// kinds gives every store that this system has, in the order in which a login tries them, and of
// those that it passes over by itself, why.
func kinds(getenv func(string) string, folder string) (list []keystore.Kind, passed map[string]string) {
	o := stores.Options{Service: service(folder), Folder: folder, Facts: stores.Facts{GOOS: runtime.GOOS}}
	o.Facts.Container, o.Facts.CI = agent.Surroundings(getenv)
	_, err := os.Stat(tpmDevice)
	o.Facts.TPM = err == nil || runtime.GOOS == "windows"
	passed = map[string]string{}
	for _, c := range stores.Auto(o.Facts) {
		o.Choose = c.Name
		k, err := stores.Kinds(o)
		if err != nil {
			continue // not of this system
		}
		list = append(list, k...)
		if !c.Use && c.Name != agentwire.StoreMemory {
			passed[c.Name] = c.Why
		}
	}
	return list, passed
}

// service is what this installation files its items under: one keychain or keyring may serve
// several, told apart by their state folders.
func service(folder string) string {
	sum := sha256.Sum256([]byte(folder))
	return "keytether-" + hex.EncodeToString(sum[:4])
}
