package secret_test

import (
	"encoding/base64"
	"errors"
	"testing"

	"github.com/keytether/keytether/internal/secret"
)

func TestParseHash(t *testing.T) {
	h := secret.New("x").Hash()
	if got, err := secret.ParseHash(h.Base64()); err != nil || got != h {
		t.Errorf("%v, %v", got, err)
	}
	for _, s := range []string{"", "x", h.Base64()[1:], h.Base64() + "A", h.Base64()[:20] + "\n" + h.Base64()[20:], base64.StdEncoding.EncodeToString(h[:])} {
		if _, err := secret.ParseHash(s); !errors.Is(err, secret.ErrMalformed) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
