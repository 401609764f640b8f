package agent

import (
	"fmt"
	"syscall"
)

// harden forbids core dumps. That other processes cannot read this one's memory
// is the system's hardened runtime, by the binary's signature.
func harden() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("agent: core dumps: %w", err)
	}
	return nil
}
