package locked

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"
)

// TestLocked reads what the kernel says of the page: lo is locked, dd is left out of core dumps.
//
// Invariant: KS-5
func TestLocked(t *testing.T) {
	l := New([]byte("value"))
	if string(l.Bytes()) != "value" {
		t.Fatalf("%q", l.Bytes())
	}
	at := uintptr(unsafe.Pointer(&l.Bytes()[0]))
	flags := flagsOf(t, at)
	if !strings.Contains(flags, " lo ") || !strings.Contains(flags, " dd ") {
		t.Errorf("the page is %q; is RLIMIT_MEMLOCK 0 here?", flags)
	}
	l.Free()
	if f := flagsOf(t, at); strings.Contains(f, " lo ") {
		t.Errorf("the page is still there: %q", f)
	}
}

// TestFreeOverwrites looks at the page just before it is given back.
//
// Invariant: KS-6
func TestFreeOverwrites(t *testing.T) {
	l := New([]byte("value"))
	mem, free, seen := l.Bytes(), l.free, "never freed"
	l.free = func() {
		seen = string(mem)
		free()
	}
	l.Free()
	if seen != "\x00\x00\x00\x00\x00" {
		t.Errorf("given back: %q", seen)
	}
}

func TestEmpty(t *testing.T) {
	l := New(nil)
	if len(l.Bytes()) != 0 {
		t.Error("not empty")
	}
	l.Free()
}

// flagsOf gives the VmFlags of the mapping that begins at this address (proc_pid_smaps(5)).
func flagsOf(t *testing.T, at uintptr) string {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := false
	for sc := bufio.NewScanner(f); sc.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(sc.Text(), "%x-%x ", &from, &to); n == 2 {
			in = from <= at && at < to
		}
		if rest, ok := strings.CutPrefix(sc.Text(), "VmFlags:"); ok && in {
			return rest + " "
		}
	}
	return ""
}
