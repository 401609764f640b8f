//go:build unix

package signer

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// openRootFile opens path unless it is a symbolic link: whoever may write the
// folder could point one at a key that he knows.
func openRootFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK) {
		return nil, fmt.Errorf("%w: %s is a symbolic link. Give the path of the file itself", ErrRootFile, path)
	}
	if err != nil {
		return nil, fmt.Errorf("signer: opening the root key: %w", err)
	}
	return f, nil
}

// checkRootFile: a regular file that only this user can read.
func checkRootFile(path string, f *os.File) error {
	return checkMode(path, f, 0o077)
}

// checkCredential: systemd grants the service's user access by an ACL, which
// shows as permissions of the group, so that only others' are refused.
func checkCredential(path string, f *os.File) error {
	return checkMode(path, f, 0o027)
}

func checkMode(path string, f *os.File, refused os.FileMode) error {
	fi, err := f.Stat()
	if err != nil {
		return fmt.Errorf("signer: looking at the root key: %w", err)
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%w: %s is not a regular file", ErrRootFile, path)
	}
	if perm := fi.Mode().Perm(); perm&refused != 0 {
		return fmt.Errorf("%w: %s has mode %04o, so that others can get at it. Run chmod 600 on it, "+
			"and if others use this machine, rotate the keys", ErrRootFile, path, perm)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != os.Geteuid() && st.Uid != 0 {
		return fmt.Errorf("%w: %s belongs to user %d, and the server runs as user %d. Run chown on it",
			ErrRootFile, path, st.Uid, os.Geteuid())
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
