package servercmd

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// collectEvery is how often the collector's measure is taken again.
const collectEvery = 5 * time.Second

// The collector lets so much garbage lie beside what is in use, but no less than
// half of what is in use, and no more than four times of it.
const (
	roomyGarbage = 64 << 20
	leastPercent = 50
	mostPercent  = 400
)

// collectorPercent is GOGC for a heap with so many bytes in use. A small heap is
// collected seldom, for each collection has a cost of its own. A large one is
// mostly what is remembered of waiting tools and of proofs, without pointers, so
// that collecting it often costs little and keeps it small.
func collectorPercent(live uint64) int {
	return int(max(leastPercent, min(mostPercent, 100*roomyGarbage/max(live, 1))))
}

// collector adapts the garbage collector to the heap. Who has set GOGC knows
// better, and is left alone.
type collector struct{ percent int }

func (c *collector) adapt() {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	if p := collectorPercent(live[0].Value.Uint64()); p != c.percent {
		c.percent = p
		debug.SetGCPercent(p)
	}
}
