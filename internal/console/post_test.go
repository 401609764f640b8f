package console

import (
	"strings"
	"testing"

	"github.com/keytether/keytether/internal/authserver"
)

// TestPostGoesToTheRedirectURI: whatever its scheme, and with every character
// still text.
func TestPostGoesToTheRedirectURI(t *testing.T) {
	for redirect, want := range map[string]string{
		"http://127.0.0.1:1/callback":                  `action="http://127.0.0.1:1/callback"`,
		"com.example.app:/callback":                    `action="com.example.app:/callback"`,
		`com.example.app:/"><script>alert(1)</script>`: `action="com.example.app:/%22%3e%3cscript%3ealert%281%29%3c/script%3e"`,
	} {
		var b strings.Builder
		if err := New("https://auth.test", "").Post(&b, Post{Response: authserver.Response{RedirectURI: redirect}}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s: no %s in\n%s", redirect, want, b.String())
		}
	}
}
