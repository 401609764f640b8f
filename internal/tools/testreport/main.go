// Command testreport reads the output of `go test -json` from its standard
// input and tells it shortly: a line for each package, as `go test` itself ends
// it, and every failure whole. It ends with "N passed, N failed, N skipped" and
// exits with 1 if anything failed, was skipped, or if nothing ran at all: a test
// that was not tried proves nothing.
package main

import (
	"fmt"
	"os"
)

func main() {
	r := newReport(os.Stdout)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
	if !r.close() {
		os.Exit(1)
	}
}
