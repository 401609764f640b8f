package grant

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestPace: whatever a tool does, a refused poll does not move the clock, the
// interval never shrinks, grows by 5 s at most once between two accepted polls and
// stays below its cap, and a tool that keeps to the interval is never refused.
//
// Invariant: DF-10a, DF-10c
func TestPace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		offered := time.Duration(rapid.IntRange(5, 300).Draw(t, "offered")) * time.Second
		p := Pace{Interval: offered}
		now := time.Unix(1_700_000_000, 0)
		if _, a := p.Poll(now); a != PollAccepted {
			t.Fatal("the first poll was refused")
		}
		raised, steady := 0, false
		for range rapid.IntRange(1, 200).Draw(t, "polls") {
			steady = rapid.Bool().Draw(t, "steady")
			if steady {
				now = now.Add(max(0, p.Last.Add(p.Interval-PollJitter).Sub(now)))
			} else {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(70*time.Second)).Draw(t, "after")))
			}
			before := p
			var a PollAnswer
			p, a = p.Poll(now)
			switch {
			case a == PollAccepted:
				raised = 0
				if p.Last != now || p.Interval != before.Interval || p.Refused != 0 {
					t.Fatalf("accepted: %+v after %+v", p, before)
				}
			case steady:
				t.Fatal("a steady tool was refused")
			case p.Last != before.Last:
				t.Fatal("a refused poll moved the clock")
			case p.Interval != before.Interval:
				if raised++; raised > 1 || p.Interval-before.Interval > SlowDownStep || p.Interval < before.Interval {
					t.Fatalf("%s after %s", p.Interval, before.Interval)
				}
			}
			if p.Interval > max(offered, MaxPollInterval) {
				t.Fatalf("the interval is %s", p.Interval)
			}
			if (a == PollDenied) != (p.Refused > MaxRefusedPolls) {
				t.Fatalf("%v after %d refused", a, p.Refused)
			}
		}
	})
}

// TestPaceClockSetBack: a server whose clock is set back refuses no steady tool.
//
// Invariant: DF-10a
func TestPaceClockSetBack(t *testing.T) {
	p, now := Pace{Interval: PollInterval}, time.Unix(1_700_000_000, 0)
	p, _ = p.Poll(now)
	if _, a := p.Poll(now.Add(-time.Millisecond)); a == PollAccepted {
		t.Error("two polls at once are both accepted")
	}
	now = now.Add(-time.Hour)
	for range 3 {
		var a PollAnswer
		if p, a = p.Poll(now); a != PollAccepted {
			t.Fatalf("%v at %s", a, now)
		}
		now = now.Add(PollInterval)
	}
	if _, a := p.Poll(now.Add(-time.Second - PollJitter)); a == PollAccepted {
		t.Error("then the pace is kept no more")
	}
}
