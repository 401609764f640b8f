package leak

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Watch reads the arguments and the environment of every process of this machine,
// over and over, by way of Linux's /proc.
type Watch struct {
	// Asked names a variable that may hold a token, since a person asked for that
	// (`keytether exec --env`): it is counted and left out. Empty if there is none.
	Asked string

	mu    sync.Mutex
	pids  map[int]bool
	texts map[string]bool
	asked int
	stop  chan struct{}
	done  chan struct{}
}

// Start begins. Whoever starts it must call Stop.
func (w *Watch) Start() {
	w.pids, w.texts = map[int]bool{}, map[string]bool{}
	w.stop, w.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(w.done)
		for {
			w.look()
			select {
			case <-w.stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
}

func (w *Watch) look() {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		for _, what := range []string{"cmdline", "environ"} {
			data, err := os.ReadFile(filepath.Join("/proc", e.Name(), what))
			if err == nil && len(data) > 0 {
				w.note(pid, what, data)
			}
		}
	}
}

func (w *Watch) note(pid int, what string, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pids[pid] = true
	if w.Asked == "" || what != "environ" {
		w.texts[string(data)] = true
		return
	}
	for kv := range bytes.SplitSeq(data, []byte{0}) {
		if bytes.HasPrefix(kv, []byte(w.Asked+"=")) {
			w.asked++
			continue
		}
		w.texts[string(kv)] = true
	}
}

// Seen says whether a process was looked at.
func (w *Watch) Seen(pid int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pids[pid]
}

// AskedFor says how often the variable Asked was seen.
func (w *Watch) AskedFor() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked
}

// Stop ends it and gives all that was read.
func (w *Watch) Stop() []byte {
	close(w.stop)
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	var b bytes.Buffer
	for text := range w.texts {
		b.WriteString(text)
		b.WriteByte('\n')
	}
	return b.Bytes()
}
