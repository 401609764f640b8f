package peersock

import (
	"errors"
	"path/filepath"
)

var errNoHome = errors.New("peersock: neither KEYTETHER_SOCKET, XDG_RUNTIME_DIR, XDG_STATE_HOME nor HOME says where the agent's socket is. Set HOME or KEYTETHER_SOCKET")

// unixPath is where the socket lies on systems with Unix sockets: KEYTETHER_SOCKET, else in
// $XDG_RUNTIME_DIR/keytether, else in keytether under the user's state folder. As the XDG
// base directory specification says, its variables count only if absolute.
func unixPath(getenv func(string) string) (string, error) {
	if p := getenv("KEYTETHER_SOCKET"); p != "" {
		if !filepath.IsAbs(p) {
			return "", insecure(p, "KEYTETHER_SOCKET is not an absolute path", "Give the whole path")
		}
		return filepath.Clean(p), nil
	}
	if d := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(d) {
		return filepath.Join(d, "keytether", "agent.sock"), nil
	}
	if d := getenv("XDG_STATE_HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, "keytether", "agent.sock"), nil
	}
	if d := getenv("HOME"); filepath.IsAbs(d) {
		return filepath.Join(d, ".local", "state", "keytether", "agent.sock"), nil
	}
	return "", errNoHome
}

type pathError struct{ path, why, do string }

func insecure(path, why, do string) error { return &pathError{path, why, do} }

func (e *pathError) Error() string {
	return "the agent's socket is not safe to use: " + e.path + ": " + e.why + ". " + e.do
}

func (e *pathError) Unwrap() error { return ErrInsecurePath }
