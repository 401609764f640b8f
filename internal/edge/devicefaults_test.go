package edge_test

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/dpop"
	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
)

func rfcError(t *testing.T, res *edgetest.Response) string {
	t.Helper()
	if res.Status == http.StatusOK {
		return ""
	}
	var doc oauth.Response
	if err := json.Unmarshal([]byte(res.Body), &doc); err != nil {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	return doc.Error
}

// TestDevicePollsOfOthers: whoever is not the tool that started the login gets
// one of the RFCs' errors, however often; nothing is recorded, and the tool's own
// pace is as if nobody had asked.
//
// Invariant: DF-10c, DF-14a
func TestDevicePollsOfOthers(t *testing.T) {
	type poll struct {
		tool   *edgetest.Tool
		params url.Values
	}
	var random [32]byte
	_, _ = rand.Read(random[:])
	unknown := secret.Mint(secret.Device, random).Reveal()
	for _, c := range []struct {
		name   string
		want   string
		status int
		by     func(s *edgetest.Server, d *started, p poll) *edgetest.Response
	}{
		{"no code", "invalid_request", 400, func(_ *edgetest.Server, _ *started, p poll) *edgetest.Response {
			p.params.Del("device_code")
			return p.tool.Post(oauth.PathToken, p.params)
		}},
		{"no code that we made", "invalid_grant", 400, func(_ *edgetest.Server, _ *started, p poll) *edgetest.Response {
			p.params.Set("device_code", "ktd_nonsense")
			return p.tool.Post(oauth.PathToken, p.params)
		}},
		{"unknown code", "invalid_grant", 400, func(_ *edgetest.Server, _ *started, p poll) *edgetest.Response {
			p.params.Set("device_code", unknown)
			return p.tool.Post(oauth.PathToken, p.params)
		}},
		{"two codes", "invalid_request", 400, func(_ *edgetest.Server, _ *started, p poll) *edgetest.Response {
			p.params.Add("device_code", unknown)
			return p.tool.Post(oauth.PathToken, p.params)
		}},
		{"user code as device code", "invalid_grant", 400, func(_ *edgetest.Server, d *started, p poll) *edgetest.Response {
			p.params.Set("device_code", d.UserCode)
			return p.tool.Post(oauth.PathToken, p.params)
		}},
		{"another client", "invalid_grant", 400, func(_ *edgetest.Server, _ *started, p poll) *edgetest.Response {
			p.params.Set("client_id", edgetest.Handshake)
			return p.tool.Post(oauth.PathToken, p.params)
		}},
		{"no client", "invalid_request", 400, func(_ *edgetest.Server, _ *started, p poll) *edgetest.Response {
			p.params.Del("client_id")
			return p.tool.Post(oauth.PathToken, p.params)
		}},
		{"another key", "invalid_grant", 400, func(s *edgetest.Server, _ *started, p poll) *edgetest.Response {
			p.tool.Key = edgetest.NewKey(t, "")
			return p.tool.Post(oauth.PathToken, p.params)
		}},
		{"no proof", "invalid_dpop_proof", 400, func(s *edgetest.Server, _ *started, p poll) *edgetest.Response {
			return s.Do(s.FormRequest(oauth.PathToken, p.params))
		}},
		{"no nonce", "use_dpop_nonce", 400, func(_ *edgetest.Server, _ *started, p poll) *edgetest.Response {
			p.tool.Nonce = ""
			return p.tool.PostOnce(oauth.PathToken, p.params)
		}},
		{"a proof for elsewhere", "invalid_dpop_proof", 400, func(s *edgetest.Server, _ *started, p poll) *edgetest.Response {
			r := s.FormRequest(oauth.PathToken, p.params)
			r.Header.Set("DPoP", p.tool.Proof(http.MethodPost, s.Issuer+oauth.PathPAR, p.tool.Nonce, ""))
			return s.Do(r)
		}},
		{"two proofs", "invalid_dpop_proof", 400, func(s *edgetest.Server, _ *started, p poll) *edgetest.Response {
			r := s.FormRequest(oauth.PathToken, p.params)
			for range 2 {
				r.Header.Add("DPoP", p.tool.Proof(http.MethodPost, s.Issuer+oauth.PathToken, p.tool.Nonce, ""))
			}
			return s.Do(r)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := edgetest.NewServer(t, edgetest.Options{})
			d := startDevice(t, s, edgetest.Bound)
			if got := d.poll(t); got != "authorization_pending" {
				t.Fatal(got)
			}
			n := s.Size()
			for range grant.MaxRefusedPolls + 5 {
				tool := *d.tool
				res := c.by(s, d, poll{&tool, d.params()})
				if got := rfcError(t, res); got != c.want || res.Status != c.status {
					t.Fatalf("%d %s, want %d %s", res.Status, got, c.status, c.want)
				}
			}
			s.Expect(n)
			s.Clock.Advance(grant.PollInterval)
			if got := d.poll(t); got != "authorization_pending" {
				t.Fatalf("the tool's own poll, in time: %s", got)
			}
			d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
			s.Clock.Advance(grant.PollInterval)
			if got := d.poll(t); got != "" {
				t.Fatalf("after Allow: %s", got)
			}
		})
	}
}

// TestDevicePace walks through slow_down: the first poll is never refused, a
// second of jitter is forgiven, 5 s are added for good and once between two
// accepted polls, a refused poll does not move the clock.
//
// Invariant: DF-10a
func TestDevicePace(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	d := startDevice(t, s, edgetest.Bound)
	if d.Interval != 5 || d.ExpiresIn != 20*60 || d.TypeWithin != 5*60 || d.VerificationURI != s.Issuer+"/device" {
		t.Errorf("%+v", []any{d.Interval, d.ExpiresIn, d.TypeWithin, d.VerificationURI})
	}
	n := s.Size()
	for i, step := range []struct {
		after time.Duration
		want  string
	}{
		{0, "authorization_pending"}, // the first, at once
		{4 * time.Second, "authorization_pending"},
		{3900 * time.Millisecond, "slow_down"}, // 5 s → 10 s
		{4 * time.Second, "slow_down"},         // 7.9 s; still 10 s
		{1 * time.Second, "slow_down"},         // 8.9 s
		{100 * time.Millisecond, "authorization_pending"},
		{9 * time.Second, "authorization_pending"}, // for good
		{8 * time.Second, "slow_down"},             // 10 s → 15 s
		{6 * time.Second, "authorization_pending"},
	} {
		s.Clock.Advance(step.after)
		if got := d.poll(t); got != step.want {
			t.Errorf("poll %d: %s, want %s", i, got, step.want)
		}
	}
	s.Expect(n)
}

// TestDeviceEnds polls at every end that a login can come to, twice: the error is
// the RFC's, and the end is recorded once.
//
// Invariant: DF-10b
func TestDeviceEnds(t *testing.T) {
	for _, c := range []struct {
		name, client, want string
		by                 func(t *testing.T, s *edgetest.Server, d *started)
		events             []event.Name
	}{
		{"not typed", edgetest.Bound, "expired_token", func(_ *testing.T, s *edgetest.Server, _ *started) {
			s.Clock.Advance(grant.UserCodeLife)
		}, []event.Name{event.DeviceExpired}},
		{"typed, not decided", edgetest.Bound, "expired_token", func(t *testing.T, s *edgetest.Server, d *started) {
			s.Clock.Advance(grant.UserCodeLife - time.Second)
			b := s.NewBrowser()
			b.Open(d.VerificationURI)
			b.Press("Continue", "user_code", d.UserCode)
			if got := d.poll(t); got != "authorization_pending" {
				t.Error(got)
			}
			s.Clock.Advance(grant.DeviceCodeLife)
		}, []event.Name{event.DeviceOpened, event.DeviceExpired}},
		{"denied", edgetest.Bound, "access_denied", func(t *testing.T, s *edgetest.Server, d *started) {
			d.decide(t, s.NewBrowser(), d.UserCode, "Deny")
		}, []event.Name{event.DeviceOpened, event.SignInSucceeded, event.DeviceDenied}},
		{"approved, never fetched", edgetest.Bound, "expired_token", func(t *testing.T, s *edgetest.Server, d *started) {
			d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
			s.Clock.Advance(grant.DeviceCodeLife)
		}, []event.Name{event.DeviceOpened, event.SignInSucceeded, event.DeviceApproved, event.DeviceExpired}},
		{"redeemed without a key", edgetest.Plain, "invalid_grant", func(t *testing.T, s *edgetest.Server, d *started) {
			d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
			if got := d.poll(t); got != "" {
				t.Error(got)
			}
		}, []event.Name{event.DeviceOpened, event.SignInSucceeded, event.DeviceApproved, event.DeviceRedeemed, event.GrantCreated, event.TokenIssued}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := edgetest.NewServer(t, edgetest.Options{})
			d := startDevice(t, s, c.client)
			n := s.Size()
			c.by(t, s, d)
			for range 2 {
				s.Clock.Advance(grant.PollInterval)
				if got := d.poll(t); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
			}
			s.Expect(n, c.events...)
		})
	}
}

