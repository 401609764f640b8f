//go:build !windows

package command

import (
	"os"

	"golang.org/x/sys/unix"
)

// foreground says whether we may take keys from the terminal: a command in the background that
// did would be stopped.
func foreground(tty *os.File) bool {
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// copyModes gives a terminal the modes of another: its keys for erase, interrupt and so on.
func copyModes(to, from *os.File) error {
	modes, err := unix.IoctlGetTermios(int(from.Fd()), getModes)
	if err != nil {
		return err
	}
	return unix.IoctlSetTermios(int(to.Fd()), setModes, modes)
}

// rawOutput lets a terminal pass on what is printed as it is.
func rawOutput(tty *os.File) error {
	modes, err := unix.IoctlGetTermios(int(tty.Fd()), getModes)
	if err != nil {
		return err
	}
	modes.Oflag &^= unix.OPOST
	return unix.IoctlSetTermios(int(tty.Fd()), setModes, modes)
}
