package agent

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

// features are what another server has or has not, and what status calls the lack.
func features() []struct {
	lack string
	on   func(c *oauthclienttest.Config)
} {
	return []struct {
		lack string
		on   func(c *oauthclienttest.Config)
	}{
		{agentwire.LackDPoP, func(c *oauthclienttest.Config) { c.DPoP = true }},
		{agentwire.LackPAR, func(c *oauthclienttest.Config) { c.PAR = true }},
		{agentwire.LackISS, func(c *oauthclienttest.Config) { c.ISS = true }},
		{agentwire.LackFormPost, func(c *oauthclienttest.Config) { c.FormPost = true }},
		{agentwire.LackRevocation, func(c *oauthclienttest.Config) { c.NoRevocation = false }},
		{agentwire.LackNonce, func(c *oauthclienttest.Config) { c.Nonces = true }},
		{agentwire.LackRotation, func(c *oauthclienttest.Config) { c.NoRotation = false }},
		{agentwire.LackIdentity, func(c *oauthclienttest.Config) { c.OpenID = true }},
		{"", func(c *oauthclienttest.Config) { c.Register = new(oauthclienttest.Register) }},
	}
}

// plainest is a server that conforms and does nothing more.
func plainest() oauthclienttest.Config {
	return oauthclienttest.Config{
		NoRevocation: true, NoRotation: true, Subject: "42", Email: "p@example.test", Device: &oauthclienttest.Device{Interval: 1},
	}
}

// TestAnyServer logs in, renews twice, shows the status and logs out at servers
// that are not ours: each feature alone, and all but each, by both flows.
//
// Invariant: DF-23
func TestAnyServer(t *testing.T) {
	list := features()
	for i := -1; i <= len(list); i++ {
		for _, but := range []bool{false, true} {
			c, lacks := plainest(), []string{}
			for j, f := range list {
				if (i == j) != but {
					f.on(&c)
				} else if f.lack != "" {
					lacks = append(lacks, f.lack)
				}
			}
			name := fmt.Sprintf("feature %d alone", i)
			if but {
				name = fmt.Sprintf("all but feature %d", i)
			}
			flows := []string{agentwire.FlowBrowser, agentwire.FlowDevice}
			if 0 < i && i < 4 { // PAR, iss and form_post are the browser's alone
				flows = flows[:1]
			}
			for _, flow := range flows {
				t.Run(name+" "+flow, func(t *testing.T) {
					t.Parallel()
					device := *c.Device
					c := c
					c.Device = &device
					playAnyServer(t, c, flow, lacks, nil)
				})
			}
		}
	}
}