// TestDeviceLostAnswer: the answer to a redeemed code may be had again by the
// same key, with the same refresh token, until that token is used.
//
// Invariant: DF-14b
func TestDeviceLostAnswer(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	d := startDevice(t, s, edgetest.Bound)
	d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
	if got := d.poll(t); got != "" {
		t.Fatal(got)
	}
	first := d.tool.Token
	s.Restart()
	s.Clock.Advance(grant.PollInterval)
	n := s.Size()
	if got := d.poll(t); got != "" {
		t.Fatal(got)
	}
	s.Expect(n, event.DeviceRepeated, event.TokenIssued)
	if again := d.tool.Token; again.RefreshToken != first.RefreshToken || again.GrantID != first.GrantID || again.AccessToken == first.AccessToken {
		t.Error("another grant or refresh token, or the same access token")
	}
	thief := *d.tool
	thief.Key = edgetest.NewKey(t, "")
	s.Clock.Advance(grant.PollInterval)
	if got := rfcError(t, thief.Post(oauth.PathToken, d.params())); got != "invalid_grant" {
		t.Errorf("another key: %s", got)
	}
	d.tool.Take(d.tool.Post(oauth.PathToken, d.tool.RefreshParams()))
	s.Clock.Advance(grant.PollInterval)
	n = s.Size()
	if got := d.poll(t); got != "invalid_grant" {
		t.Errorf("after its refresh token was used: %s", got)
	}
	s.Expect(n)
}

