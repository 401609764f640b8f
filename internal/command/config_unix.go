//go:build !windows

package command

import "path/filepath"

// userConfigDir is ~/.config, on macOS too: where a person who works in a terminal looks for it.
func userConfigDir(getenv func(string) string) (string, error) {
	if home := getenv("HOME"); home != "" {
		return filepath.Join(home, ".config"), nil
	}
	return "", errNoHome
}
