package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"
)

// event is one line of `go test -json` (see `go doc test2json`), build events
// included.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// unit is one package under test.
type unit struct {
	tests   map[string]*strings.Builder // output of tests that have not ended
	own     strings.Builder             // output of the package itself
	last    string                      // its last line that says something
	failed  int
	skipped int
	ran     int
}

type report struct {
	w       io.Writer
	units   map[string]*unit
	builds  map[string]*strings.Builder
	passed  int
	failed  int
	skipped int
	bad     []string // what to name once more at the end
	start   time.Time
}

func newReport(w io.Writer) *report {
	return &report{w: w, units: map[string]*unit{}, builds: map[string]*strings.Builder{}, start: time.Now()}
}

// read consumes the whole stream. A line that is no event is shown as it is.
func (r *report) read(in io.Reader) error {
	br := bufio.NewReader(in)
	for {
		line, err := br.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				fmt.Fprintf(r.w, "%s\n", bytes.TrimRight(line, "\n"))
			} else {
				r.add(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *report) add(e event) {
	switch e.Action {
	case "build-output":
		if r.builds[e.ImportPath] == nil {
			r.builds[e.ImportPath] = &strings.Builder{}
		}
		r.builds[e.ImportPath].WriteString(e.Output)
		return
	case "build-fail":
		if b := r.builds[e.ImportPath]; b != nil {
			fmt.Fprint(r.w, b.String())
		}
		return
	}
	u := r.units[e.Package]
	if u == nil {
		u = &unit{tests: map[string]*strings.Builder{}}
		r.units[e.Package] = u
	}
	if e.Test == "" {
		r.addPackage(e, u)
		return
	}
	out := u.tests[e.Test]
	if out == nil {
		out = &strings.Builder{}
		u.tests[e.Test] = out
	}
	switch e.Action {
	case "output":
		out.WriteString(e.Output)
	case "pass":
		r.passed++
		u.ran++
		delete(u.tests, e.Test)
	case "fail":
		r.fail(u, e.Package+" "+e.Test, out.String())
		delete(u.tests, e.Test)
	case "skip":
		r.skipped++
		u.skipped++
		r.bad = append(r.bad, "SKIP "+e.Package+" "+e.Test)
		fmt.Fprint(r.w, out.String())
		delete(u.tests, e.Test)
	}
}

func (r *report) addPackage(e event, u *unit) {
	switch e.Action {
	case "output":
		u.own.WriteString(e.Output)
		if s := strings.TrimSpace(e.Output); s != "" {
			u.last = s
		}
	case "fail":
		// What began and never ended: a panic, a time limit, os.Exit.
		names := make([]string, 0, len(u.tests))
		for name := range u.tests {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			r.fail(u, e.Package+" "+name+" (did not end)", u.tests[name].String())
		}
		if u.failed == 0 {
			// No test is to blame: the build, TestMain, a race, a leak.
			r.fail(u, e.Package, "")
		}
		fmt.Fprint(r.w, u.own.String())
		delete(r.units, e.Package)
	case "pass", "skip":
		// A package without tests is no skipped test.
		if u.last != "" && u.last != "PASS" {
			fmt.Fprintln(r.w, u.last)
		}
		delete(r.units, e.Package)
	}
}

func (r *report) fail(u *unit, name, output string) {
	r.failed++
	u.failed++
	r.bad = append(r.bad, "FAIL "+name)
	fmt.Fprint(r.w, output)
}

// close prints the last lines and says whether all is well.
func (r *report) close() bool {
	// A package that never reported its end was cut off.
	for name, u := range r.units {
		r.fail(u, name+" (did not end)", u.own.String())
	}
	for _, line := range r.bad {
		fmt.Fprintln(r.w, line)
	}
	if r.passed+r.failed+r.skipped == 0 {
		fmt.Fprintln(r.w, "no test ran")
	}
	fmt.Fprintf(r.w, "%d passed, %d failed, %d skipped in %.0f s\n",
		r.passed, r.failed, r.skipped, time.Since(r.start).Seconds())
	return r.failed == 0 && r.skipped == 0 && r.passed > 0
}
