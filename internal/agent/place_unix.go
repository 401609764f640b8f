//go:build linux || darwin

package agent

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// readLink gives a link's target, and nothing for what is no link.
func readLink(path string) (string, error) {
	target, err := os.Readlink(path)
	if errors.Is(err, syscall.EINVAL) {
		return "", nil
	}
	return target, err
}

// runs says whether there is a process of that number.
func runs(pid int) bool {
	err := syscall.Kill(pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

func samePath(a, b string) bool { return a == b }

// checkPlace refuses what somebody else than the user and root could change. In a
// folder on the way a sticky bit is enough: others can add there and replace nothing.
func checkPlace(path string, onTheWay bool) error {
	fi, err := os.Lstat(path)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return &openError{path, "belongs to another user", "Name a program that is yours or root's"}
	}
	if fi.Mode().Type() == fs.ModeSymlink || onTheWay && fi.Mode()&fs.ModeSticky != 0 {
		return nil
	}
	if perm := fi.Mode().Perm(); perm&0o002 != 0 || perm&0o020 != 0 && st.Gid != 0 {
		return &openError{path, "can be written by others than you and root", "Run: chmod go-w " + path}
	}
	return nil
}
