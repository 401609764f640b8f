package command

import "golang.org/x/sys/windows"

func terminal(fd uintptr) bool {
	var mode uint32
	return windows.GetConsoleMode(windows.Handle(fd), &mode) == nil
}

// terminalWidth is in columns; 0 where it is not known.
func terminalWidth(fd uintptr) int {
	var info windows.ConsoleScreenBufferInfo
	if windows.GetConsoleScreenBufferInfo(windows.Handle(fd), &info) != nil {
		return 0
	}
	return int(info.Window.Right-info.Window.Left) + 1
}

// forgetTyped drops what was typed at a terminal and nobody has read yet.
func forgetTyped(fd uintptr) error {
	return windows.FlushConsoleInputBuffer(windows.Handle(fd))
}
