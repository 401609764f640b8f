package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const pass = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`
	tests := []struct {
		name, in string
		ok       bool
		want     []string // in the output
		not      []string // not in it
	}{
		{"pass", pass, true, []string{"ok  \tp\t0.1s", "1 passed, 0 failed, 0 skipped"}, []string{"chatter"}},
		{"nothing", "", false, []string{"no test ran"}, nil},
		{"empty package only", `{"Action":"output","Package":"q","Output":"?   \tq\t[no test files]\n"}
{"Action":"skip","Package":"q"}
` + pass, true, []string{"no test files", "1 passed, 0 failed, 0 skipped"}, nil},
		{"fail", pass + `{"Action":"output","Package":"q","Test":"TestB","Output":"    b_test.go:3: bad\n"}
{"Action":"fail","Package":"q","Test":"TestB"}
{"Action":"output","Package":"q","Output":"FAIL\tq\t0.2s\n"}
{"Action":"fail","Package":"q"}
`, false, []string{"b_test.go:3: bad", "FAIL q TestB", "FAIL\tq\t0.2s", "1 passed, 1 failed, 0 skipped"}, nil},
		{"skip", pass + `{"Action":"output","Package":"q","Test":"TestC","Output":"    c_test.go:3: not here\n"}
{"Action":"skip","Package":"q","Test":"TestC"}
{"Action":"pass","Package":"q"}
`, false, []string{"c_test.go:3: not here", "SKIP q TestC", "1 passed, 0 failed, 1 skipped"}, nil},
		{"panic leaves tests open", pass + `{"Action":"run","Package":"q","Test":"TestD"}
{"Action":"output","Package":"q","Test":"TestD","Output":"panic: oh\n"}
{"Action":"fail","Package":"q"}
`, false, []string{"panic: oh", "FAIL q TestD (did not end)", "1 passed, 1 failed"}, nil},
		{"build", pass + `{"ImportPath":"q","Action":"build-output","Output":"q.go:1:1: syntax error\n"}
{"ImportPath":"q","Action":"build-fail"}
{"Action":"output","Package":"q","Output":"FAIL\tq [build failed]\n"}
{"Action":"fail","Package":"q","FailedBuild":"q"}
`, false, []string{"syntax error", "[build failed]", "1 passed, 1 failed"}, nil},
		{"TestMain fails after the tests", pass + `{"Action":"pass","Package":"q","Test":"TestE"}
{"Action":"output","Package":"q","Output":"goleak: leaked\n"}
{"Action":"fail","Package":"q"}
`, false, []string{"goleak: leaked", "FAIL q", "2 passed, 1 failed"}, nil},
		{"cut off", pass + `{"Action":"start","Package":"q"}` + "\n", false, []string{"FAIL q (did not end)"}, nil},
		{"words that are no event", "go: cannot find module\n" + pass, true, []string{"go: cannot find module"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out)
			if err := r.read(strings.NewReader(tt.in)); err != nil {
				t.Fatal(err)
			}
			if ok := r.close(); ok != tt.ok {
				t.Errorf("all well = %v, want %v", ok, tt.ok)
			}
			for _, w := range tt.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("lacks %q in:\n%s", w, out.String())
				}
			}
			for _, w := range tt.not {
				if strings.Contains(out.String(), w) {
					t.Errorf("has %q in:\n%s", w, out.String())
				}
			}
		})
	}
}
