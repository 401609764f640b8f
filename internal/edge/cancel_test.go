package edge_test

import (
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
)

func (d *started) cancel() *edgetest.Response {
	return d.tool.Post(oauth.PathRevoke, url.Values{"client_id": {d.tool.Client}, "token": {d.DeviceCode}})
}

// TestCancelDevice stops a tool at each moment of its login.
//
// Invariant: DF-13
func TestCancelDevice(t *testing.T) {
	for _, client := range []string{edgetest.Handshake, edgetest.Plain} {
		t.Run(client, func(t *testing.T) {
			s := edgetest.NewServer(t, edgetest.Options{})
			ended := func(d *started, want ...event.Name) {
				t.Helper()
				n := s.Size()
				for range 2 { // the second finds nothing to do
					if res := d.cancel(); res.Status != http.StatusOK || res.Body != "" {
						t.Errorf("%d %q", res.Status, res.Body)
					}
				}
				s.Expect(n, want...)
			}
			d := startDevice(t, s, client)
			ended(d, event.DeviceDenied)
			if got := d.poll(t); got != "access_denied" {
				t.Errorf("while it waited: %s", got)
			}
			d = startDevice(t, s, client)
			d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
			ended(d, event.DeviceDenied)
			if got := d.poll(t); got != "access_denied" {
				t.Errorf("after Allow: %s", got)
			}
			d = startDevice(t, s, client)
			d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
			if got := d.poll(t); got != "" {
				t.Fatal(got)
			}
			ended(d, event.GrantRevoked)
			if res := d.tool.Post(oauth.PathToken, d.tool.RefreshParams()); res.Status != http.StatusBadRequest {
				t.Errorf("after the tokens: %d %s", res.Status, res.Body)
			}
			d = startDevice(t, s, client)
			s.Clock.Advance(time.Hour)
			if res := d.cancel(); res.Status != http.StatusOK {
				t.Errorf("too late: %d %s", res.Status, res.Body)
			}
			d.DeviceCode = d.DeviceCode[:10] + "x" + d.DeviceCode[11:]
			ended(d)
		})
	}
}

// TestCancelIsForTheHolder has another key, no key and another client try it.
//
// Invariant: DF-13
func TestCancelIsForTheHolder(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	d := startDevice(t, s, edgetest.Handshake)
	n := s.Size()
	for name, tool := range map[string]*edgetest.Tool{"another key": s.NewTool(edgetest.Handshake), "another client": s.NewTool(edgetest.Bound)} {
		other := *d
		other.tool = tool
		if res := other.cancel(); res.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, res.Status, res.Body)
		}
	}
	bare := *d.tool
	bare.Key = nil
	other := *d
	other.tool = &bare
	if res := other.cancel(); res.Status != http.StatusBadRequest {
		t.Errorf("no key: %d %s", res.Status, res.Body)
	}
	if got := s.Events(n); slices.Contains(got, event.DeviceDenied) {
		t.Errorf("recorded %v", got)
	}
	if got := d.poll(t); got != "authorization_pending" {
		t.Errorf("then: %s", got)
	}
}
