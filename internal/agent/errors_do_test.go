package agent

import (
	"strings"
	"testing"
)

func TestNotLoggedInNamesTheProfileToLogInTo(t *testing.T) {
	for profile, do := range map[string]string{"default": "Run `keytether login`", "work": "Run `keytether login --profile work`"} {
		if got := notLoggedIn(profile, nil); !strings.HasPrefix(got.Do, do) {
			t.Errorf("profile %s: %q, want %q", profile, got.Do, do)
		}
	}
}
