//go:build unix

package safefile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openChecked opens a file and looks at what it has opened, not at the name. It follows no
// link and does not wait for a pipe's other end.
func openChecked(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.ELOOP) {
		return nil, &Unsafe{path, "is a symbolic link", "Put the file itself there"}
	}
	if err != nil {
		return nil, fmt.Errorf("safefile: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, fmt.Errorf("safefile: %s: %w", path, err)
	}
	if err := checkFile(path, facts{uint32(st.Mode), st.Uid, uint64(st.Nlink)}, uint32(os.Geteuid())); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// facts are what stat says.
type facts struct {
	mode  uint32
	uid   uint32
	links uint64
}

func checkFile(path string, st facts, me uint32) error {
	switch {
	case st.mode&unix.S_IFMT != unix.S_IFREG:
		return &Unsafe{path, "is not a regular file", "Move it away"}
	case st.uid != me:
		return &Unsafe{path, fmt.Sprintf("belongs to user %d and not to this one, %d", st.uid, me), "Run the command as the user who logged in, or move the file away"}
	case st.mode&0o077 != 0:
		return &Unsafe{path, fmt.Sprintf("may be read or written by others (mode %04o)", st.mode&0o7777), "If nobody else has used it: chmod 600 " + path}
	case st.links > 1: // with none it was replaced since it was opened, and is whole
		return &Unsafe{path, fmt.Sprintf("has %d names (hard links)", st.links), "Find and remove the others: find / -samefile " + path}
	}
	return nil
}

// checkDir checks the folder that holds the file. Whoever can write to it can put another file
// in place.
func checkDir(dir string) error {
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "lstat", Path: dir, Err: err}
	}
	return checkFolder(dir, facts{mode: uint32(st.Mode), uid: st.Uid}, uint32(os.Geteuid()))
}

func checkFolder(dir string, st facts, me uint32) error {
	switch {
	case st.mode&unix.S_IFMT != unix.S_IFDIR:
		return &Unsafe{dir, "is not a folder", "Put a folder of your own there"}
	case st.uid != me:
		return &Unsafe{dir, fmt.Sprintf("belongs to user %d and not to this one, %d", st.uid, me), "Run the command as the user who logged in"}
	case st.mode&0o022 != 0:
		return &Unsafe{dir, fmt.Sprintf("may be written to by others (mode %04o)", st.mode&0o7777), "chmod 700 " + dir}
	}
	return nil
}

func tryLock(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return err == nil, err
}

// syncDir makes the new name last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("safefile: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("safefile: %w", err)
	}
	return nil
}
