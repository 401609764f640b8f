//go:build linux

package stores

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/event"
)

const crowd = 50

// expiring is when a token of 30 s, the shortest that a config allows, is not handed
// out any more: less than a fifth of its life is left.
const expiring = 25 * time.Second

// TestStorms: a hundred processes, fifty of `keytether token` and fifty of a Go
// program with package login, ask at the moment at which the token has expired,
// twice. The server renews once each time, and nobody is turned away.
//
// Invariant: AS-11
func TestStorms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "brief-storm")
	b := newBox(t, w, "brief-storm", "kernel", parts{})
	grant := b.mustLogIn()
	for round := 1; round <= 2; round++ {
		b.expire()
		before := w.count(t, grant, event.TokenIssued)
		began := time.Now()
		for i, err := range b.storm("once", func() {}) {
			if err != nil {
				t.Errorf("round %d, process %d: %v", round, i, err)
			}
		}
		t.Logf("round %d: %d processes in %v", round, 2*crowd, time.Since(began).Round(time.Millisecond))
		if n := w.count(t, grant, event.TokenIssued) - before; n != 1 {
			t.Errorf("round %d: %d renewals, want 1", round, n)
		}
		if n := w.count(t, grant, event.RefreshRepeated); n != 0 {
			t.Errorf("round %d: %d repetitions", round, n)
		}
	}
	w.noAlarm(t)
}

// TestKilledInTheStorm: the agent is killed in the middle of such a storm, while its
// renewal is at the server. After at most one more try, a
// tenth of a second later, everybody has a token, and the server, which may be asked again for an answer that was lost, takes nobody
// for a thief.
//
// Invariant: AS-11
func TestKilledInTheStorm(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "brief-kill")
	b := newBox(t, w, "brief-kill", "kernel", parts{})
	grant := b.mustLogIn()
	b.expire()
	pid := b.status().Agent.PID
	before := w.count(t, grant, event.TokenIssued)
	killed := make(chan struct{})
	w.whileRenewing(b.client, func() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		close(killed)
	})
	errs := b.storm("retry", func() { <-killed })
	for i, err := range errs {
		if err != nil {
			t.Errorf("process %d: %v", i, err)
		}
	}
	if now := b.status().Agent.PID; now == pid {
		t.Error("the agent was not killed, so this test shows nothing")
	}
	// The answer that the killed agent did not get, and what the next one had.
	if n := w.count(t, grant, event.TokenIssued) - before; n != 2 {
		t.Errorf("%d renewals, want 2", n)
	}
	if n := w.count(t, grant, event.RefreshRepeated); n != 1 {
		t.Errorf("%d repetitions, want 1", n)
	}
	b.want("token", "--scope", "read")
	w.noAlarm(t)
}

// expire waits until the token in hand is at its end.
func (b *box) expire() {
	b.t.Helper()
	end := b.login().AccessTokenExpiresAt
	if left := time.Until(end); left > 30*time.Second {
		b.t.Fatalf("the token has %v to live", left)
	}
	time.Sleep(time.Until(end.Add(expiring - 30*time.Second)))
}

// storm starts all processes, lets them go at once, and says how each ended.
// `keytether token` is called once more by a shell where how is "retry".
func (b *box) storm(how string, during func()) []error {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	self, err := os.Executable()
	do(b.t, err)
	script := `read go; "$0" token >/dev/null`
	if how == "retry" {
		script += ` || { sleep 0.1; "$0" token >/dev/null; }`
	}
	errs := make([]error, 2*crowd)
	var ready, wg sync.WaitGroup
	release := make(chan struct{})
	for i := range errs {
		c := exec.CommandContext(ctx, "sh", "-c", script, keytether())
		c.Env = append(b.env[:len(b.env):len(b.env)], "PATH="+os.Getenv(envPrograms)+":/usr/bin:/bin")
		if i%2 == 1 {
			c.Args = []string{"sh", "-c", `read go; exec "$0"`, self}
			c.Env = append(c.Env, envTool+"="+how)
		}
		var said bytes.Buffer
		c.Stderr = &said
		in, err := c.StdinPipe()
		do(b.t, err)
		ready.Add(1)
		wg.Go(func() {
			err := c.Start()
			ready.Done()
			if err == nil {
				<-release
				_, _ = in.Write([]byte("go\n"))
				err = c.Wait()
			}
			if err != nil {
				errs[i] = fmt.Errorf("%w: %s", err, said.String())
			}
		})
	}
	ready.Wait()
	close(release)
	during()
	wg.Wait()
	return errs
}
