//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// testVersion is what the built program calls itself.
const testVersion = "v0.0.0-script"

// TestMain builds the program that the scripts drive, once, as it is shipped.
func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "kt-bin")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "keytether")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -X main.version="+testVersion, "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "the program does not build: %v\n%s", err, out)
		return 1
	}
	if err := os.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// TestScripts drives the built program through testdata/script. The scripts have these commands
// of their own:
//
//	exits N program args…  runs a program and wants exit code N
//	tty N program args…    the same on a terminal; what it showed is in the file tty
//	fakeagent [KIND]       a stand-in agent on the script's socket (fake_test.go)
//	fakeagent stop         ends it, and leaves nothing behind
//	asked PATTERN          the last request to the stand-in matches the pattern's words
//	exportlog DIR          writes an audit log's exports, good ones and damaged ones
//	askedsoon PATTERN      the same, within two seconds
//	waitfor FILE           waits until there is the file
//	killagent              ends the real agent with SIGKILL
//
// Invariant: DF-11b, DF-21, SC-4, SC-7
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("..", "..", "testdata", "script"),
		Setup: func(e *testscript.Env) error {
			run := filepath.Join(e.WorkDir, "run")
			home := filepath.Join(e.WorkDir, "home")
			for _, dir := range []string{run, home} {
				if err := os.Mkdir(dir, 0o700); err != nil {
					return err
				}
			}
			// An environment of our own: a developer's BROWSER or CI must not decide a test.
			e.Vars = []string{
				"HOME=" + home, "PATH=" + os.Getenv("PATH"), "WORK=" + e.WorkDir, "TMPDIR=" + filepath.Join(e.WorkDir, ".tmp"),
				"XDG_RUNTIME_DIR=" + run, "XDG_CONFIG_HOME=" + filepath.Join(e.WorkDir, "config"), "XDG_STATE_HOME=" + filepath.Join(e.WorkDir, "state"),
				"VERSION=" + testVersion, "TZ=UTC", "$=$",
			}
			socket := filepath.Join(run, "keytether", "agent.sock")
			e.Values["agent"] = &fakeAgent{socket: socket, codes: make(chan struct{}, 4)}
			e.Defer(func() {
				e.Values["agent"].(*fakeAgent).stop()
				if pid := agentPID(e.Vars); pid > 0 {
					_ = syscall.Kill(pid, syscall.SIGKILL)
					t.Errorf("a script left its agent running (process %d)", pid)
				}
			})
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     cmdExits,
			"tty":       cmdTTY,
			"fakeagent": cmdFakeAgent,
			"asked":     cmdAsked,
			"exportlog": cmdExportLog,
			"killagent": cmdKillAgent,
			"askedsoon": cmdAskedSoon,
			"waitfor":   cmdWaitFor,
		},
	})
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N program args…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		got = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// agentPID asks `keytether status` which process the agent is; 0 if there is none.
func agentPID(env []string) int {
	c := exec.Command("keytether", "status", "--json")
	c.Env = env
	out, err := c.Output()
	if err != nil {
		return 0
	}
	_, rest, ok := strings.Cut(string(out), `"pid":`)
	if !ok {
		return 0
	}
	n := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	pid, err := strconv.Atoi(rest[:max(n, 0)])
	if err != nil {
		return 0
	}
	return pid
}

func cmdKillAgent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: killagent")
	}
	env := []string{"XDG_RUNTIME_DIR=" + ts.Getenv("XDG_RUNTIME_DIR"), "HOME=" + ts.Getenv("HOME"), "PATH=" + ts.Getenv("PATH")}
	pid := agentPID(env)
	if pid <= 0 {
		ts.Fatalf("no agent runs")
	}
	ts.Check(syscall.Kill(pid, syscall.SIGKILL))
	soon(ts, func() bool { return agentPID(env) == 0 }, "the agent does not end")
}

func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfor FILE")
	}
	soon(ts, func() bool {
		_, err := os.Stat(ts.MkAbs(args[0]))
		return err == nil
	}, args[0]+" does not come")
}

// soon asks until done, for a while.
func soon(ts *testscript.TestScript, done func() bool, what string) {
	for range 500 {
		if done() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s", what)
}
