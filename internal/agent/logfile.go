package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// logFile is agent.log, this user's alone, turned over at maxLog; one old file
// is kept.
type logFile struct {
	mu   sync.Mutex
	path string
	f    *os.File
	size int64
}

func openLog(dir string) (*logFile, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("agent: the log's folder: %w", err)
	}
	l := &logFile{path: filepath.Join(dir, "agent.log")}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("agent: the log: %w", err)
	}
	fi, err := f.Stat()
	if err == nil {
		err = f.Chmod(0o600)
	}
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("agent: the log: %w", err)
	}
	l.f, l.size = f, fi.Size()
	return nil
}

// Write appends one record. A log that cannot be written (a full disk) does not
// stop the agent.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(b)) > maxLog {
		_ = l.f.Close()
		if err := os.Rename(l.path, l.path+".1"); err != nil {
			_ = os.Remove(l.path)
		}
		if err := l.open(); err != nil {
			return 0, err
		}
	}
	n, err := l.f.Write(b)
	l.size += int64(n)
	return n, err
}

// Close closes the file.
func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}
