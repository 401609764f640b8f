package scan

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// maxUnpacked bounds what one packed file may become, in bytes.
const maxUnpacked = 4 << 30

// Trouble is a place that could not be read.
type Trouble struct {
	Source string `json:"source"`
	Why    string `json:"why"`
}

// Report is what a scan found.
type Report struct {
	Findings []Finding `json:"findings"` // sorted by place
	Files    int64     `json:"files"`    // files, objects of a history and streams that were read
	Bytes    int64     `json:"bytes"`
	Unread   []Trouble `json:"unread,omitempty"`
}

// Scanner looks through places and gathers what it finds. Its methods may be called at once.
type Scanner struct {
	rules Rules

	files, bytes, found atomic.Int64

	mu     sync.Mutex
	report Report
}

// New makes a Scanner.
func New(r Rules) *Scanner { return &Scanner{rules: r} }

// Progress says how much was read and found so far.
func (s *Scanner) Progress() (files, bytes, found int64) {
	return s.files.Load(), s.bytes.Load(), s.found.Load()
}

// Report gives what was found so far.
func (s *Scanner) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.report
	r.Files, r.Bytes, _ = s.Progress()
	r.Findings = slices.Clone(r.Findings)
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		if c := strings.Compare(a.Source, b.Source); c != 0 {
			return c
		}
		if c := strings.Compare(a.Commit, b.Commit); c != 0 {
			return c
		}
		return int(a.Line - b.Line)
	})
	return r
}

func (s *Scanner) keep(f Finding) {
	s.found.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Findings = append(s.report.Findings, f)
}

func (s *Scanner) trouble(source string, err error) {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Unread = append(s.report.Unread, Trouble{source, err.Error()})
}

// Stream looks through a stream that the report calls source.
func (s *Scanner) Stream(ctx context.Context, source string, in io.Reader, buf *Buffer) error {
	s.files.Add(1)
	_, err := s.rules.Stream(&counted{in: in, ctx: ctx, n: &s.bytes}, buf, func(f Finding) {
		f.Source = source
		s.keep(f)
	})
	return err
}

// counted counts what is read, and ends with its context.
type counted struct {
	in  io.Reader
	ctx context.Context
	n   *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.in.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// Walk looks through files, and folders with all that is below them, one reader for each core.
// Links are not followed below a folder. What cannot be read is in the report; the error is
// that ctx ended.
func (s *Scanner) Walk(ctx context.Context, paths []string) error {
	todo := make(chan string, 256)
	var readers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		readers.Go(func() {
			var buf Buffer
			for path := range todo {
				if ctx.Err() == nil {
					s.file(ctx, path, &buf)
				}
			}
		})
	}
	for _, p := range paths {
		s.walk(ctx, p, todo)
	}
	close(todo)
	readers.Wait()
	return ctx.Err()
}

func (s *Scanner) walk(ctx context.Context, root string, todo chan<- string) {
	if real, err := filepath.EvalSymlinks(root); err == nil {
		if info, err := os.Stat(real); err == nil && info.IsDir() {
			root = real
		}
	}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return fs.SkipAll
		case err != nil:
			s.trouble(path, err)
			return nil
		case d.IsDir():
			if path != root && skipped(path) {
				return fs.SkipDir
			}
			return nil
		case d.Type().IsRegular() || path == root:
			todo <- path
		}
		return nil
	})
	if err != nil {
		s.trouble(root, err)
	}
}

// skipped are folders in which nothing lies: what the kernel shows as files, and the packed
// objects of a repository, whose history is another matter.
func skipped(path string) bool {
	switch path {
	case "/proc", "/sys", "/dev":
		return true
	}
	return filepath.Base(path) == "objects" && filepath.Base(filepath.Dir(path)) == ".git"
}

func (s *Scanner) file(ctx context.Context, path string, buf *Buffer) {
	f, err := openRegular(path)
	if err != nil {
		s.trouble(path, err)
		return
	}
	defer f.Close()
	if err := s.Stream(ctx, path, f, buf); err != nil && ctx.Err() == nil {
		s.trouble(path, err)
		return
	}
	if !strings.HasSuffix(path, ".gz") {
		return
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return // not packed, whatever its name
	}
	if err := s.Stream(ctx, path, io.LimitReader(z, maxUnpacked), buf); err != nil && ctx.Err() == nil {
		s.trouble(path, err)
	}
}

// openRegular opens a regular file. It does not wait for one that turned into a pipe.
func openRegular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

var errNotRegular = errors.New("it is no regular file")
