// Package python builds the Python package as it is shipped, installs the wheel
// into a virtual environment, and runs its tests there; and it plays its sample
// tool, and a storm of processes, against a real server, a real agent and
// Chromium.
//
// The Python is /usr/bin/python3 with Debian's requests, httpx, keyring and pytest,
// which the environment sees. Nothing is fetched.
package python

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/pyenv"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// What TestMain made, for all tests.
var (
	bin    string // folder of the built programs
	wheel  string // path of the built wheel
	python string // the interpreter of an environment that has it
	source string // the package's sources, a copy
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := testkit.ShortDir()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := build(ctx, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build makes everything below dir.
func build(ctx context.Context, dir string) error {
	bin = filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	if err := stage.Binaries(ctx, bin); err != nil {
		return err
	}
	env, err := pyenv.Build(ctx, "../../python", dir)
	python, wheel, source = env.Python, env.Wheel, env.Source
	return err
}
