// Command fuzzall runs every fuzz target of the given packages for a while
// each, one after the other: `go test -fuzz` takes only one at a time. It stops
// at the first that fails, with the seed that `go test` wrote.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

func main() {
	each := flag.Duration("time", 10*time.Second, "how long each target runs")
	flag.Parse()
	pkgs := flag.Args()
	if len(pkgs) == 0 {
		pkgs = []string{"./..."}
	}
	if err := run(pkgs, *each); err != nil {
		fmt.Fprintln(os.Stderr, "fuzzall:", err)
		os.Exit(1)
	}
}

func run(pkgs []string, each time.Duration) error {
	list := exec.Command("go", append([]string{"test", "-json", "-list", "^Fuzz", "-run", "^$"}, pkgs...)...)
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		os.Stderr.Write(out)
		return fmt.Errorf("list the fuzz targets: %w", err)
	}
	targets, err := parse(bytes.NewReader(out))
	if err != nil {
		return err
	}
	for i, t := range targets {
		fmt.Printf("=== %d of %d: %s %s for %s\n", i+1, len(targets), t.pkg, t.name, each)
		cmd := exec.Command("go", "test", "-run", "^$", "-fuzz", "^"+t.name+"$", "-fuzztime", each.String(), t.pkg)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s %s: %w", t.pkg, t.name, err)
		}
	}
	fmt.Printf("%d fuzz targets held\n", len(targets))
	return nil
}

type target struct{ pkg, name string }

// parse reads the output of `go test -json -list`.
func parse(r io.Reader) ([]target, error) {
	var targets []target
	dec := json.NewDecoder(r)
	for {
		var e struct{ Action, Package, Output string }
		if err := dec.Decode(&e); err == io.EOF {
			return targets, nil
		} else if err != nil {
			return nil, fmt.Errorf("output of go test: %w", err)
		}
		name := strings.TrimSpace(e.Output)
		if e.Action == "output" && strings.HasPrefix(name, "Fuzz") && !strings.ContainsAny(name, " \t") {
			targets = append(targets, target{e.Package, name})
		}
	}
}
