package agent

import (
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

type recorder = httptest.ResponseRecorder

// dumpable asks prctl(PR_GET_DUMPABLE). The owner of /proc/PID says the same, but
// not to root.
func dumpable() string {
	n, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, 3, 0, 0)
	return "dumpable " + strconv.Itoa(int(n)) + " errno " + strconv.Itoa(int(errno)) + "\n"
}

// checkClosed: no core dumps, no ptrace and no /proc/PID/mem for the user's other
// processes.
func checkClosed(t *testing.T, said string) {
	t.Helper()
	if !strings.Contains(said, "Max core file size 0 0") {
		t.Errorf("core dumps are allowed: %s", said)
	}
	if !strings.Contains(said, "dumpable 0 errno 0") {
		t.Errorf("other processes of the user can read the agent's memory: %s", said)
	}
}
