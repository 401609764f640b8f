//go:build linux

// Package netns runs a test once more within a network namespace that it made, and takes the
// namespace away with all that still runs in it.
package netns

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// folder has what `ip netns exec` puts over /etc in each namespace.
const folder = "/etc/netns"

// Files writes what stands in /etc within a namespace, by file name.
func Files(name string, files map[string]string) error {
	dir := filepath.Join(folder, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// IP runs ip(8) with each line's words.
func IP(lines ...string) error {
	for _, line := range lines {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return nil
}

// Again runs this test program within the namespace, with variables more in its environment, and
// gives its exit code. Signals that would end this process go to it, so that this one is left to
// clean up.
func Again(name string, env ...string) (int, error) {
	c := exec.Command("ip", append([]string{"netns", "exec", name}, os.Args...)...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), env...)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	if err := c.Start(); err != nil {
		return 1, err
	}
	go func() {
		for s := range signals {
			_ = c.Process.Signal(s)
		}
	}()
	err := c.Wait()
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		err = nil
	}
	return c.ProcessState.ExitCode(), err
}

// Remove ends what still runs in the namespaces, and takes them away.
func Remove(names ...string) error {
	var errs []error
	for _, name := range names {
		empty(name)
		if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("ip netns del %s: %w: %s", name, err, out))
		}
		errs = append(errs, os.RemoveAll(filepath.Join(folder, name)))
	}
	_ = os.Remove(folder) // if it is empty, as it was
	return errors.Join(errs...)
}

// empty ends every process of a namespace, for a second at most.
func empty(name string) {
	for range 50 {
		out, err := exec.Command("ip", "netns", "pids", name).Output()
		pids := strings.Fields(string(out))
		if err != nil || len(pids) == 0 {
			return
		}
		for _, field := range pids {
			var pid int
			if _, err := fmt.Sscan(field, &pid); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
}
