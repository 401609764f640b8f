package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/keytether/keytether/internal/redact"
	"github.com/keytether/keytether/internal/secret"
)

// gigabyte is what the rows about text are per.
const gigabyte = 1e9

// logText is n bytes of log lines as programs write them, without a secret. Of the texts that
// were tried this is the slowest: a "=" or a "_" may begin something.
func logText(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "time=2026-11-24T11:08:33.%06dZ level=INFO msg=\"request done\" method=GET path=/v1/reports user_id=u_%d status=200 bytes=5120 duration=12ms\n", i%1e6, i)
	}
	return b.Bytes()
}

// maskRow measures the mask of `keytether exec` with one known token, on one core.
func maskRow() ([]Row, error) {
	text := logText(64 << 20)
	w := redact.NewKnown(redact.NewWriter(io.Discard), secret.Mint(secret.Code, [32]byte{1}))
	begun, n := selfCPU(), 0
	for range 8 {
		for rest := text; len(rest) > 0; {
			part := rest[:min(32<<10, len(rest))] // as it comes of a pipe
			if _, err := w.Write(part); err != nil {
				return nil, err
			}
			n += len(part)
			rest = rest[len(part):]
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return []Row{perGigabyte("`keytether exec`: masking 1 GB of log lines, CPU", selfCPU()-begun, n)}, nil
}

// scanRow measures `keytether scan` over a file of logs.
func scanRow(ctx context.Context, bin string) ([]Row, error) {
	path := filepath.Join(bin, "app.log")
	text := logText(512 << 20)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return nil, err
	}
	defer os.Remove(path)
	c := exec.CommandContext(ctx, filepath.Join(bin, "keytether"), "scan", "--issuer", "https://auth.example.test", path)
	c.Env = append(os.Environ(), "HOME="+filepath.Join(bin, "none"), "XDG_CONFIG_HOME="+filepath.Join(bin, "none"), "KEYTETHER_SOCKET="+filepath.Join(bin, "none", "agent.sock"))
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return []Row{perGigabyte("`keytether scan`: 1 GB of logs, CPU", c.ProcessState.UserTime()+c.ProcessState.SystemTime(), len(text))}, nil
}

func perGigabyte(work string, cpu time.Duration, n int) Row {
	return Row{Work: work, Value: cpu.Seconds() * gigabyte / float64(n), Unit: "s", Must: 2, Stretch: 1}
}

// pythonRow runs the Python package's own measurement: what it adds to one request beside the
// same bytes over the same kind of socket.
func pythonRow(ctx context.Context) ([]Row, error) {
	c := exec.CommandContext(ctx, "/usr/bin/python3", filepath.Join("python", "bench", "cost.py"))
	c.Env = append(os.Environ(), "PYTHONPATH="+filepath.Join("python", "src"))
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("python/bench/cost.py: %w", err)
	}
	var cost struct {
		Request float64 `json:"per_request_us"`
		Own     float64 `json:"own_us"`
	}
	if err := json.Unmarshal(out, &cost); err != nil || cost.Request == 0 {
		return nil, fmt.Errorf("python/bench/cost.py: %s", out)
	}
	return []Row{
		{Work: "Python: one request's credentials from the agent, whole round trip", Value: cost.Request, Unit: "µs"},
		{Work: "Python: of that the package's own", Value: cost.Own, Unit: "µs", Must: 200, Stretch: 100},
	}, nil
}
