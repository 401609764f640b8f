package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// verifyRows runs package verify's own benchmarks, which measure their floor in
// the same run.
func verifyRows(ctx context.Context) ([]Row, error) {
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkVerify(First|Seen)$", "-benchtime", "2s", "./verify").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	var rows []Row
	for _, b := range []struct {
		name, work, floor string
	}{
		{"BenchmarkVerifyFirst", "verify a request, token not seen before", "two verifies"},
		{"BenchmarkVerifySeen", "verify a request, token seen before", "one verify"},
	} {
		m := regexp.MustCompile(b.name + `\S*\s+\d+\s+([\d.]+) ns/op.*?([\d.]+) ratio`).FindSubmatch(out)
		if m == nil {
			return nil, fmt.Errorf("no result of %s in: %s", b.name, out)
		}
		ns, err1 := strconv.ParseFloat(string(m[1]), 64)
		ratio, err2 := strconv.ParseFloat(string(m[2]), 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		rows = append(rows, Row{Work: b.work, Value: ns / 1000, Unit: "µs", Ratio: ratio, Floor: b.floor, Must: 1.25, Stretch: 1.1})
	}
	return rows, nil
}

// allowToToken times logins with the real command and agent, from Allow to the
// token in the agent, with the loopback handshake between.
func allowToToken(ctx context.Context, st *stage.Stage, n int) ([]Row, error) {
	var ms []float64
	for i := range n {
		person, err := driver.NewPerson(stage.Email, stage.Password, st.Client())
		if err != nil {
			return nil, err
		}
		var allowed time.Time
		res, err := st.Login(ctx, func(u string) error {
			allowed, err = allow(ctx, person, u)
			return err
		}, "--profile", "bench", "--client", "example-cli", "--scope", "read")
		if err != nil {
			return nil, err
		}
		done := time.Now()
		if res.Code != 0 {
			return nil, fmt.Errorf("login %d: %s", i, res.Stderr)
		}
		// The command's own end is in it: its last event comes when the token is stored.
		ms = append(ms, float64(done.Sub(allowed))/float64(time.Millisecond))
	}
	return []Row{{Work: "Allow pressed to login done, loopback handshake, p99", Value: percentile(ms, 0.99), Unit: "ms", Must: 100, Stretch: 30}}, nil
}

// allow plays the browser: start link, sign-in, Allow, and the posts between
// issuer and listener. It says when Allow was sent.
func allow(ctx context.Context, p *driver.Person, u string) (time.Time, error) {
	page, err := p.Get(ctx, u)
	if err != nil {
		return time.Time{}, err
	}
	if page.Back == nil {
		return time.Time{}, fmt.Errorf("the start link led nowhere: %d %.200s", page.Status, page.Text)
	}
	if page, err = p.Get(ctx, page.Back.String()); err != nil {
		return time.Time{}, err
	}
	var allowed time.Time
	for range 8 {
		f, button, err := next(page)
		if err != nil {
			return allowed, err
		}
		if button == "Allow" {
			allowed = time.Now()
		}
		var fields map[string]string
		if button == "Sign in" {
			fields = map[string]string{"Email": p.Email, "Password": p.Password}
		}
		if page, err = p.Submit(ctx, f, button, fields); err != nil {
			return allowed, err
		}
		if page.Back != nil {
			if page, err = p.Get(ctx, page.Back.String()); err != nil {
				return allowed, err
			}
		}
		if strings.HasPrefix(page.URL.Path, "/done") {
			return allowed, nil
		}
	}
	return allowed, errors.New("the pages go round in circles")
}

func next(page *driver.Page) (driver.Form, string, error) {
	for _, f := range page.Forms {
		for _, b := range []string{"Sign in", "Allow", "Continue"} {
			if f.HasButton(b) {
				return f, b, nil
			}
		}
	}
	return driver.Form{}, "", fmt.Errorf("nothing to press at %s (%d): %.300s", page.URL, page.Status, page.Text)
}

// revokeToHeard times revocations until a call with the grant's token and a
// fresh proof is refused by the sample API.
func revokeToHeard(ctx context.Context, st *stage.Stage, n int) ([]Row, error) {
	srv, err := driver.Discover(ctx, st.Issuer, st.Client())
	if err != nil {
		return nil, err
	}
	person, err := driver.NewPerson(stage.Email, stage.Password, st.Client())
	if err != nil {
		return nil, err
	}
	var ms []float64
	for range n {
		tool, err := driver.NewTool(srv, "bench-cli")
		if err != nil {
			return nil, err
		}
		t, err := tool.Login(ctx, person, "http://127.0.0.1:1/callback", "read", st.Resource)
		if err != nil {
			return nil, err
		}
		if status, err := tool.Call(ctx, st.Resource+"/reports", t.AccessToken); err != nil || status != 200 {
			return nil, fmt.Errorf("the API answered %d before the revocation (%w)", status, err)
		}
		begun := time.Now()
		if err := tool.Post(ctx, srv.Metadata.RevocationEndpoint, url.Values{"token": {t.RefreshToken}, "client_id": {"bench-cli"}}, nil); err != nil {
			return nil, err
		}
		for {
			status, err := tool.Call(ctx, st.Resource+"/reports", t.AccessToken)
			if err != nil {
				return nil, err
			}
			if status == 401 {
				break
			}
			if time.Since(begun) > 10*time.Second {
				return nil, errors.New("the API never refused")
			}
		}
		ms = append(ms, float64(time.Since(begun))/float64(time.Millisecond))
	}
	return []Row{{Work: "revocation sent to refused at the API, p99", Value: percentile(ms, 0.99), Unit: "ms", Must: 1000, Stretch: 100}}, nil
}

// hello is the floor of any program: it prints and ends.
const hello = `package main

import "os"

func main() { os.Stdout.WriteString("hello\n") }
`

// tokenCommand compares `keytether token` with a program that prints and exits,
// by the wall time of the whole process.
func tokenCommand(ctx context.Context, st *stage.Stage, bin string) ([]Row, error) {
	src := filepath.Join(bin, "hello.go")
	if err := os.WriteFile(src, []byte(hello), 0o600); err != nil {
		return nil, err
	}
	prog := filepath.Join(bin, "hello")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", prog, src)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	var floor, ours []float64
	for range 150 {
		for _, m := range []struct {
			to *[]float64
			c  *exec.Cmd
		}{{&floor, exec.CommandContext(ctx, prog)}, {&ours, st.Command(ctx, "token", "--profile", "bench")}} {
			begun := time.Now()
			if out, err := m.c.Output(); err != nil || len(out) == 0 {
				return nil, fmt.Errorf("%s: %w", m.c.Path, err)
			}
			*m.to = append(*m.to, float64(time.Since(begun))/float64(time.Millisecond))
		}
	}
	v, f := median(ours), median(floor)
	return []Row{{Work: "`keytether token`, cached, start to exit", Value: v, Unit: "ms", Ratio: v / f, Floor: "a Go program that prints", Must: 2, Stretch: 1.5}}, nil
}
