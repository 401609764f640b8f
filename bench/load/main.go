// Command load puts an authorization server under the load of many command-line
// tools: device authorizations, polls at the server's interval, refreshes, and
// pushed requests if asked for, as RFC 8628, 6749 and 9126 have them. It knows of
// a server what its metadata say, so that any server can be measured. It ends by
// itself, after so many requests or so much time, and speaks to loopback alone.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/keytether/keytether/internal/oauth"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr, hooks{started: func(oauth.DeviceResponse) {}, rest: rest}))
}

// Bounds of the flags.
const (
	maxTools = 10_000
	maxCount = 100_000_000
	maxTime  = 24 * time.Hour
)

// options say what to do to whom.
type options struct {
	issuer, client, scope, resource, redirect string
	tools, refreshes                          int
	count                                     int64
	time                                      time.Duration
	dpop, par, codes, json                    bool
	hooks
}

// hooks are what a test takes part by.
type hooks struct {
	started func(oauth.DeviceResponse)                // hears of every device authorization
	rest    func(context.Context, time.Duration) bool // lets time pass, and says whether there is more
}

var errUsage = errors.New("wrong usage")

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.issuer, "issuer", "", "issuer `URL` of the server; loopback only")
	f.StringVar(&o.client, "client", "", "`ID` of a public client that is registered there for device authorizations")
	f.StringVar(&o.scope, "scope", "", "`SCOPE` to ask for; empty: the server's default")
	f.StringVar(&o.resource, "resource", "", "resource `URL` to ask for (RFC 8707); empty: none")
	f.StringVar(&o.redirect, "redirect", "http://127.0.0.1:1/callback", "redirect `URI` of pushed requests")
	f.IntVar(&o.tools, "tools", 16, "how many tools there are at once")
	f.Int64Var(&o.count, "count", 100_000, "the most requests in all, without those that are repeated for a nonce")
	f.DurationVar(&o.time, "time", 30*time.Second, "the longest that it takes")
	f.IntVar(&o.refreshes, "refreshes", 10, "how often each login is refreshed, one after the other")
	f.BoolVar(&o.dpop, "dpop", false, "with proofs (RFC 9449), a key for each tool")
	f.BoolVar(&o.par, "par", false, "push an authorization request (RFC 9126) before each login too")
	f.BoolVar(&o.codes, "codes", false, "print each user code with its URL on standard error, for whoever approves them")
	f.BoolVar(&o.json, "json", false, "print JSON")
	if err := f.Parse(args); err != nil {
		return o, errUsage
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("%w: what is %q?", errUsage, f.Arg(0))
	case o.issuer == "" || o.client == "":
		return o, fmt.Errorf("%w: -issuer and -client are needed", errUsage)
	case o.tools < 1 || o.tools > maxTools, o.count < 1 || o.count > maxCount, o.time <= 0 || o.time > maxTime, o.refreshes < 0:
		return o, fmt.Errorf("%w: -tools is 1 to %d, -count 1 to %d, -time at most %s, -refreshes at least 0", errUsage, maxTools, maxCount, maxTime)
	}
	return o, nil
}

// command runs the whole and gives the exit code: 1 failed, 2 wrong usage.
func command(ctx context.Context, args []string, stdout, stderr io.Writer, h hooks) int {
	o, err := parse(args, stderr)
	if err == nil {
		o.hooks = h
		if o.codes {
			o.started = func(d oauth.DeviceResponse) {
				fmt.Fprintf(stderr, "%s %s\n", d.UserCode, d.VerificationURI)
			}
		}
		var rep report
		if rep, err = run(ctx, o); err == nil {
			err = rep.print(stdout, o.json)
		}
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintln(stderr, "load:", err)
		return 2
	}
	fmt.Fprintln(stderr, "load:", err)
	return 1
}

// report is what was measured.
type report struct {
	Issuer    string      `json:"issuer"`
	Seconds   float64     `json:"seconds"`
	Requests  int64       `json:"requests"`
	PerSecond float64     `json:"requests_per_second"`
	Logins    int64       `json:"logins"` // that got a token
	Work      []operation `json:"operations"`
}

// operation is one kind of request. Latencies are in milliseconds, from sent to
// the whole answer read.
type operation struct {
	Name      string           `json:"name"`
	Requests  int64            `json:"requests"`
	PerSecond float64          `json:"requests_per_second"`
	P50       float64          `json:"p50_ms"`
	P90       float64          `json:"p90_ms"`
	P99       float64          `json:"p99_ms"`
	Max       float64          `json:"max_ms"`
	Errors    map[string]int64 `json:"errors"` // by OAuth error; "http_N" or "no_answer" where there was none
}

func (r report) print(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	_, err := fmt.Fprintf(w, "%s: %d requests in %.1f s, %.0f/s; %d logins\n\n%-22s %9s %8s %8s %8s %8s %8s\n",
		r.Issuer, r.Requests, r.Seconds, r.PerSecond, r.Logins, "ms", "requests", "/s", "p50", "p90", "p99", "max")
	for _, o := range r.Work {
		_, e := fmt.Fprintf(w, "%-22s %9d %8.0f %8.2f %8.2f %8.2f %8.2f\n", o.Name, o.Requests, o.PerSecond, o.P50, o.P90, o.P99, o.Max)
		err = errors.Join(err, e)
		for _, name := range sorted(o.Errors) {
			_, e := fmt.Fprintf(w, "  %-20s %9d\n", name, o.Errors[name])
			err = errors.Join(err, e)
		}
	}
	return err
}
