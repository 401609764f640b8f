package edge_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/store"
)

// TestDeviceHammering ends a login whose tool goes on in spite of slow_down.
//
// Invariant: DF-10b
func TestDeviceHammering(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	d := startDevice(t, s, edgetest.Bound)
	b := s.NewBrowser()
	b.Open(d.VerificationURI)
	b.Press("Continue", "user_code", d.UserCode)
	b.SignIn(edgetest.Email, edgetest.Password)
	n := s.Size()
	got := map[string]int{}
	for range grant.MaxRefusedPolls + 4 {
		got[d.poll(t)]++
	}
	if got["authorization_pending"] != 1 || got["slow_down"] != grant.MaxRefusedPolls || got["access_denied"] != 3 {
		t.Errorf("%v", got)
	}
	s.Expect(n, event.DeviceDenied)
	if r := s.Since(n); r[0].Reason != event.ReasonHammering {
		t.Errorf("%+v", r)
	}
	b.Press("Allow")
	b.Has(t, http.StatusBadRequest, "already decided")
	s.Clock.Advance(time.Minute)
	if got := d.poll(t); got != "access_denied" {
		t.Errorf("later: %s", got)
	}
}

// TestDeviceHammeringAfterAllow: a tool that hammers on after the person's Allow is
// told to slow down, not that it was denied, for it was not; it gets the token once it
// does as it is told.
//
// Invariant: DF-10b
func TestDeviceHammeringAfterAllow(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	d := startDevice(t, s, edgetest.Bound)
	if got := d.poll(t); got != "authorization_pending" {
		t.Fatal(got)
	}
	d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
	n := s.Size()
	for i := range grant.MaxRefusedPolls + 4 {
		if got := d.poll(t); got != "slow_down" {
			t.Fatalf("poll %d: %s", i, got)
		}
	}
	s.Expect(n)
	s.Clock.Advance(grant.PollInterval + grant.SlowDownStep)
	if got := d.poll(t); got != "" {
		t.Errorf("at its pace: %s", got)
	}
	for range grant.MaxRefusedPolls + 4 { // the answer was lost
		if got := d.poll(t); got != "slow_down" {
			t.Fatalf("again, too soon: %s", got)
		}
	}

	d = startDevice(t, s, edgetest.Bound)
	d.poll(t)
	d.decide(t, s.NewBrowser(), d.UserCode, "Deny")
	for range grant.MaxRefusedPolls {
		d.poll(t)
	}
	if got := d.poll(t); got != "access_denied" {
		t.Errorf("after Deny: %s", got)
	}
}

// crowded is a store with so many device authorizations pending.
type crowded struct {
	store.Store
	pending int
}

func (c crowded) PendingDevices(context.Context, string, time.Time) (int, error) {
	return c.pending, nil
}

// TestDeviceFull: where more device authorizations wait than there is memory for, no
// more are begun, whatever addresses they are asked from; a million are no crowd.
//
// Invariant: DF-12d
func TestDeviceFull(t *testing.T) {
	for pending, want := range map[int]int{1_000_000: http.StatusOK, 2_000_000: http.StatusServiceUnavailable} {
		s := edgetest.NewServer(t, edgetest.Options{Store: func(st store.Store) store.Store { return crowded{st, pending} }})
		tool := s.NewTool(edgetest.Bound)
		n := s.Size()
		res := tool.Post(oauth.PathDevice, url.Values{"client_id": {tool.Client}, "scope": {"read"}})
		if res.Status != want {
			t.Errorf("at %d: %d %s", pending, res.Status, res.Body)
		}
		if want == http.StatusOK {
			continue
		}
		if res.Header.Get("Retry-After") == "" {
			t.Error("it is not said when to come again")
		}
		s.Expect(n)
		s.Clock.Advance(grant.DeviceCodeLife)
		startDevice(t, s, edgetest.Bound)
	}
}
