package command

import (
	"context"
	"os"
)

// awaitEnter waits for a line at a terminal. It says false when ctx ends, or the input. A console
// cannot be looked at without reading, so a reader may be left behind until the program ends.
func awaitEnter(ctx context.Context, f *os.File) bool {
	got := make(chan bool, 1)
	go func() {
		var line [256]byte
		n, err := f.Read(line[:])
		got <- err == nil && n > 0
	}()
	select {
	case ok := <-got:
		return ok
	case <-ctx.Done():
		return false
	}
}

// ours says whether a terminal's lines come to this program.
func ours(int) bool { return true }
