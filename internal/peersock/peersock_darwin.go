package peersock

import "golang.org/x/sys/unix"

// peerCred is LOCAL_PEERCRED, and LOCAL_PEERPID for the process, see unix(4).
func peerCred(fd int) (uid, pid int, err error) {
	c, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, 0, err
	}
	pid, err = unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID)
	if err != nil {
		return 0, 0, err
	}
	return int(c.Uid), pid, nil
}
