package peersock

import (
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/windows"
)

// Identifies says whether this system tells what a peer runs.
const Identifies = true

type image struct{}

// identify asks for the image of the process. Who started it is not asked: the number of a parent
// may be another process's by now.
func (p *Peer) identify(_ net.Conn, own self) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(p.PID))
	if err != nil {
		return
	}
	defer windows.CloseHandle(h)
	buf := make([]uint16, windows.MAX_LONG_PATH)
	n := uint32(len(buf))
	if err := windows.QueryFullProcessImageName(h, 0, &buf[0], &n); err != nil {
		return
	}
	p.Executable = windows.UTF16ToString(buf[:n])
	p.Ours = own.path != "" && strings.EqualFold(p.Executable, own.path)
	var made, ended, kernel, user windows.Filetime
	if windows.GetProcessTimes(h, &made, &ended, &kernel, &user) == nil {
		p.StartedAt = time.Unix(0, made.Nanoseconds())
	}
}

func findSelf() self {
	path, err := os.Executable()
	if err != nil {
		return self{}
	}
	return self{path: path}
}

// claimedScript is used where arguments can be read.
var _, _ = claimedScript, isShell