// playAnyServer plays one login from its beginning to its end.
func playAnyServer(t *testing.T, c oauthclienttest.Config, flow string, lacks []string, odd func(*oauthclienttest.Server)) {
	t.Helper()
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	c.Now = now
	r := newRig(t, c, func(o *Options) { o.Clock = now })
	extensions := watchExtensions(t, r.server)
	if odd != nil {
		odd(r.server)
	}
	r.server.Decide()
	e, err := r.follow(t.Context(), agentwire.LoginRequest{Flow: flow, Scope: "read", Resource: resource}, func(e agentwire.Event) {
		if e.Event == agentwire.EventBrowser {
			go func() { _, _ = oauthclienttest.NewBrowser().Finish(e.URL) }()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if e.Done.Flow != flow || e.Done.ClientRegistered != (c.Register != nil) || (e.Done.Subject == "42") != c.OpenID {
		t.Errorf("%+v", e.Done)
	}
	want := map[bool]string{true: "DPoP", false: "Bearer"}[c.DPoP]
	for range 3 {
		tok, err := r.Token(t.Context(), agentwire.TokenRequest{})
		if err != nil || tok.TokenType != want {
			t.Fatalf("%v %v", tok.TokenType, err)
		}
		a, err := r.Authorize(t.Context(), agentwire.AuthorizeRequest{Method: "GET", URL: resource + "/x"})
		if err != nil || a.DPoP.IsZero() == c.DPoP {
			t.Errorf("headers: %v", err)
		}
		ahead.Add(int64(10 * time.Minute))
	}
	if n := r.server.Count("refresh"); n != 2 {
		t.Errorf("renewed %d times", n)
	}
	s, err := r.Status(t.Context())
	if err != nil || len(s.Profiles) != 1 {
		t.Fatal(err)
	}
	// What follows of another: with DPoP a refresh token need not rotate, without it
	// there are no nonces; and no server but ours has the handshake.
	lacks = slices.DeleteFunc(slices.Clone(lacks), func(l string) bool {
		return l == agentwire.LackRotation && c.DPoP || l == agentwire.LackNonce && !c.DPoP
	})
	lacks = append(lacks, agentwire.LackHandshake)
	if got := s.Profiles[0].Missing; !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(lacks))) {
		t.Errorf("missing %v, want %v", got, lacks)
	}
	out, err := r.Logout(t.Context(), agentwire.LogoutRequest{})
	if err != nil || !out.Wiped || out.Revoked == c.NoRevocation || out.NoRevocation != c.NoRevocation || (out.Warning == "") == c.NoRevocation {
		t.Errorf("%+v %v", out, err)
	}
	if n := r.server.Count("revoked"); (n == 1) == c.NoRevocation {
		t.Errorf("revoked %d", n)
	}
	for _, seen := range extensions() {
		t.Errorf("another server was told %s", seen)
	}
	for what, v := range r.server.Secrets() {
		if strings.Contains(r.log.String(), v) {
			t.Errorf("%s is in the log", what)
		}
	}
}

// watchExtensions gives what of our own additions was sent.
func watchExtensions(t *testing.T, s *oauthclienttest.Server) func() []string {
	t.Helper()
	var mu sync.Mutex
	var seen []string
	for _, path := range []string{oauth.PathPAR, oauth.PathAuthorize, oauth.PathToken, oauth.PathDevice, oauth.PathRevoke} {
		s.On(path, func(_ http.ResponseWriter, r *http.Request, _ func() *httptest.ResponseRecorder) bool {
			_ = r.ParseForm()
			mu.Lock()
			defer mu.Unlock()
			for name := range maps.Keys(r.Form) {
				if strings.HasPrefix(name, "keytether_") || strings.HasPrefix(name, "handshake") {
					seen = append(seen, name)
				}
			}
			if r.Header.Get("Prefer") != "" {
				seen = append(seen, "Prefer")
			}
			return false
		})
	}
	return func() []string { mu.Lock(); defer mu.Unlock(); return slices.Clone(seen) }
}

// TestOddServers are conforming ones that leave out what they may, and ones
// between which and us something answers in HTML.
//
// Invariant: DF-23
func TestOddServers(t *testing.T) {
	full := func() oauthclienttest.Config {
		c := plainest()
		for _, f := range features() {
			f.on(&c)
		}
		c.Register = nil
		return c
	}
	html := func(status int, times int, paths ...string) func(*oauthclienttest.Server) {
		return func(s *oauthclienttest.Server) {
			for _, path := range paths {
				left := int32(times)
				s.On(path, func(w http.ResponseWriter, _ *http.Request, _ func() *httptest.ResponseRecorder) bool {
					if atomic.AddInt32(&left, -1) < 0 {
						return false
					}
					w.Header().Set("Content-Type", "text/html")
					w.WriteHeader(status)
					_, _ = w.Write([]byte("<html><h1>Bad request</h1>"))
					return true
				})
			}
		}
	}
	for name, tt := range map[string]struct {
		change func(*oauthclienttest.Config)
		odd    func(*oauthclienttest.Server)
		flows  []string
	}{
		"parameters ignored": {func(c *oauthclienttest.Config) {
			c.Ignores = []string{"resource", "login_hint", "dpop_jkt", "token_type_hint"}
		}, nil, []string{agentwire.FlowBrowser, agentwire.FlowDevice}},
		"no expires_in":           {func(c *oauthclienttest.Config) { c.NoExpiry = true }, nil, []string{agentwire.FlowBrowser, agentwire.FlowDevice}},
		"no interval":             {func(c *oauthclienttest.Config) { c.Device.Interval = 0 }, nil, []string{agentwire.FlowDevice}},
		"a poll answered in HTML": {func(*oauthclienttest.Config) {}, html(http.StatusBadRequest, 1, oauth.PathToken), []string{agentwire.FlowDevice}},
	} {
		for _, flow := range tt.flows {
			t.Run(name+" "+flow, func(t *testing.T) {
				t.Parallel()
				c := full()
				tt.change(&c)
				playAnyServer(t, c, flow, nil, tt.odd)
			})
		}
	}
	t.Run("errors in HTML", func(t *testing.T) {
		t.Parallel()
		for _, path := range []string{oauth.PathPAR, oauth.PathToken, oauth.PathDevice} {
			r := newRig(t, full())
			html(http.StatusForbidden, 1000, path)(r.server)
			flow := agentwire.FlowBrowser
			if path == oauth.PathDevice {
				flow = agentwire.FlowDevice
			}
			_, err := r.logIn(agentwire.LoginRequest{Flow: flow})
			if e := agentwire.AsError(err, ""); e == nil || e.Code != agentwire.Failed || strings.Contains(e.Error(), "<") || !strings.Contains(e.Why, "status 403") {
				t.Errorf("%s: %v", path, err)
			}
			r.nothingLeft()
		}
	})
	t.Run("a renewal answered in HTML", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, full())
		r.mustLogIn()
		html(http.StatusBadRequest, 1, oauth.PathToken)(r.server)
		r.clock.Advance(10 * time.Minute)
		if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err == nil {
			t.Error("no error")
		}
		r.clock.Advance(10 * time.Second)
		if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil {
			t.Errorf("the login was lost: %v", err)
		}
	})
}
