package main

import (
	"os"
	"testing"
	"time"
)

// TestProcessCPU counts this process's own work, by its id as well as by itself.
func TestProcessCPU(t *testing.T) {
	before, err := processCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	self := selfCPU()
	measureFloor()
	after, err := processCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	a, b := after-before, selfCPU()-self
	if a < 100*time.Millisecond || b < 100*time.Millisecond || a-b > 100*time.Millisecond || b-a > 100*time.Millisecond {
		t.Errorf("%v and %v", a, b)
	}
}
