package oauthclient

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var pollStart = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// TestPollingAfter says what each answer does to the next poll.
//
// Invariant: DF-10
func TestPollingAfter(t *testing.T) {
	const s = time.Second
	for name, tt := range map[string]struct {
		wait  time.Duration
		took  time.Duration
		lost  int
		a     polled
		pause time.Duration // from the answer
		slow  time.Duration // the interval then
	}{
		"pending":                        {0, s / 10, 0, polled{kind: pollPending}, 5 * s, 5 * s},
		"pending, a slow server":         {0, 9 * s, 0, polled{kind: pollPending}, 5 * s, 5 * s},
		"kept back":                      {25 * s, 25 * s, 0, polled{kind: pollPending}, 0, 5 * s},
		"not kept back as was asked":     {25 * s, s / 10, 0, polled{kind: pollPending}, 5 * s, 5 * s},
		"kept back, and Retry-After":     {25 * s, 25 * s, 0, polled{kind: pollPending, retryAfter: 7 * s}, 7 * s, 5 * s},
		"slow_down":                      {0, 0, 0, polled{kind: pollSlowDown}, 10 * s, 10 * s},
		"slow_down after being kept":     {25 * s, 25 * s, 0, polled{kind: pollSlowDown}, 10 * s, 10 * s},
		"slow_down, a short Retry-After": {0, 0, 0, polled{kind: pollSlowDown, retryAfter: s}, 10 * s, 10 * s},
		"slow_down, a long Retry-After":  {0, 0, 0, polled{kind: pollSlowDown, retryAfter: 30 * s}, 30 * s, 10 * s},
		"lost":                           {0, s, 0, polled{kind: pollLost}, 10 * s, 5 * s},
		"lost again":                     {0, s, 1, polled{kind: pollLost}, 20 * s, 5 * s},
		"lost often":                     {0, s, 40, polled{kind: pollLost}, 60 * s, 5 * s},
		"lost, with jitter":              {0, s, 0, polled{kind: pollLost, jitter: 0.5}, 11250 * time.Millisecond, 5 * s},
		"lost while it was kept back":    {25 * s, 30 * s, 0, polled{kind: pollLost}, 10 * s, 5 * s},
		"busy":                           {0, s, 0, polled{kind: pollLost, retryAfter: 40 * s}, 40 * s, 5 * s},
	} {
		p := newPolling(5*s, tt.wait, pollStart, pollStart.Add(20*time.Minute))
		p.lost = tt.lost
		tt.a.sent, tt.a.received = pollStart, pollStart.Add(tt.took)
		next := p.after(tt.a)
		if got := next.next.Sub(tt.a.received); got != tt.pause || next.interval != tt.slow {
			t.Errorf("%s: next after %v, interval %v", name, got, next.interval)
		}
	}
	// A server with many waiting tools offers a long interval. Who waits in one
	// request hears at once all the same.
	p := newPolling(300*s, 25*s, pollStart, pollStart.Add(time.Hour))
	p = p.after(polled{sent: pollStart, received: pollStart.Add(25 * s)})
	if got := p.next.Sub(pollStart); got != 25*s {
		t.Errorf("kept back as long as was asked: the next poll after %v", got)
	}
	p = p.after(polled{sent: pollStart.Add(25 * s), received: pollStart.Add(26 * s)})
	if got := p.next.Sub(pollStart); got != 326*s {
		t.Errorf("sent away: the next poll after %v", got)
	}
	p = newPolling(90*s, 0, pollStart, pollStart.Add(time.Hour))
	if p = p.after(polled{kind: pollLost, received: pollStart}); p.next.Sub(pollStart) < 90*s {
		t.Errorf("a lost answer makes a long interval shorter: %v", p.next.Sub(pollStart))
	}
}

// TestPollingKeepsItsPace plays servers that answer anything at any speed.
//
// Invariant: DF-10, DF-11
func TestPollingKeepsItsPace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := func(name string, most int) time.Duration {
			return time.Duration(rapid.IntRange(0, most*1000).Draw(t, name)) * time.Millisecond
		}
		least := time.Second + seconds("interval", 120)
		wait := rapid.SampledFrom([]time.Duration{0, 25 * time.Second}).Draw(t, "wait")
		now := pollStart
		expires := now.Add(time.Second + seconds("life", 1800))
		p := newPolling(least, wait, now, expires)
		if wait == 0 && p.next.Sub(now) < least {
			t.Fatal("the first poll is too early")
		}
		for range 200 {
			pause, ok := p.due(now)
			if !ok {
				if p.next.Before(expires) {
					t.Fatal("gave up before its time")
				}
				return
			}
			now = now.Add(pause + seconds("late", 3))
			if _, ok := p.due(now); !ok {
				return // the machine slept
			}
			if !now.Before(expires) {
				t.Fatalf("polls %v after its expiry", now.Sub(expires))
			}
			a := polled{
				kind: rapid.SampledFrom([]pollKind{pollPending, pollSlowDown, pollLost}).Draw(t, "kind"), sent: now,
				jitter: rapid.Float64Range(0, 0.999).Draw(t, "jitter"), retryAfter: seconds("retry", 60),
			}
			now = now.Add(seconds("took", 30))
			a.received = now
			if a.kind == pollSlowDown {
				least += 5 * time.Second
			}
			p = p.after(a)
			gap, apart := p.next.Sub(a.sent), least // at least an interval apart, whatever happened
			if wait > 0 && a.kind == pollPending && a.received.Sub(a.sent) >= wait {
				apart = min(least, wait) // kept back as long as was asked
			}
			if p.interval != least || gap < apart || p.next.Sub(a.received) < a.retryAfter {
				t.Fatalf("interval %v want %v, polls %v apart", p.interval, least, gap)
			}
			if wait == 0 && p.next.Sub(a.received) < least {
				t.Fatalf("%v after an answer", p.next.Sub(a.received))
			}
		}
	})
}

func TestRetryAfter(t *testing.T) {
	for v, want := range map[string]time.Duration{
		"": 0, "40": 40 * time.Second, " 7 ": 7 * time.Second, "-1": 0, "soon": 0, "1.5": 0, "99999999999999999999": 0,
		"9999999999": maxLife, "Sun, 01 Mar 2026 08:00:30 GMT": 30 * time.Second, "Sun, 01 Mar 2026 07:00:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {v}}, pollStart); got != want {
			t.Errorf("%q: %v, want %v", v, got, want)
		}
	}
}

func TestPreference(t *testing.T) {
	p := newPolling(5*time.Second, 25*time.Second, pollStart, pollStart.Add(30*time.Second))
	for after, want := range map[time.Duration]string{0: "wait=25", 20 * time.Second: "wait=10", 30 * time.Second: ""} {
		if got := p.preference(pollStart.Add(after)); got != want {
			t.Errorf("after %v: %q", after, got)
		}
	}
	for range impatient {
		p = p.after(polled{kind: pollLost, received: pollStart})
	}
	if got := p.preference(pollStart); got != "" {
		t.Errorf("after lost answers: %q", got)
	}
}