// TestDeviceRestart restarts the server at every step of a login. Nothing is
// lost.
func TestDeviceRestart(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	d := startDevice(t, s, edgetest.Bound)
	s.Restart()
	if got := d.poll(t); got != "authorization_pending" {
		t.Fatalf("between start and poll: %s", got)
	}
	b := s.NewBrowser()
	b.Open(d.VerificationURI)
	s.Restart()
	b.Press("Continue", "user_code", d.UserCode)
	s.Restart()
	b.SignIn(edgetest.Email, edgetest.Password)
	s.Restart()
	b.Press("Allow")
	b.Has(t, http.StatusOK, "Allowed")
	s.Restart()
	if got := d.poll(t); got != "" {
		t.Fatalf("between Allow and poll: %s", got)
	}
}

// TestDeviceClock: a device whose clock is off by an hour logs in.
func TestDeviceClock(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		s := edgetest.NewServer(t, edgetest.Options{})
		d := startDevice(t, s, edgetest.Bound)
		d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
		proof, err := dpop.New(d.tool.Key, dpop.Request{
			Method: http.MethodPost, URL: s.Issuer + oauth.PathToken, Nonce: d.tool.Nonce, IssuedAt: s.Clock.Now().Add(off), ID: edgetest.Random(),
		})
		if err != nil {
			t.Fatal(err)
		}
		r := s.FormRequest(oauth.PathToken, d.params())
		r.Header.Set("DPoP", proof)
		d.tool.Take(s.Do(r))
	}
}

// pollAtOnce sends n polls at the same time and counts the answers.
func (d *started) pollAtOnce(t *testing.T, n int) map[string]int {
	t.Helper()
	var reqs []*http.Request
	for range n {
		r := d.s.FormRequest(oauth.PathToken, d.params())
		if d.tool.Key != nil {
			r.Header.Set("DPoP", d.tool.Proof(http.MethodPost, d.s.Issuer+oauth.PathToken, d.tool.Nonce, ""))
		}
		reqs = append(reqs, r)
	}
	out := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, r := range reqs {
		wg.Go(func() {
			res := d.s.Do(r)
			mu.Lock()
			defer mu.Unlock()
			out[rfcError(t, res)]++
		})
	}
	wg.Wait()
	return out
}

