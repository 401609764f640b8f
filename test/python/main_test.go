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
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/stage"
)

const systemPython = "/usr/bin/python3"

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

// build makes everything below dir: the sources are copied, since a build leaves
// its own files beside them.
func build(ctx context.Context, dir string) error {
	source, bin = filepath.Join(dir, "src"), filepath.Join(dir, "bin")
	if err := errors.Join(os.CopyFS(source, os.DirFS("../../python")), os.Mkdir(bin, 0o700)); err != nil {
		return err
	}
	if err := stage.Binaries(ctx, bin); err != nil {
		return err
	}
	env := filepath.Join(dir, "venv")
	python = filepath.Join(env, "bin", "python")
	for _, args := range [][]string{
		{systemPython, "-m", "build", "--no-isolation", "--wheel", "--outdir", dir, source},
		{systemPython, "-m", "venv", "--system-site-packages", env},
	} {
		if err := command(ctx, args...); err != nil {
			return fmt.Errorf("%w\nInstall python3-build, python3-wheel and python3-venv (scripts/setup)", err)
		}
	}
	wheels, err := filepath.Glob(filepath.Join(dir, "keytether-*.whl"))
	if err != nil || len(wheels) != 1 {
		return fmt.Errorf("the build made %d wheels: %v", len(wheels), err)
	}
	wheel = wheels[0]
	// --isolated: no configuration of the developer's decides.
	return command(ctx, python, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--no-index", "--no-deps", wheel)
}

func command(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", args, err, out)
	}
	return nil
}
