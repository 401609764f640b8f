// Command cmd measures Keytether beside the floors of the same machine in the
// same run, prints a table with the budgets of each row, and writes the numbers
// as JSON. With -readme it puts the table into README.md.
//
// Work is counted in CPU time (user and system) per operation, so that noise
// and pinning matter little; latencies in wall time.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"

	"github.com/keytether/keytether/internal/testkit"
	"github.com/keytether/keytether/internal/testkit/stage"
)

func main() {
	var o options
	flag.StringVar(&o.out, "json", "demo-out/bench.json", "`FILE` for the numbers")
	flag.BoolVar(&o.readme, "readme", false, "put the table into README.md")
	seconds := flag.Float64("seconds", 6, "how long each load runs")
	flag.IntVar(&o.logins, "logins", 60, "how many logins are timed")
	flag.IntVar(&o.pending, "pending", 0, "also with so many pending device authorizations; 1000000 takes 7 minutes")
	flag.IntVar(&o.grants, "grants", 1_000_000, "how many grants there are, beside the active ones; 10000000 takes 5 minutes and 8 GB of disk")
	flag.IntVar(&o.active, "active", 10_000, "how many of the grants are renewed")
	flag.StringVar(&o.only, "only", "", "measure only what has this `WORD` in its name")
	flag.Parse()
	o.load = time.Duration(*seconds * float64(time.Second))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type options struct {
	out, only                       string
	readme                          bool
	load                            time.Duration
	logins, pending, grants, active int
}

// Row is one line of the table.
type Row struct {
	Work    string  `json:"work"`
	Value   float64 `json:"value"`
	Unit    string  `json:"unit"`
	Ratio   float64 `json:"ratio,omitempty"` // to the floor
	Floor   string  `json:"floor,omitempty"`
	Must    float64 `json:"must,omitempty"` // bound of Ratio, or of Value where there is no floor; 0: none
	Stretch float64 `json:"stretch,omitempty"`
}

// judged is the number that the budgets bound.
func (r Row) judged() float64 {
	if r.Floor != "" {
		return r.Ratio
	}
	return r.Value
}

// line says what was measured while the run goes on.
func (r Row) line() string {
	s := fmt.Sprintf("%s: %s %s", r.Work, number(r.Value), r.Unit)
	if r.Floor != "" {
		s += fmt.Sprintf(", %.2f × %s", r.Ratio, r.Floor)
	}
	if r.Must > 0 {
		s += fmt.Sprintf(" (must %s, stretch %s)", bound(r, r.Must), bound(r, r.Stretch))
	}
	return s
}

// Report is a whole run.
type Report struct {
	Machine string    `json:"machine"`
	Go      string    `json:"go"`
	At      time.Time `json:"at"`
	Sign    float64   `json:"floor_sign_us"`
	Verify  float64   `json:"floor_verify_us"`
	Rows    []Row     `json:"rows"`
}

func run(ctx context.Context, o options) (err error) {
	rep := Report{Machine: machine(), Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, At: time.Now().UTC().Truncate(time.Second)}
	step("floor: ES256 sign and verify by crypto/ecdsa")
	floor := measureFloor()
	rep.Sign, rep.Verify = floor.sign, floor.verify

	bin, err := testkit.ShortDir()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(bin)) }()
	step("building the programs")
	if err := stage.Binaries(ctx, bin); err != nil {
		return err
	}
	st, err := stage.New(ctx, bin, stage.Options{LogLevel: "warn", Clients: benchClient})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close(context.WithoutCancel(ctx))) }()

	for _, m := range []struct {
		what string
		f    func() ([]Row, error)
	}{
		{"refresh: DPoP, durable", func() ([]Row, error) { return refresh(ctx, st, floor, o.load) }},
		{"device polls: pending, with proof", func() ([]Row, error) { return polls(ctx, bin, floor, o.pending) }},
		{"grants: many, few active", func() ([]Row, error) { return grantCounts(ctx, bin, o.load, o.grants, o.active) }},
		{"verify: first and seen token", func() ([]Row, error) { return verifyRows(ctx) }},
		{"logins: Allow to token", func() ([]Row, error) { return allowToToken(ctx, st, o.logins) }},
		{"device logins: Allow to token", func() ([]Row, error) { return allowToTokenDevice(ctx, st, o.logins) }},
		{"device logins: token requests", func() ([]Row, error) { return tokenRequests(ctx, bin) }},
		{"revocations: to the resource server", func() ([]Row, error) { return revokeToHeard(ctx, st, o.logins) }},
		{"keytether token, cached", func() ([]Row, error) { return tokenCommand(ctx, st, bin) }},
		{"exec's mask", maskRow},
		{"scan of logs", func() ([]Row, error) { return scanRow(ctx, bin) }},
		{"python: per request", func() ([]Row, error) { return pythonRow(ctx) }},
	} {
		if !strings.Contains(m.what, o.only) {
			continue
		}
		step(m.what)
		rows, err := m.f()
		if err != nil {
			return fmt.Errorf("%s: %w", m.what, err)
		}
		rep.Rows = append(rep.Rows, rows...)
		for _, r := range rows {
			step("  " + r.line())
		}
	}
	table := rep.table()
	fmt.Println("\n" + table)
	if err := rep.write(o.out, o.readme, table); err != nil {
		return err
	}
	for _, r := range rep.Rows {
		if r.Must > 0 && r.judged() > r.Must {
			return fmt.Errorf("over budget: %s", r.Work)
		}
	}
	return nil
}