// TestDevicePollsAtOnce: of many polls at once exactly one gets the token.
//
// Invariant: DF-14b
func TestDevicePollsAtOnce(t *testing.T) {
	for _, client := range []string{edgetest.Bound, edgetest.Plain} {
		s := edgetest.NewServer(t, edgetest.Options{})
		d := startDevice(t, s, client)
		d.decide(t, s.NewBrowser(), d.UserCode, "Allow")
		n := s.Size()
		if got := d.pollAtOnce(t, 8); got[""] != 1 || got["slow_down"] != 7 {
			t.Errorf("%s: %v", client, got)
		}
		s.Expect(n, event.DeviceRedeemed, event.GrantCreated, event.TokenIssued)
	}
}

// TestDeviceDecidedAtOnce presses both buttons at the same time, of which one
// counts.
func TestDeviceDecidedAtOnce(t *testing.T) {
	for range 5 {
		s := edgetest.NewServer(t, edgetest.Options{})
		d := startDevice(t, s, edgetest.Bound)
		b := s.NewBrowser()
		b.Open(d.VerificationURI)
		b.Press("Continue", "user_code", d.UserCode)
		b.SignIn(edgetest.Email, edgetest.Password)
		n := s.Size()
		var wg sync.WaitGroup
		for _, decision := range []string{"allow", "deny"} {
			form := b.Form("Allow")
			form.Fields.Set("decision", decision)
			r := s.FormRequest("/device/decide", form.Fields)
			for _, c := range b.Cookies() {
				r.AddCookie(c)
			}
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			wg.Go(func() { s.Do(r) })
		}
		wg.Wait()
		got := s.Events(n)
		if len(got) != 1 || !slices.Contains([]event.Name{event.DeviceApproved, event.DeviceDenied}, got[0]) {
			t.Fatalf("recorded %v", got)
		}
		want := map[event.Name]string{event.DeviceApproved: "", event.DeviceDenied: "access_denied"}[got[0]]
		if answer := d.poll(t); answer != want {
			t.Errorf("%v, but the poll says %q", got, answer)
		}
	}
}

// TestDeviceApprovedLate presses Allow when it is over.
func TestDeviceApprovedLate(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	d := startDevice(t, s, edgetest.Bound)
	b := s.NewBrowser()
	b.Open(d.VerificationURI)
	b.Press("Continue", "user_code", d.UserCode)
	b.SignIn(edgetest.Email, edgetest.Password)
	s.Clock.Advance(grant.DeviceCodeLife)
	n := s.Size()
	b.Press("Allow")
	b.Has(t, http.StatusBadRequest, "took too long")
	s.Expect(n)
	if got := d.poll(t); got != "expired_token" {
		t.Error(got)
	}
}

// TestDeviceForeignBrowser: only the browser that typed the code decides.
func TestDeviceForeignBrowser(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	d := startDevice(t, s, edgetest.Bound)
	b, other := s.NewBrowser(), s.NewBrowser()
	b.Open(d.VerificationURI)
	b.Press("Continue", "user_code", d.UserCode)
	page := b.URL
	n := s.Size()
	other.Open(d.VerificationURI)
	other.Press("Continue", "user_code", d.UserCode)
	other.Has(t, http.StatusBadRequest, "no login with this code")
	other.Open(page)
	other.Has(t, http.StatusBadRequest, "another browser")
	s.Expect(n)
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Open(d.VerificationURI) // who comes back in the same browser goes on
	b.Press("Continue", "user_code", d.UserCode)
	b.Press("Allow")
	b.Has(t, http.StatusOK, "Allowed")
}

// TestDeviceTwoCodes: a person with two codes open decides each for itself.
func TestDeviceTwoCodes(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	first, second := startDevice(t, s, edgetest.Bound), startDevice(t, s, edgetest.Handshake)
	b := s.NewBrowser()
	b.Open(first.VerificationURI)
	b.Press("Continue", "user_code", first.UserCode)
	page := b.URL
	b.SignIn(edgetest.Email, edgetest.Password)
	b.Open(second.VerificationURI)
	b.Press("Continue", "user_code", second.UserCode)
	b.Has(t, http.StatusOK, "Allow Keytether?")
	b.Press("Deny")
	b.Open(page)
	b.Has(t, http.StatusOK, "Allow Bound CLI?")
	b.Press("Allow")
	if got := first.poll(t); got != "" {
		t.Errorf("the first: %s", got)
	}
	if got := second.poll(t); got != "access_denied" {
		t.Errorf("the second: %s", got)
	}
}
