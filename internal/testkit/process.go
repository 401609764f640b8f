package testkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// ErrExited says that a process ended before it was ready.
var ErrExited = errors.New("testkit: the process ended before it was ready")

// Command describes a process to start.
type Command struct {
	Path string
	Args []string
	// Env is the whole environment; nil means an empty one, so that nothing
	// of the developer's own machine decides a test.
	Env []string
	Dir string
	// Stdin is closed at once if nil.
	Stdin io.Reader
	// Log gets stdout and stderr too, if it is not nil, as they are written.
	Log io.Writer
}

// Process is a running program whose output is kept.
type Process struct {
	cmd  *exec.Cmd
	name string
	out  Buffer
	errs Buffer
	done chan struct{}
	err  error
}

// StartProcess starts a program. Whoever starts it must call Stop or Kill.
func StartProcess(c Command) (*Process, error) {
	p := &Process{cmd: exec.Command(c.Path, c.Args...), name: c.Path, done: make(chan struct{})}
	p.cmd.Env = c.Env
	if p.cmd.Env == nil {
		p.cmd.Env = []string{}
	}
	p.cmd.Dir = c.Dir
	p.cmd.Stdin = c.Stdin
	p.cmd.Stdout, p.cmd.Stderr = io.Writer(&p.out), io.Writer(&p.errs)
	if c.Log != nil {
		p.cmd.Stdout, p.cmd.Stderr = io.MultiWriter(&p.out, c.Log), io.MultiWriter(&p.errs, c.Log)
	}
	// A grandchild that keeps the pipes open must not hold Wait for ever.
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("testkit: start %s: %w", c.Path, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stdout and Stderr return what was written so far.
func (p *Process) Stdout() string { return p.out.String() }

// Stderr returns what was written to standard error so far.
func (p *Process) Stderr() string { return p.errs.String() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end and returns the exit code: -1 if a signal ended it.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return -1, fmt.Errorf("testkit: %s still runs: %w", p.name, ctx.Err())
	}
}

// WaitReady asks url until it answers 200. It returns ErrExited, with what the
// process said, if it ends before. client may be nil for plain http.
func (p *Process) WaitReady(ctx context.Context, client *http.Client, url string) error {
	if client == nil {
		client = &http.Client{Timeout: 2 * time.Second}
	}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("testkit: %w", err)
		}
		if res, err := client.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.done:
			return fmt.Errorf("%w: %s (%v): %s", ErrExited, p.name, p.err, strings.TrimSpace(p.Stderr()))
		case <-ctx.Done():
			return fmt.Errorf("testkit: %s is not ready at %s: %w: %s", p.name, url, ctx.Err(), strings.TrimSpace(p.Stderr()))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Stop asks the process to end as a service manager would (an interrupt) and
// kills it if it has not ended when ctx does. It returns how it ended.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("testkit: interrupt %s: %w", p.name, err)
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("testkit: %s did not end when asked and was killed: %w", p.name, ctx.Err())
	}
}

// Kill ends the process without a chance to clean up, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Buffer is a bytes.Buffer that many goroutines may write and read.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write adds to the buffer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns all that was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
