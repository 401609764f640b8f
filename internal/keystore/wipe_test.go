package keystore

import (
	"bytes"
	"testing"

	"github.com/keytether/keytether/internal/secret"
)

func TestMemoryOverwritesTheToken(t *testing.T) {
	for _, how := range []string{"delete", "put", "new key"} {
		m := NewMemory()
		if _, err := m.NewKey(t.Context(), "k"); err != nil {
			t.Fatal(err)
		}
		if err := m.Put(t.Context(), "a", Entry{Key: "k", RefreshToken: secret.New("value")}); err != nil {
			t.Fatal(err)
		}
		held := m.entries["a"].token
		var err error
		switch how {
		case "delete":
			err = m.Delete(t.Context(), "a")
		case "put":
			err = m.Put(t.Context(), "a", Entry{Key: "k", RefreshToken: secret.New("other")})
		case "new key":
			_, err = m.NewKey(t.Context(), "k")
		}
		if err != nil || !bytes.Equal(held, make([]byte, 5)) {
			t.Errorf("%s leaves %q (%v)", how, held, err)
		}
	}
}
