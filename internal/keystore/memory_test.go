package keystore_test

import (
	"testing"

	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/keystore/keystoretest"
)

func TestMemory(t *testing.T) {
	keystoretest.Run(t, func(*testing.T) keystore.Store { return keystore.NewMemory() })
}
