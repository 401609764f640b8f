//go:build unix

package swtpm

import "syscall"

// Pause makes it hang: it takes connections and answers nothing.
func (s *TPM) Pause() { _ = syscall.Kill(s.p.PID(), syscall.SIGSTOP) }

// Resume lets it go on.
func (s *TPM) Resume() { _ = syscall.Kill(s.p.PID(), syscall.SIGCONT) }
