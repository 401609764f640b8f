// Package pyenv builds the Python package as it is shipped and installs the wheel
// into a virtual environment. The Python is /usr/bin/python3 with Debian's modules,
// which the environment sees. Nothing is fetched.
package pyenv

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const systemPython = "/usr/bin/python3"

// Env is an environment that has the package.
type Env struct {
	Python string // the interpreter
	Wheel  string // what was built
	Source string // a copy of the sources
}

// Build makes everything below dir, which must exist. The sources are copied, since
// a build leaves its own files beside them.
func Build(ctx context.Context, sources, dir string) (Env, error) {
	e := Env{Source: filepath.Join(dir, "src")}
	if err := os.CopyFS(e.Source, os.DirFS(sources)); err != nil {
		return e, fmt.Errorf("pyenv: %w", err)
	}
	env := filepath.Join(dir, "venv")
	e.Python = filepath.Join(env, "bin", "python")
	for _, args := range [][]string{
		{systemPython, "-m", "build", "--no-isolation", "--wheel", "--outdir", dir, e.Source},
		{systemPython, "-m", "venv", "--system-site-packages", env},
	} {
		if err := command(ctx, args...); err != nil {
			return e, fmt.Errorf("%w\nInstall python3-build, python3-wheel and python3-venv (scripts/setup)", err)
		}
	}
	wheels, _ := filepath.Glob(filepath.Join(dir, "keytether-*.whl"))
	if len(wheels) != 1 {
		return e, fmt.Errorf("pyenv: the build made %d wheels", len(wheels))
	}
	e.Wheel = wheels[0]
	// --isolated: no configuration of the developer's decides.
	return e, command(ctx, e.Python, "-m", "pip", "--isolated", "--disable-pip-version-check", "install", "--no-index", "--no-deps", e.Wheel)
}

func command(ctx context.Context, args ...string) error {
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("pyenv: %v: %w\n%s", args, err, out)
	}
	return nil
}