// benchClient takes its code by query and has no handshake, so that thousands
// of grants can be made without browsers. The other client is as people's are.
const benchClient = `- id: bench-cli
  name: Bench
  redirect_uris: ["http://127.0.0.1/callback"]
  grants: [authorization_code, refresh_token, device_code]
  dpop: required
  handshake: none
  response_modes: [query]
- id: bench-device
  name: Bench device
  redirect_uris: ["http://127.0.0.1/callback"]
  grants: [authorization_code, refresh_token, device_code]
  dpop: required
  handshake: required
`

func step(s string) { fmt.Fprintln(os.Stderr, "· "+s) }

func (r Report) write(out string, readme bool, table string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if i := strings.LastIndexByte(out, '/'); i > 0 {
		if err := os.MkdirAll(out[:i], 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(out, append(raw, '\n'), 0o644); err != nil {
		return err
	}
	if !readme {
		return nil
	}
	return intoReadme(table)
}

// intoReadme replaces what stands between the markers.
func intoReadme(table string) error {
	const file, begin, end = "README.md", "<!-- bench:begin -->", "<!-- bench:end -->"
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(raw), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the table", file)
	}
	return os.WriteFile(file, []byte(head+begin+"\n"+table+end+tail), 0o644)
}

// table renders the report as Markdown.
func (r Report) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %s, %s. Floor: ES256 sign %.1f µs, verify %.1f µs (crypto/ecdsa, CPU time, same run).\n\n",
		r.At.Format("2006-01-02"), r.Machine, r.Go, r.Sign, r.Verify)
	b.WriteString("| work | measured | ratio to floor | must | stretch | |\n|---|---:|---:|---:|---:|---|\n")
	for _, row := range r.Rows {
		ratio, verdict := "", "holds"
		if row.Floor != "" {
			ratio = fmt.Sprintf("%.2f × %s", row.Ratio, row.Floor)
		}
		switch {
		case row.Must == 0:
			verdict = ""
		case row.judged() <= row.Stretch:
			verdict = "stretch holds"
		case row.judged() > row.Must:
			verdict = "**over budget**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", row.Work, number(row.Value)+" "+row.Unit, ratio, bound(row, row.Must), bound(row, row.Stretch), verdict)
	}
	return b.String()
}

func bound(r Row, v float64) string {
	if v == 0 {
		return ""
	}
	if r.Floor != "" {
		return fmt.Sprintf("≤ %.2f ×", v)
	}
	return "≤ " + number(v) + " " + r.Unit
}

func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v < 2:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.1f", v)
}

// machine names the processor and how many of its cores there are.
func machine() string {
	name := "unknown processor"
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(raw)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				name = strings.TrimSpace(v)
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores", name, runtime.NumCPU())
}
