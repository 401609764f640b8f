package main

import (
	"time"

	"golang.org/x/sys/unix"
)

// selfCPU is the CPU time of this process so far.
func selfCPU() time.Duration {
	d, err := processCPU(0)
	if err != nil {
		panic(err)
	}
	return d
}

// processCPU is the CPU time of a process so far, user and system, of all its
// threads, in nanoseconds: its own clock (clock_getcpuclockid(3)). 0 is this
// process.
func processCPU(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED
	var ts unix.Timespec
	err := unix.ClockGettime(int32(^pid<<3|sched), &ts)
	return time.Duration(ts.Nano()), err
}
