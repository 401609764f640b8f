//go:build !windows

package command

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// look is how often it is looked whether this program may read the terminal.
const look = 200 * time.Millisecond

// awaitEnter waits for a line at a terminal. It reads nothing while another program has the
// terminal: a shell, which put this one in the background, or a browser that runs in it. It says
// false when ctx ends, or the input.
func awaitEnter(ctx context.Context, f *os.File) bool {
	fd := int(f.Fd())
	for ctx.Err() == nil {
		var set unix.FdSet
		set.Set(fd)
		wait := unix.NsecToTimeval(int64(look))
		n, err := unix.Select(fd+1, &set, nil, nil, &wait)
		switch {
		case errors.Is(err, unix.EINTR), err == nil && n == 0:
			continue
		case err != nil:
			return false
		case !ours(fd):
			time.Sleep(look)
			continue
		}
		var line [256]byte
		n, err = unix.Read(fd, line[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && n > 0
	}
	return false
}

// ours says whether a terminal's lines come to this program.
func ours(fd int) bool {
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp() && lineMode(fd)
}
