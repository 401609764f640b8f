package scan

import (
	"os"
	"path/filepath"
	"slices"
)

// histories are where shells and interpreters keep what was typed, below a person's home.
var histories = []string{
	".bash_history", ".zsh_history", ".zhistory", ".sh_history", ".history", ".local/share/fish/fish_history",
	".python_history", ".psql_history", ".node_repl_history", ".mysql_history", ".sqlite_history", ".rediscli_history",
	".lesshst", ".viminfo", ".local/state/nvim/shada", ".ipython", ".local/share/jupyter",
	"AppData/Roaming/Microsoft/Windows/PowerShell/PSReadLine/ConsoleHost_history.txt",
	".local/share/powershell/PSReadLine/ConsoleHost_history.txt",
}

// historyVars name histories that a person keeps elsewhere.
var historyVars = []string{"HISTFILE", "PYTHON_HISTORY", "PSQL_HISTORY", "NODE_REPL_HISTORY", "MYSQL_HISTFILE", "SQLITE_HISTORY"}

// Places are where credentials lie on a person's machine, those that there are: histories,
// every dotfile and dot-folder of the home, logs, and what is theirs in the folders for
// temporary files.
func Places(home string, getenv func(string) string) []string {
	var want []string
	for _, v := range historyVars {
		want = append(want, getenv(v))
	}
	if home != "" {
		for _, h := range histories {
			want = append(want, filepath.Join(home, h))
		}
		if dot, err := filepath.Glob(filepath.Join(home, ".?*")); err == nil {
			want = append(want, dot...)
		}
		want = append(want, filepath.Join(home, "Library", "Logs"))
	}
	for _, v := range []string{"XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"} {
		want = append(want, getenv(v))
	}
	want = append(want, ownTemp(getenv)...)
	var out []string
	for _, p := range want {
		if p == "" || !filepath.IsAbs(p) || filepath.Base(p) == ".." || slices.ContainsFunc(out, func(o string) bool { return within(p, o) }) {
			continue
		}
		if _, err := os.Stat(p); err == nil {
			out = slices.DeleteFunc(out, func(o string) bool { return within(o, p) })
			out = append(out, p)
		}
	}
	return out
}

// within says whether a path is dir, or below it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && (rel == "." || filepath.IsLocal(rel))
}

// ownTemp is what is the person's own directly in the folders for temporary files; of what
// belongs to others nothing could be read, or it is not theirs to burn.
func ownTemp(getenv func(string) string) []string {
	var out []string
	for _, dir := range []string{getenv("TMPDIR"), getenv("TEMP"), "/tmp", "/var/tmp"} {
		if dir == "" {
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			info, err := e.Info()
			if err == nil && (info.Mode().IsRegular() || info.IsDir()) && ours(info) {
				out = append(out, filepath.Join(dir, e.Name()))
			}
		}
	}
	return out
}
