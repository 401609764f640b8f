package agent

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/peersock"
)

func confirming(change ...func(*Options)) []func(*Options) {
	return append([]func(*Options){func(o *Options) {
		o.Rules = func(string) (Rules, error) { return Rules{Confirm: true}, nil }
	}}, change...)
}

// waiting gives the questions once there are n.
func (r *rig) waiting(t *testing.T, n int) []agentwire.Confirmation {
	t.Helper()
	for range 500 {
		c, err := r.Confirmations(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Confirmations) == n {
			return c.Confirmations
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("there are never %d questions", n)
	return nil
}

// TestConfirm has the person asked once for a program, and its calls wait for the word.
//
// Invariant: WA-5
func TestConfirm(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether(), confirming()...)
	r.mustLogIn()
	answers := make(chan error, 20)
	for range cap(answers) {
		go func() { _, err := r.Token(t.Context(), agentwire.TokenRequest{}); answers <- err }()
	}
	q := r.waiting(t, 1)[0]
	if q.Profile != "default" || q.Resource != resource || q.Scope != "read write openid email" || !q.Waiting || q.ExpiresAt.Sub(q.AskedAt) != time.Minute {
		t.Errorf("%+v", q)
	}
	s, err := r.Status(t.Context())
	if err != nil || len(s.Confirmations) != 1 {
		t.Errorf("status does not say that somebody waits: %+v %v", s, err)
	}
	select {
	case err := <-answers:
		t.Fatalf("a call did not wait: %v", err)
	default:
	}
	if err := r.Confirm(t.Context(), agentwire.ConfirmationRequest{ID: "99", Decision: agentwire.DecisionAllow}); !errors.Is(err, agentwire.Failed) {
		t.Errorf("an answer to nothing: %v", err)
	}
	if err := r.Confirm(t.Context(), agentwire.ConfirmationRequest{ID: q.ID, Decision: agentwire.DecisionAllow}); err != nil {
		t.Fatal(err)
	}
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	r.waiting(t, 0)
	if _, err := r.Authorize(t.Context(), agentwire.AuthorizeRequest{Method: "GET", URL: resource}); err != nil {
		t.Errorf("the word was forgotten: %v", err)
	}
	if err := r.Confirm(t.Context(), agentwire.ConfirmationRequest{ID: q.ID, Decision: agentwire.DecisionDeny}); err == nil {
		t.Error("a second answer was taken")
	}
}

// TestConfirmDenied: a no holds, without another question.
//
// Invariant: WA-5
func TestConfirmDenied(t *testing.T) {
	asked := 0
	r := newRig(t, oauthclienttest.Keytether(), func(o *Options) {
		o.Confirm = true
		o.Ask = func(_ context.Context, q agentwire.Confirmation) (string, error) {
			asked++
			if q.Profile != "default" || q.Resource != resource {
				t.Errorf("%+v", q)
			}
			return agentwire.DecisionDeny, nil
		}
	})
	r.mustLogIn()
	for range 3 {
		_, err := r.Token(t.Context(), agentwire.TokenRequest{})
		if !errors.Is(err, agentwire.Denied) || !strings.Contains(err.Error(), "you said no") {
			t.Errorf("%v", err)
		}
	}
	if asked != 1 {
		t.Errorf("the person was asked %d times", asked)
	}
	if s, err := r.Status(t.Context()); err != nil || s.Profiles[0].Callers[0].Refused != 3 {
		t.Errorf("%+v %v", s, err)
	}
}

// TestConfirmLate: without an answer nothing is given, and one that comes late holds for the next
// try. Nobody is asked again at once.
//
// Invariant: WA-5
func TestConfirmLate(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	r := newRig(t, oauthclienttest.Keytether(), confirming(func(o *Options) {
		o.confirmTime = 50 * time.Millisecond
		o.Ask = func(ctx context.Context, _ agentwire.Confirmation) (string, error) {
			mu.Lock()
			asked++
			mu.Unlock()
			<-ctx.Done()
			return "", ctx.Err()
		}
	})...)
	r.mustLogIn()
	for range 2 {
		_, err := r.Token(t.Context(), agentwire.TokenRequest{})
		if !errors.Is(err, agentwire.Denied) || !strings.Contains(err.Error(), "nobody answered. Run `keytether agent confirm`") {
			t.Fatal(err)
		}
	}
	mu.Lock()
	if asked != 1 {
		t.Errorf("asked %d times in a row", asked)
	}
	mu.Unlock()
	r.clock.Advance(unansweredTime)
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); !errors.Is(err, agentwire.Denied) {
		t.Error(err)
	}
	mu.Lock()
	if asked != 2 {
		t.Errorf("not asked again after a while, but %d times", asked)
	}
	mu.Unlock()
	q := r.waiting(t, 1)[0]
	if q.Waiting {
		t.Error("it still waits")
	}
	if err := r.Confirm(t.Context(), agentwire.ConfirmationRequest{ID: q.ID, Decision: agentwire.DecisionAllow}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
		t.Error(err)
	}
}

