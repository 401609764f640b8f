package config

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
)

// Entry is one entry of the config that the store remembers: an Account, a
// Resource or a Client.
type Entry interface {
	Account | Resource | Client
}

// Digest is for store.Entry.Digest: it changes when the entry's meaning does. It
// covers no password, which is only an account's first.
func Digest[E Entry](e E) [32]byte {
	var kind string
	var content any
	switch v := any(e).(type) {
	case Account:
		kind, content = "account", struct {
			Email string
			Roles []string `json:",omitempty"`
		}{v.Email, v.Roles}
	case Resource:
		kind, content = "resource", v
	case Client:
		kind, content = "client", v
	}
	b, err := json.Marshal(content)
	if err != nil {
		panic(fmt.Sprintf("config: %s cannot be written as JSON: %v", kind, err)) // plain data only
	}
	return sha256.Sum256(append([]byte("keytether/config-entry/v1/"+kind+"\x00"), b...))
}
