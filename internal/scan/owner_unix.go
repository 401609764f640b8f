//go:build !windows

package scan

import (
	"io/fs"
	"os"
	"syscall"
)

// ours says whether a file belongs to who runs this.
func ours(info fs.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(s.Uid) == os.Getuid()
}
