package keystore

import (
	"testing"

	"github.com/keytether/keytether/internal/secret"
)

// TestMemoryWipesTheToken sees that no way out leaves the bytes of a token behind.
//
// Invariant: KS-6
func TestMemoryWipesTheToken(t *testing.T) {
	for _, how := range []string{"delete", "put", "new key", "close"} {
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
		case "close":
			err = m.Close()
		}
		if err != nil || held.Bytes() != nil {
			t.Errorf("%s leaves the token (%v)", how, err)
		}
	}
}
