package harden

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// A command that got a token is closed, and what it starts is a program like any other.
func TestMemory(t *testing.T) {
	if err := Memory(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 1, 0) })
	if n, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, 3, 0, 0); n != 0 || errno != 0 { // PR_GET_DUMPABLE
		t.Errorf("dumpable %d, %v", n, errno)
	}
	before, err := os.ReadFile("/proc/self/limits")
	if err != nil {
		t.Fatal(err)
	}
	after, err := exec.Command("cat", "/proc/self/limits").Output()
	if err != nil {
		t.Fatal(err)
	}
	core := func(limits string) string {
		_, rest, _ := strings.Cut(limits, "Max core file size")
		line, _, _ := strings.Cut(rest, "\n")
		return line
	}
	if core(string(before)) != core(string(after)) {
		t.Errorf("the program it started has%s, not%s", core(string(after)), core(string(before)))
	}
}
