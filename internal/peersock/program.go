package peersock

import (
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Program is what a process runs. Executable and Replaced are the kernel's word. All else that a
// process could say of itself is left out, but for Script.
type Program struct {
	// Executable is the absolute path of the file that runs; empty if it cannot be known, or if the
	// process was gone before it was read.
	Executable string
	// Replaced says that the file that runs is not, or is no longer, the one at that path here: it
	// was replaced since the start, or the process sees another file system than we do.
	Replaced  bool
	StartedAt time.Time // zero if the kernel does not say

	// Script is what an interpreter was told to run, by its arguments. A process can write these as
	// it likes: the script is for showing, and nothing may be allowed by it.
	Script string
}

// self is the listener's own program.
type self struct {
	path  string
	image image
}

// own finds it out once.
func (l *Listener) own() self {
	l.once.Do(func() { l.self = findSelf() })
	return l.self
}

// maxScript bounds a claimed script, in bytes.
const maxScript = 512

// nameOf is a program's name without its version.
func nameOf(executable string) string {
	return strings.TrimRight(strings.TrimSuffix(filepath.Base(executable), ".exe"), "0123456789.")
}

func isShell(executable string) bool {
	switch nameOf(executable) {
	case "sh", "bash", "dash", "zsh", "ksh", "fish", "busybox":
		return true
	}
	return false
}

// valued says whether a program is an interpreter, whose name says little of what runs, and gives
// those of its options that take a value. A version at the end of the name does not count.
func valued(executable string) (options string, interpreter bool) {
	switch nameOf(executable) {
	case "python", "pypy":
		return "-W -X --check-hash-based-pycs", true
	case "node", "nodejs":
		return "-r --require --import --loader -C --conditions", true
	case "ruby":
		return "-I -r -E -C", true
	case "perl":
		return "-I", true
	case "php":
		return "-d", true
	case "bash":
		return "-o -O --rcfile --init-file", true
	case "sh", "dash", "zsh", "ksh", "fish", "busybox":
		return "-o", true
	case "deno", "bun":
		return "", true
	}
	return "", false
}

// claimedScript reads an interpreter's arguments: the first that is no option, "-m NAME", or the
// bare option where the code itself stands in the arguments. A path is made absolute with dir.
func claimedScript(executable string, argv []string, dir string) string {
	options, ok := valued(executable)
	if !ok {
		return ""
	}
	for i := 1; i < len(argv); i++ {
		switch arg := argv[i]; {
		case arg == "-c", arg == "-e", arg == "-":
			return arg
		case arg == "-m" && i+1 < len(argv):
			return bounded("-m " + argv[i+1])
		case strings.HasPrefix(arg, "-") || arg == "":
			if slices.Contains(strings.Fields(options), arg) {
				i++
			}
		case filepath.IsAbs(arg) || dir == "":
			return bounded(arg)
		default:
			return bounded(filepath.Join(dir, arg))
		}
	}
	return ""
}

func bounded(s string) string {
	if len(s) > maxScript {
		s = s[:maxScript]
	}
	return strings.ToValidUTF8(s, "?")
}
