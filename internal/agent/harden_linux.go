package agent

import (
	"fmt"
	"syscall"
)

// prSetDumpable is PR_SET_DUMPABLE of prctl(2).
const prSetDumpable = 4

// harden forbids core dumps, and ptrace and /proc/PID/mem to other processes of
// the same user (prctl(2), PR_SET_DUMPABLE).
func harden() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("agent: core dumps: %w", err)
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0); errno != 0 {
		return fmt.Errorf("agent: PR_SET_DUMPABLE: %w", errno)
	}
	return nil
}
