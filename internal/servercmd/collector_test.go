package servercmd

import (
	"runtime/debug"
	"testing"
)

// TestCollector: about 64 MB of garbage, from four times what is in use down to
// half of it.
func TestCollector(t *testing.T) {
	for live, want := range map[uint64]int{0: 400, 4 << 20: 400, 16 << 20: 400, 32 << 20: 200, 64 << 20: 100, 128 << 20: 50, 1 << 40: 50} {
		if got := collectorPercent(live); got != want {
			t.Errorf("%d bytes in use: %d, want %d", live, got, want)
		}
	}
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "")
	c := &collector{}
	c.adapt()
	if set := debug.SetGCPercent(100); set != c.percent || set < leastPercent {
		t.Errorf("set to %d, want %d", set, c.percent)
	}
	t.Setenv("GOGC", "33")
	(&collector{}).adapt()
	if set := debug.SetGCPercent(100); set != 100 {
		t.Errorf("set to %d although GOGC says otherwise", set)
	}
}
