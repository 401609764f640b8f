//go:build unix

package secretservice

import "syscall"

// Pause makes the Secret Service hang.
func (b *Bus) Pause() { _ = syscall.Kill(b.keyring.PID(), syscall.SIGSTOP) }

// Resume lets it go on.
func (b *Bus) Resume() { _ = syscall.Kill(b.keyring.PID(), syscall.SIGCONT) }
