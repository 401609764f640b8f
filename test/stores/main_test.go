//go:build linux

package stores

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/stage"
	"github.com/keytether/keytether/login"
)

var update = flag.Bool("update", false, "write the tables of docs/stores.md anew")

// envTool makes this test binary the Go tool of the storms.
const envTool = "KEYTETHER_TEST_TOOL"

// envPrograms is the folder of the built programs.
const envPrograms = "KEYTETHER_TEST_PROGRAMS"

func TestMain(m *testing.M) {
	if os.Getenv(envTool) != "" {
		os.Exit(tool())
	}
	os.Exit(buildAndRun(m))
}

// tool is a Go program that uses package login: it asks for a token and ends. One
// more try is what a program does when the agent went away in the middle.
func tool() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := login.New(login.Options{})
	if err == nil {
		_, err = c.Token(ctx)
	}
	if errors.Is(err, login.ErrAgent) && os.Getenv(envTool) == "retry" {
		time.Sleep(100 * time.Millisecond)
		_, err = c.Token(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func buildAndRun(m *testing.M) int {
	dir, err := testkit.ShortDir()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if os.Geteuid() != 0 {
		err = errors.New("these tests give each machine a /dev of its own: run them as root, in a container or as CI does")
	}
	if _, e := exec.LookPath("unshare"); e != nil {
		err = errors.Join(err, fmt.Errorf("install Debian's util-linux: %w", e))
	}
	if err == nil {
		err = errors.Join(stage.Binaries(context.Background(), dir), os.Setenv(envPrograms, dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test/stores:", err)
		return 1
	}
	return m.Run()
}