// TestConfirmByHost asks for each host that an agent was forwarded to, whatever was allowed here.
//
// Invariant: WA-5
func TestConfirmByHost(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether(), confirming(func(o *Options) {
		o.Ask = func(_ context.Context, q agentwire.Confirmation) (string, error) {
			if q.Host == "" {
				return agentwire.DecisionAllow, nil
			}
			return agentwire.DecisionDeny, nil
		}
	})...)
	r.mustLogIn()
	if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
		t.Fatal(err)
	}
	f, err := r.Forward(t.Context(), agentwire.ForwardRequest{Host: "build7"})
	if err != nil {
		t.Fatal(err)
	}
	there := agentwire.NewClient(func(ctx context.Context) (net.Conn, error) { return peersock.Dial(ctx, f.Socket) })
	defer there.Close()
	_, err = there.Token(t.Context(), agentwire.TokenRequest{})
	if !errors.Is(err, agentwire.Denied) || !strings.Contains(err.Error(), "for host build7") {
		t.Errorf("%v", err)
	}
	if err := there.Confirm(t.Context(), agentwire.ConfirmationRequest{ID: "1", Decision: agentwire.DecisionAllow}); !errors.Is(err, agentwire.Unsupported) {
		t.Errorf("a host answers: %v", err)
	}
	s, err := r.Status(t.Context())
	if err != nil || len(s.Profiles[0].Callers) != 2 || s.Profiles[0].Callers[0].Host+s.Profiles[0].Callers[1].Host != "build7" {
		t.Errorf("%+v %v", s, err)
	}
}

// TestQuestionsAreBounded: a flood of programs makes no flood of notices, and takes no room for ever.
//
// Invariant: WA-6
func TestQuestionsAreBounded(t *testing.T) {
	a := newAgent(t.Context(), Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
	defer func() { a.end(errStopped); a.wait.Wait() }()
	a.opt.confirmTime = time.Hour
	who := agentwire.Whoami{Profile: "default", Resource: resource}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	ask := func(i int) error {
		c := caller{Program: peersock.Program{Executable: fmt.Sprintf("/tmp/%d", i)}}
		return a.confirmed(gone, c, who, "")
	}
	for i := range maxWaiting {
		if err := ask(i); !errors.Is(err, context.Canceled) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if err := ask(maxWaiting); !errors.Is(err, agentwire.Denied) || !strings.Contains(err.Error(), "too many questions") {
		t.Errorf("%v", err)
	}
	for i := range maxQuestions + 50 {
		a.gate.mu.Lock()
		var waits []*question
		for _, q := range a.gate.questions {
			if q.shown.Waiting {
				waits = append(waits, q)
			}
		}
		a.gate.mu.Unlock()
		for _, q := range waits {
			a.settleQuestion(q, "", "", 0)
		}
		if err := ask(1000 + i); !errors.Is(err, context.Canceled) {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if n := len(a.gate.questions); n > maxQuestions {
		t.Errorf("%d questions are kept", n)
	}
}

// TestRates lets honest use pass and slows down what is none.
//
// Invariant: WA-6
func TestRates(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	a := newAgent(t.Context(), r.opt)
	defer a.end(errStopped)
	python := caller{Program: peersock.Program{Executable: "/usr/bin/python3"}}
	for range 10 { // seconds
		for range 1000 {
			if _, _, _, err := a.enter("default", python); err != nil {
				t.Fatalf("an honest program: %v", err)
			}
		}
		r.clock.Advance(time.Second)
	}
	refused := 0
	for range 100_000 {
		if _, _, _, err := a.enter("default", python); err != nil {
			refused++
		}
	}
	if refused < 90_000 {
		t.Errorf("of 100,000 calls at once %d were refused", refused)
	}
	fresh := 0
	for i := range 1000 {
		c := caller{Program: peersock.Program{Executable: fmt.Sprintf("/tmp/x%d", i)}}
		switch _, _, _, err := a.enter("default", c); {
		case err == nil:
			fresh++
		case !errors.Is(err, agentwire.Busy) || !strings.Contains(err.Error(), "asked for the first time"):
			t.Fatal(err)
		}
	}
	if fresh < 20 || fresh > int(freshBurst) {
		t.Errorf("%d new programs at once", fresh)
	}
	r.clock.Advance(10 * time.Second)
	if _, _, _, err := a.enter("default", python); err != nil {
		t.Errorf("a program that was there before has to wait for them: %v", err)
	}
	for i := range 10_000 { // scripts and executables over a long time
		r.clock.Advance(3 * time.Second)
		c := caller{Program: peersock.Program{Executable: fmt.Sprintf("/tmp/y%d", i%200), Script: fmt.Sprint(i)}}
		if _, _, _, err := a.enter("default", c); err != nil {
			t.Fatal(err)
		}
	}
	d := a.gate.doors["default"]
	if len(d.programs) > maxCallers {
		t.Errorf("%d programs are remembered", len(d.programs))
	}
	for _, p := range d.programs {
		if len(p.scripts) > maxScripts {
			t.Errorf("%d scripts of one program are remembered", len(p.scripts))
		}
	}
}

// TestForcedRenewals: a program's word that its token was refused makes the agent renew a few times
// and then no more, and what it gets is the token in hand.
//
// Invariant: WA-6
func TestForcedRenewals(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.mustLogIn()
	rejected := ""
	for range 40 {
		tok, err := r.Token(t.Context(), agentwire.TokenRequest{Rejected: rejected})
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte(tok.AccessToken.Reveal()))
		rejected = base64.RawURLEncoding.EncodeToString(sum[:])
		r.clock.Advance(3 * time.Second)
	}
	// Two minutes: five at once, and one each twelve seconds.
	if n := r.server.Count("refresh"); n < 5 || n > 16 {
		t.Errorf("%d renewals", n)
	}
}

// Many processes of one program that together ask more often than one may are slowed down, not
// refused.
//
// Invariant: WA-6
func TestHonestStormIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAgent(t.Context(), Options{Clock: time.Now, Log: slog.New(slog.DiscardHandler)})
		defer a.end(errStopped)
		p := &profile{who: agentwire.Whoami{Profile: "default"}}
		began := time.Now()
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				for range 1000 {
					if err := a.admit(t.Context(), p, ""); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		if d := time.Since(began); d < 10*time.Second || d > 11*time.Second { // (50,000 - 8,000) / 4,000
			t.Errorf("50,000 calls took %s", d)
		}
	})
}
