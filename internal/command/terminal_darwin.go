package command

import "golang.org/x/sys/unix"

// The requests for a terminal's modes.
const (
	getModes = unix.TIOCGETA
	setModes = unix.TIOCSETA
)

func terminal(fd uintptr) bool {
	_, err := unix.IoctlGetTermios(int(fd), getModes)
	return err == nil
}

// terminalWidth is in columns; 0 where it is not known.
func terminalWidth(fd uintptr) int {
	w, err := unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(w.Col)
}

// forgetTyped drops what was typed at a terminal and nobody has read yet.
func forgetTyped(fd uintptr) error {
	const read = 1 // FREAD: the input queue alone
	return unix.IoctlSetPointerInt(int(fd), unix.TIOCFLUSH, read)
}

// lineMode says whether a terminal gives its input line by line, as it does while no program with
// a screen of its own runs in it.
func lineMode(fd int) bool {
	t, err := unix.IoctlGetTermios(fd, unix.TIOCGETA)
	return err == nil && t.Lflag&unix.ICANON != 0
}
