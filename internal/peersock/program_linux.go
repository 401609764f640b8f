package peersock

import (
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Identifies says whether this system tells what a peer runs.
const Identifies = true

// image tells two files apart, whatever their names.
type image struct{ dev, ino uint64 }

// ticksPerSecond is USER_HZ, the same on every architecture that Go runs on: see proc_pid_stat(5).
const ticksPerSecond = 100

// identify reads what the peer runs. A process keeps its number as long as it lives, and a pidfd
// tells whether it does: what was read before it was seen alive is of no other process. The pidfd
// of the connection itself (SO_PEERPIDFD, Linux 6.5) leaves no gap; without it one is opened by the
// number that SO_PEERCRED gives.
func (p *Peer) identify(c net.Conn, own self) {
	fd, err := peerPIDFD(c)
	if err != nil {
		fd, err = unix.PidfdOpen(p.PID, 0)
	}
	if err != nil {
		return
	}
	defer unix.Close(fd)
	p.read(fd, own)
}

// read is identify by a pidfd.
func (p *Peer) read(pidfd int, own self) {
	program, img, parent := readProgram(p.PID)
	ours := program.Executable != "" && (img == own.image || program.Executable == own.path && !program.Replaced)
	var by Program
	if ours {
		by, parent = readParent(p.PID, parent)
	}
	if !alive(pidfd) {
		return
	}
	p.Program, p.Ours = program, ours
	if ours {
		p.Parent, p.ParentPID = by, parent
	}
}

// maxShells is how many shells are passed over on the way to who wanted something done.
const maxShells = 4

// readParent reads who started a process: its parent, and where that is a shell that was only given
// a command (sh -c), the shell's. That a shell says so is its own word, but it gains nothing by it:
// whoever started it could have run the command as well.
func readParent(pid, parent int) (Program, int) {
	line := []int{pid, parent}
	by, _, up := readProgram(parent)
	for by.Script == "-c" && isShell(by.Executable) && up > 1 && len(line) < 2+maxShells {
		line = append(line, up)
		by, _, up = readProgram(up)
	}
	// A parent that ends hands its children over: while the number stays the same, so does the
	// process.
	for i, child := range line[:len(line)-1] {
		if _, again, _ := readStat(child); again != line[i+1] {
			return Program{}, 0
		}
	}
	return by, line[len(line)-1]
}

func peerPIDFD(c net.Conn) (fd int, err error) {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return -1, net.ErrClosed
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return -1, err
	}
	var perr error
	err = raw.Control(func(s uintptr) { fd, perr = unix.GetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_PEERPIDFD) })
	if err == nil {
		err = perr
	}
	return fd, err
}

// alive says that the process of a pidfd has not ended: the descriptor becomes readable when it
// does, see pidfd_open(2).
func alive(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		return err == nil && n == 0
	}
}

// readProgram reads /proc/PID. Of a process that does not let itself be read, and of one that is
// gone, there is no executable.
func readProgram(pid int) (p Program, img image, parent int) {
	dir := "/proc/" + strconv.Itoa(pid)
	p.StartedAt, parent, _ = readStat(pid)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(dir+"/exe", buf)
	if err != nil || n == 0 || n == len(buf) || buf[0] != '/' {
		return p, img, parent
	}
	var runs, there unix.Stat_t
	if unix.Stat(dir+"/exe", &runs) != nil {
		return p, img, parent
	}
	img = image{runs.Dev, runs.Ino}
	p.Executable = string(buf[:n])
	p.Replaced = unix.Stat(p.Executable, &there) != nil || img != image{there.Dev, there.Ino}
	if p.Replaced {
		p.Executable = strings.TrimSuffix(p.Executable, " (deleted)")
	}
	if _, interpreter := valued(p.Executable); interpreter {
		argv := readFile(dir + "/cmdline")
		n, err := unix.Readlink(dir+"/cwd", buf)
		if err != nil || n == len(buf) {
			n = 0
		}
		p.Script = claimedScript(p.Executable, strings.Split(strings.TrimSuffix(argv, "\x00"), "\x00"), string(buf[:n]))
	}
	return p, img, parent
}

// readStat reads parent and start of a process. Its name may hold anything, so fields are counted
// from the last ")".
func readStat(pid int) (started time.Time, parent int, ok bool) {
	text := readFile("/proc/" + strconv.Itoa(pid) + "/stat")
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return time.Time{}, 0, false
	}
	parent, err := strconv.Atoi(fields[1])
	ticks, err2 := strconv.ParseInt(fields[19], 10, 64)
	var up unix.Timespec
	if err != nil || err2 != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) != nil {
		return time.Time{}, parent, err == nil
	}
	age := time.Duration(up.Nano()) - time.Duration(ticks)*(time.Second/ticksPerSecond)
	return time.Now().Add(-age), parent, true
}

// readFile reads the first 4 KiB of a file in /proc.
func readFile(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	n, err := unix.Read(fd, buf)
	if err != nil || n < 0 {
		return ""
	}
	return string(buf[:n])
}

func findSelf() self {
	p, img, _ := readProgram(unix.Getpid())
	return self{p.Executable, img}
}
