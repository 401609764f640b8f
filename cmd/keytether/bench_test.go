//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

const helloSource = "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(\"hello\") }\n"

// BenchmarkToken measures `keytether token` from its start to its exit, with a token that the
// agent has at hand, against a Go program that prints and exits, turn by turn in the same run,
// medians. The budget is 2 times that (design: performance).
func BenchmarkToken(b *testing.B) {
	dir := b.TempDir()
	source, hello := filepath.Join(dir, "hello.go"), filepath.Join(dir, "hello")
	if err := os.WriteFile(source, []byte(helloSource), 0o600); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-ldflags", "-s -w", "-o", hello, source).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	f := &fakeAgent{socket: filepath.Join(dir, "run", "agent.sock")}
	if err := os.Mkdir(filepath.Dir(f.socket), 0o700); err != nil {
		b.Fatal(err)
	}
	if err := f.start(""); err != nil {
		b.Fatal(err)
	}
	defer f.stop()
	run := func(path string, args ...string) time.Duration {
		c := exec.Command(path, args...)
		c.Env = []string{"KEYTETHER_SOCKET=" + f.socket, "HOME=" + dir}
		begin := time.Now()
		if _, err := c.Output(); err != nil {
			b.Fatal(err)
		}
		return time.Since(begin)
	}
	program, err := exec.LookPath("keytether")
	if err != nil {
		b.Fatal(err)
	}
	var ours, floor []time.Duration
	for b.Loop() {
		floor = append(floor, run(hello))
		ours = append(ours, run(program, "token"))
	}
	slices.Sort(ours)
	slices.Sort(floor)
	o, f0 := ours[len(ours)/2], floor[len(floor)/2]
	b.ReportMetric(float64(o)/float64(f0), "x-hello")
	b.ReportMetric(float64(o.Microseconds()), "µs/token")
	b.ReportMetric(float64(f0.Microseconds()), "µs/hello")
}
