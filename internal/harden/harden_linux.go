package harden

import (
	"fmt"
	"syscall"
)

// prSetDumpable is PR_SET_DUMPABLE of prctl(2).
const prSetDumpable = 4

// Process forbids core dumps, and ptrace and /proc/PID/mem to other processes of
// the same user (prctl(2), PR_SET_DUMPABLE).
func Process() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("harden: core dumps: %w", err)
	}
	return Memory()
}

// Memory forbids what of that a program that it starts does not inherit: the kernel makes that
// one dumpable again at execve(2). It is for a command that got a token and starts others.
func Memory() error {
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0); errno != 0 {
		return fmt.Errorf("harden: PR_SET_DUMPABLE: %w", errno)
	}
	return nil
}
