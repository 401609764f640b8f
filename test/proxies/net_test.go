//go:build linux

package proxies

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
)

// The servers' address, of a block for documentation (RFC 5737): 127.0.0.1 never goes through a
// proxy.
const (
	address  = "192.0.2.10"
	issuer   = "https://auth.test"
	resource = "https://api.test"
)

const hosts = "127.0.0.1 localhost\n::1 localhost\n" + address + " auth.test api.test named.corp.test portal.test\n"

// envFolder names, to the second run, the folder that has the programs in it.
const envFolder = "KEYTETHER_TEST_FOLDER"

// TestMain makes the network, runs the tests within, and takes it away.
func TestMain(m *testing.M) {
	if os.Getenv(envFolder) != "" {
		os.Exit(play(m))
	}
	code, err := outside()
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/proxies:", err)
		code = 1
	}
	os.Exit(code)
}

func outside() (code int, err error) {
	if os.Getuid() != 0 {
		return 1, errors.New("these tests make a network namespace, which needs root: run them as root")
	}
	dir, err := testkit.ShortDir()
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	_, err = testkit.Build(context.Background(), dir, "github.com/keytether/keytether/cmd/keytether", "github.com/keytether/keytether/cmd/keytether-server")
	if err != nil {
		return 1, err
	}
	name := fmt.Sprintf("ktp%d", os.Getpid())
	defer func() { err = errors.Join(err, removeNetwork(name)) }()
	if err := makeNetwork(name); err != nil {
		return 1, err
	}
	c := exec.Command("ip", append([]string{"netns", "exec", name}, os.Args...)...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), envFolder+"="+dir)
	err = c.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return c.ProcessState.ExitCode(), err
}

func makeNetwork(name string) error {
	dir := filepath.Join("/etc/netns", name) // `ip netns exec` puts what is in it over /etc
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "hosts"), []byte(hosts), 0o644),
		os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"), 0o644),
	); err != nil {
		return err
	}
	for _, line := range []string{"netns add " + name, "-n " + name + " link set lo up", "-n " + name + " addr add " + address + "/32 dev lo"} {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return nil
}

// removeNetwork ends what still runs in the namespace, and takes it away.
func removeNetwork(name string) error {
	for range 50 {
		out, err := exec.Command("ip", "netns", "pids", name).Output()
		if err != nil || len(strings.Fields(string(out))) == 0 {
			break
		}
		for _, field := range strings.Fields(string(out)) {
			var pid int
			if _, err := fmt.Sscan(field, &pid); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	err := os.RemoveAll(filepath.Join("/etc/netns", name))
	_ = os.Remove("/etc/netns") // if it is empty, as it was
	if out, derr := exec.Command("ip", "netns", "del", name).CombinedOutput(); derr != nil {
		err = errors.Join(err, fmt.Errorf("ip netns del %s: %w: %s", name, derr, out))
	}
	return err
}
