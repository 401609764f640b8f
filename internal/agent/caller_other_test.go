//go:build !linux

package agent

// tool is for Linux: elsewhere no test has programs of its own.
func tool(string) {}
