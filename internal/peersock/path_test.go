package peersock

import (
	"errors"
	"runtime"
	"strings"
	"testing"
)

func TestUnixPath(t *testing.T) {
	if runtime.GOOS == "windows" {
		if _, err := Path(func(string) string { return `C:\x` }); !errors.Is(err, ErrInsecurePath) {
			t.Errorf("a path that is no pipe: %v", err)
		}
		return
	}
	tests := []struct {
		name string
		env  map[string]string
		want string
		err  error
	}{
		{"own choice first", map[string]string{"KEYTETHER_SOCKET": "/a/b.sock", "XDG_RUNTIME_DIR": "/run/user/1", "HOME": "/h"}, "/a/b.sock", nil},
		{"relative choice", map[string]string{"KEYTETHER_SOCKET": "b.sock", "HOME": "/h"}, "", ErrInsecurePath},
		{"runtime folder", map[string]string{"XDG_RUNTIME_DIR": "/run/user/1", "XDG_STATE_HOME": "/s", "HOME": "/h"}, "/run/user/1/keytether/agent.sock", nil},
		{"relative runtime folder does not count", map[string]string{"XDG_RUNTIME_DIR": "run", "HOME": "/h"}, "/h/.local/state/keytether/agent.sock", nil},
		{"state folder", map[string]string{"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/keytether/agent.sock", nil},
		{"home", map[string]string{"HOME": "/h"}, "/h/.local/state/keytether/agent.sock", nil},
		{"nothing", nil, "", errNoHome},
		{"another user's runtime folder", map[string]string{"XDG_RUNTIME_DIR": "/theirs/run", "HOME": "/h"}, "/h/.local/state/keytether/agent.sock", nil},
		{"another user's all", map[string]string{"XDG_RUNTIME_DIR": "/theirs/run", "XDG_STATE_HOME": "/theirs/state", "HOME": "/theirs"}, "", ErrInsecurePath},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := unixPath(func(k string) string { return tt.env[k] }, func(dir string) bool { return strings.HasPrefix(dir, "/theirs") })
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
