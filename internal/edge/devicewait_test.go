package edge_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
)

// waitPoll is a poll that is ready to wait.
func (d *started) waitPoll(ctx context.Context, prefer string) *http.Request {
	r := d.s.FormRequest(oauth.PathToken, d.params()).WithContext(ctx)
	r.Header.Set("Prefer", prefer)
	if d.tool.Key != nil {
		r.Header.Set("DPoP", d.tool.Proof(http.MethodPost, d.s.Issuer+oauth.PathToken, d.tool.Nonce, ""))
	}
	return r
}

type waited struct {
	res  *edgetest.Response
	took time.Duration
}

// wait sends the poll and gives its answer when it comes; it returns when the
// poll waits at the server.
func (d *started) wait(t *testing.T, prefer string) <-chan waited {
	t.Helper()
	before := d.s.Auth.Waiting()
	out := make(chan waited, 1)
	r := d.waitPoll(t.Context(), prefer)
	began := time.Now()
	go func() {
		res := d.s.Do(r)
		out <- waited{res, time.Since(began)}
	}()
	for d.s.Auth.Waiting() == before {
		if time.Since(began) > 5*time.Second {
			t.Fatal("nobody waits")
		}
		time.Sleep(time.Millisecond)
	}
	return out
}

// TestDeviceWait: a poll that is ready to wait is answered at the decision, so
// that a login takes two requests.
func TestDeviceWait(t *testing.T) {
	for button, want := range map[string]string{"Allow": "", "Deny": "access_denied"} {
		s := edgetest.NewServer(t, edgetest.Options{})
		d := startDevice(t, s, edgetest.Bound)
		n := s.Size()
		got := d.wait(t, "wait=25")
		d.decide(t, s.NewBrowser(), d.UserCode, button)
		pressed := time.Now()
		w := <-got
		if since := time.Since(pressed); since > time.Second {
			t.Errorf("the answer came %s after the decision", since)
		}
		if e := rfcError(t, w.res); e != want {
			t.Errorf("%s: %d %s", button, w.res.Status, w.res.Body)
		}
		if want == "" {
			s.Expect(n, event.DeviceOpened, event.SignInSucceeded, event.DeviceApproved, event.DeviceRedeemed, event.GrantCreated, event.TokenIssued)
		}
		if s.Auth.Waiting() != 0 {
			t.Errorf("%d still wait", s.Auth.Waiting())
		}
	}
}

// TestDeviceWaitEnds: a wait ends after the time asked for, pending; what is no
// time is not waited for, and a poll that comes too early does not wait.
func TestDeviceWaitEnds(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	for prefer, want := range map[string]time.Duration{
		"wait=1": time.Second, "respond-async, WAIT=\"1\"": time.Second,
		"wait=0": 0, "wait=-3": 0, "wait=soon": 0, "wait": 0, "respond-async": 0,
	} {
		d := startDevice(t, s, edgetest.Bound)
		began := time.Now()
		res := s.Do(d.waitPoll(t.Context(), prefer))
		took := time.Since(began)
		if rfcError(t, res) != "authorization_pending" || took < want || took > want+700*time.Millisecond {
			t.Errorf("%s: %s after %s", prefer, res.Body, took)
		}
		began = time.Now()
		if res := s.Do(d.waitPoll(t.Context(), "wait=5")); rfcError(t, res) != "slow_down" || time.Since(began) > time.Second {
			t.Errorf("too early: %s after %s", res.Body, time.Since(began))
		}
	}
}

// TestDeviceOneWaiter: a second waiter of a code sends the first home.
func TestDeviceOneWaiter(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	d := startDevice(t, s, edgetest.Bound)
	first := d.wait(t, "wait=25")
	s.Clock.Advance(5 * time.Second)
	second := make(chan *edgetest.Response, 1)
	r := d.waitPoll(t.Context(), "wait=25")
	go func() { second <- s.Do(r) }()
	if w := <-first; rfcError(t, w.res) != "authorization_pending" || w.took > 5*time.Second {
		t.Errorf("the first: %s after %s", w.res.Body, w.took)
	}
	d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
	if res := <-second; res.Status != http.StatusOK {
		t.Errorf("the second: %s", res.Body)
	}
}

// TestDeviceWaiterGoes: a client that goes away leaves its place, and takes no
// token along that nobody hears of.
func TestDeviceWaiterGoes(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	d := startDevice(t, s, edgetest.Bound)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	r := d.waitPoll(ctx, "wait=25")
	go func() {
		res, err := http.DefaultClient.Do(r)
		if err == nil {
			err = errors.Join(errors.New("answered"), res.Body.Close())
		}
		gone <- err
	}()
	for s.Auth.Waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); s.Auth.Waiting() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("its place is not free")
		}
	}
	d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
	s.Clock.Advance(5 * time.Second)
	if got := d.poll(t); got != "" {
		t.Error(got)
	}
}

// TestDeviceWaitersAtShutdown: a server that stops sends the waiters home, and
// the next one has what was decided.
func TestDeviceWaitersAtShutdown(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	d := startDevice(t, s, edgetest.Bound)
	got := d.wait(t, "wait=25")
	s.Restart()
	w := <-got
	var doc oauth.Response
	if err := json.Unmarshal([]byte(w.res.Body), &doc); err != nil || doc.Error != "authorization_pending" || w.took > 5*time.Second {
		t.Errorf("%s after %s", w.res.Body, w.took)
	}
	d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
	if got := d.poll(t); got != "" {
		t.Error(got)
	}
}
