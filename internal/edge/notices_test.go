package edge_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/store"
)

// refreshed renews, and gives the notices that came with it.
func refreshed(t *testing.T, tool *edgetest.Tool) []oauth.Notice {
	t.Helper()
	tool.Take(tool.Post(oauth.PathToken, tool.RefreshParams()))
	return tool.Token.Notices
}

// TestNotices: a person's other installations hear of a device login at their
// next refresh: once, after a restart too, again where the answer was lost; other
// people's, and clients that would not show it, hear nothing.
//
// Invariant: DF-16a
func TestNotices(t *testing.T) {
	s := edgetest.NewServer(t, behindProxy)
	mine, plain, other := s.NewTool(edgetest.Handshake), s.NewTool(edgetest.Bound), s.NewTool(edgetest.Handshake)
	mine.Login()
	plain.Login()
	other.Push()
	other.Browser.Open(other.AuthorizeURL())
	other.Browser.SignIn(edgetest.Other, edgetest.Password)
	other.Allow()
	other.Take(other.Post(oauth.PathToken, other.RedeemParams()))
	s.Clock.Advance(time.Minute)
	for _, tool := range []*edgetest.Tool{mine, plain, other} {
		if got := refreshed(t, tool); len(got) != 0 {
			t.Errorf("nothing has happened, but: %v", got)
		}
	}
	s.Clock.Advance(time.Minute)
	d := startDevice(t, s, edgetest.Handshake)
	d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
	if got := d.poll(t); got != "" {
		t.Fatal(got)
	}
	at := s.Clock.Now()
	s.Clock.Advance(time.Minute)
	s.Restart()
	for _, tool := range []*edgetest.Tool{plain, other, d.tool} {
		if got := refreshed(t, tool); len(got) != 0 {
			t.Errorf("told to whom it does not concern: %+v", got)
		}
	}
	lost := *mine
	want := oauth.Notice{GrantID: d.tool.Token.GrantID, Client: "Keytether", Host: "build-7", Address: "127.0.0.1"}
	for _, tool := range []*edgetest.Tool{&lost, mine} { // the second is the repeat of a lost answer
		got := refreshed(t, tool)
		if len(got) != 1 || !got[0].At.Equal(at.Truncate(time.Microsecond)) {
			t.Fatalf("%+v", got)
		}
		got[0].At = time.Time{}
		if got[0] != want {
			t.Errorf("%+v, want %+v", got[0], want)
		}
	}
	s.Clock.Advance(time.Minute)
	if got := refreshed(t, mine); len(got) != 0 {
		t.Errorf("told again: %+v", got)
	}
	// A second device login is told of from memory, and one that was revoked is not.
	for _, revoked := range []bool{false, true} {
		d := startDevice(t, s, edgetest.Handshake)
		d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
		if got := d.poll(t); got != "" {
			t.Fatal(got)
		}
		if revoked {
			d.cancel()
		}
		s.Clock.Advance(time.Minute)
		if got := refreshed(t, mine); (len(got) == 1) == revoked {
			t.Errorf("revoked %v: %+v", revoked, got)
		}
	}
}

// TestNoticesAreNoHindrance: a store that cannot say what to tell does not keep
// the tokens back.
func TestNoticesAreNoHindrance(t *testing.T) {
	broken := false
	s := edgetest.NewServer(t, edgetest.Options{Store: func(st store.Store) store.Store { return noList{st, &broken} }})
	mine := s.NewTool(edgetest.Handshake)
	mine.Login()
	broken = true
	if got := refreshed(t, mine); len(got) != 0 || mine.Token.AccessToken == "" {
		t.Errorf("%+v", got)
	}
}

type noList struct {
	store.Store
	broken *bool
}

// GrantsOf fails when it is broken.
func (n noList) GrantsOf(ctx context.Context, tenant string, q store.GrantQuery) ([]store.Versioned[grant.Grant], error) {
	if *n.broken {
		return nil, store.ErrUnavailable
	}
	return n.Store.GrantsOf(ctx, tenant, q)
}

// TestBanner: /me tells of device logins until the person says they know them,
// with "This wasn't me" at hand. One that came since the page was shown stays.
//
// Invariant: DF-16a
func TestBanner(t *testing.T) {
	s := edgetest.NewServer(t, behindProxy)
	login := func() *started {
		t.Helper()
		d := startDevice(t, s, edgetest.Bound)
		d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
		if got := d.poll(t); got != "" {
			t.Fatal(got)
		}
		s.Clock.Advance(time.Second)
		return d
	}
	b := s.NewBrowser()
	b.Open(s.Issuer + "/me")
	b.SignIn(edgetest.Email, edgetest.Password)
	if strings.Contains(b.Page.Body, "Was this you?") {
		t.Error("nothing has happened")
	}
	login()
	b.Open(s.Issuer + "/me")
	b.Has(t, http.StatusOK, "Was this you?")
	b.Has(t, http.StatusOK, "<b>Bound CLI</b> on <b>build-7</b> at 127.0.0.1")
	form := b.Form("That was me")
	second := login()
	n := s.Size()

	forged := b.Form("That was me")
	forged.Fields.Set("until", s.Clock.Now().UTC().Format(time.RFC3339Nano))
	b.Post(forged.Action, forged.Fields, "same-origin")
	b.Has(t, http.StatusForbidden, "too old")
	b.Post(form.Action, form.Fields, "cross-site")
	b.Has(t, http.StatusForbidden, "another site")
	s.Expect(n)

	for range 2 { // the second time changes nothing
		b.Post(form.Action, form.Fields, "same-origin")
		b.Has(t, http.StatusOK, "Was this you?") // the second login
		if got := strings.Count(b.Page.Body, "<p id=\"new"); got != 1 {
			t.Errorf("%d logins in the banner", got)
		}
	}
	s.Expect(n, event.LoginsSeen)

	b.Press("This wasn't me")
	b.Has(t, http.StatusOK, "has ended")
	if strings.Contains(b.Page.Body, "Was this you?") {
		t.Error("it is still asked about a login that has ended")
	}
	if got := rfcError(t, second.tool.Post(oauth.PathToken, second.tool.RefreshParams())); got != "invalid_grant" {
		t.Errorf("after This wasn't me: %s", got)
	}
	s.Restart()
	b.Open(s.Issuer + "/me")
	if strings.Contains(b.Page.Body, "Was this you?") {
		t.Error("a restart forgot what the person has seen")
	}
	o := s.NewBrowser()
	login()
	o.Open(s.Issuer + "/me")
	o.SignIn(edgetest.Other, edgetest.Password)
	if strings.Contains(o.Page.Body, "Was this you?") {
		t.Error("another person is told")
	}
}
