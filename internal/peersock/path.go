package peersock

import (
	"errors"
	"path/filepath"
)

var errNoHome = errors.New("peersock: neither KEYTETHER_SOCKET, XDG_RUNTIME_DIR, XDG_STATE_HOME nor HOME says where the agent's socket is. Set HOME or KEYTETHER_SOCKET")

// unixPath is where the socket lies on systems with Unix sockets: KEYTETHER_SOCKET, else in
// $XDG_RUNTIME_DIR/keytether, else in keytether under the user's state folder. As the XDG
// base directory specification says, its variables count only if absolute. A folder of another
// user's, as one inherits it through su without "-", does not count: others is asked.
func unixPath(getenv func(string) string, others func(dir string) bool) (string, error) {
	if p := getenv("KEYTETHER_SOCKET"); p != "" {
		if !filepath.IsAbs(p) {
			return "", insecure(p, "KEYTETHER_SOCKET is not an absolute path", "Give the whole path")
		}
		return filepath.Clean(p), nil
	}
	foreign := ""
	for _, c := range []struct{ name, below string }{{"XDG_RUNTIME_DIR", ""}, {"XDG_STATE_HOME", ""}, {"HOME", ".local/state"}} {
		d := getenv(c.name)
		if !filepath.IsAbs(d) {
			continue
		}
		if others(d) {
			foreign = d
			continue
		}
		return filepath.Join(d, c.below, "keytether", "agent.sock"), nil
	}
	if foreign != "" {
		return "", insecure(foreign, "it belongs to another user, whose environment this is", "Use `su -` or `sudo -i`, or set HOME")
	}
	return "", errNoHome
}

type pathError struct{ path, why, do string }

func insecure(path, why, do string) error { return &pathError{path, why, do} }

func (e *pathError) Error() string {
	return "the agent's socket is not safe to use: " + e.path + ": " + e.why + ". " + e.do
}

func (e *pathError) Unwrap() error { return ErrInsecurePath }
