// Package doctor looks at what a login needs on this machine and on the way to the issuer, and
// says of each thing whether it is well, and if not, why, and what mends it.
//
// A check looks first and judges afterwards: judge functions are pure, and what they judge are
// facts that tests can write down. Checks run side by side, each under a limit of its own, so
// that a machine on which everything hangs is told so within ten seconds. Nothing is asked but
// this machine, the issuer, and the proxy on the way to it. No finding holds a secret: of a
// proxy's URL only its address is taken.
package doctor

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"time"
)

// State says how a check went.
type State string

// The states.
const (
	OK      State = "ok"
	Warning State = "warning" // it works, or works in another way, and something is not as it should be
	Problem State = "problem" // something that a person wants will not work
	None    State = "not_applicable"
)

// Finding is what one check found: in one line, and for a warning or problem why that matters and
// what to do.
type Finding struct {
	Name  string `json:"name"` // stable; lower case with dashes
	State State  `json:"state"`
	Found string `json:"found"`
	Why   string `json:"why,omitempty"`
	Do    string `json:"do,omitempty"`
}

// Limits. The whole takes no longer than the longest check.
const (
	localLimit   = 4 * time.Second
	networkLimit = 8 * time.Second
)

// Options say what is looked at. Funcs may be nil where there is nothing to ask.
type Options struct {
	GOOS   string
	Getenv func(string) string
	Env    map[string]string // the variables that go along with a login
	Now    func() time.Time

	Version   string
	Issuer    string // empty: none is known
	IssuerWhy string // then: why

	Config    string // path of the config file; empty: none can be
	ConfigErr error  // of reading it
	State     string // the agent's folder; empty: none can be
	Socket    string // of the agent
	SocketErr error  // there can be none

	// Agent asks the agent that runs. An error wraps a sentinel of package peersock, or says in
	// words why the agent cannot be used.
	Agent func(ctx context.Context) (Agent, error)
	// Stores opens every credential store that this machine may have.
	Stores func(ctx context.Context) []Store

	NoBrowser string   // why no browser is opened here; empty: one is
	Browsers  []string // the programs that BROWSER names
	LookPath  func(name string) (string, error)

	Listen      func(network, address string) (net.Listener, error)
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error) // nil: the network

	UID  int    // of this user; -1 where there are none
	Root string // before /dev and /etc, in tests
}

type check struct {
	name  string
	limit time.Duration
	run   func(ctx context.Context, o *Options) []Finding
}

// checks are all, in the order in which they are told.
func checks() []check {
	return []check{
		{"config", localLimit, checkConfig},
		{"state", localLimit, checkState},
		{"runtime-dir", localLimit, checkRuntimeDir},
		{"agent", localLimit, checkAgent},
		{"stores", localLimit, checkStores},
		{"tpm", localLimit, checkTPM},
		{"browser", localLimit, checkBrowser},
		{"loopback", localLimit, checkLoopback},
		{"browser-proxy", localLimit, checkBrowserProxy},
		{"proxy", localLimit, checkProxy},
		{"certificates", localLimit, checkCertificates},
		{"issuer", networkLimit, checkIssuer},
	}
}

// Run runs all checks and gives what they found, in order.
func Run(ctx context.Context, o Options) []Finding { return run(ctx, o, checks()) }

func run(ctx context.Context, o Options, all []check) []Finding {
	if o.Listen == nil {
		o.Listen = net.Listen
	}
	if o.LookPath == nil {
		o.LookPath = exec.LookPath
	}
	answers := make([]chan []Finding, len(all))
	for i, c := range all {
		answers[i] = make(chan []Finding, 1)
		go func() { answers[i] <- limited(ctx, &o, c) }()
	}
	var out []Finding
	for _, a := range answers {
		out = append(out, <-a...)
	}
	return out
}

// limited runs a check and leaves it behind when its time is over.
func limited(ctx context.Context, o *Options, c check) []Finding {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	done := make(chan []Finding, 1)
	go func() { done <- c.run(ctx, o) }()
	after := time.NewTimer(c.limit + time.Second) // for the words of what heeds ctx
	defer after.Stop()
	select {
	case f := <-done:
		return f
	case <-after.C:
		return []Finding{{
			c.name, Problem, fmt.Sprintf("no answer within %s", c.limit+time.Second),
			"what was asked hangs", "Try again; if it stays, restart the machine",
		}}
	}
}

// Bad says whether a problem is among them.
func Bad(all []Finding) bool {
	for _, f := range all {
		if f.State == Problem {
			return true
		}
	}
	return false
}

func one(f Finding) []Finding { return []Finding{f} }

func ok(name, found string) Finding { return Finding{Name: name, State: OK, Found: found} }

func none(name, found string) Finding { return Finding{Name: name, State: None, Found: found} }

// path puts an absolute path of the system below Root.
func (o *Options) path(p string) string { return filepath.Join(o.Root, p) }
