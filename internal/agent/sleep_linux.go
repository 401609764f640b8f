package agent

import (
	"time"

	"golang.org/x/sys/unix"
)

// slept is how long this machine has been suspended since it started: the time
// that CLOCK_BOOTTIME counts and CLOCK_MONOTONIC does not (clock_gettime(2)).
func slept() time.Duration {
	var boot, up unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &up) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil {
		return 0
	}
	return time.Duration(boot.Nano() - up.Nano())
}
