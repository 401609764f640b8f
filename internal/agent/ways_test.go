package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

func onHeadless(o *Options) {
	o.here = func() machine { return machine{os: "linux", container: "there is /.dockerenv"} }
}

func soonSecond(o *Options) { o.FallTime = 20 * time.Millisecond }

// follow runs a login and hands each event on.
func (r *rig) follow(ctx context.Context, req agentwire.LoginRequest, on func(agentwire.Event)) (agentwire.Event, error) {
	r.t.Helper()
	if req.Issuer == "" {
		req.Issuer = r.server.Issuer
	}
	var last agentwire.Event
	err := r.Login(ctx, req, func(e agentwire.Event) error {
		last = e
		if on != nil {
			on(e)
		}
		return nil
	})
	return last, err
}

// TestDeviceLogin on a machine without a browser: the agent chooses, says why,
// and shows the person's part alone.
//
// Invariant: DF-15, DF-18
func TestDeviceLogin(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether(), onHeadless)
	var seen []agentwire.Event
	e, err := r.follow(t.Context(), agentwire.LoginRequest{Scope: "read", LoginHint: "person@example.test"}, func(e agentwire.Event) {
		seen = append(seen, e)
		if e.Event == agentwire.EventDeviceCode {
			r.server.Decide()
		}
	})
	if err != nil || e.Done.Flow != "device" || e.Done.Username != "person@example.test" {
		t.Fatalf("%v %+v", err, e)
	}
	c := seen[0]
	if len(seen) != 2 || c.Event != agentwire.EventDeviceCode || c.Flow != "device" || !strings.Contains(c.Reason, "container") ||
		c.UserCode != "WDJB-MJHT" || c.VerificationURI != r.server.Issuer+"/device" || c.Interval != 5 ||
		c.ExpiresAt.Sub(r.clock.Now()).Round(time.Minute) != 5*time.Minute {
		t.Errorf("%+v", seen)
	}
	if n := r.server.Count(oauth.PathToken); n > 3 {
		t.Errorf("%d token requests", n)
	}
	if tok, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil || tok.TokenType != "DPoP" {
		t.Errorf("%v %v", tok, err)
	}
	for _, e := range seen {
		line, err := e.MarshalJSON()
		for what, v := range r.server.Secrets() {
			if err != nil || strings.Contains(string(line), v) || strings.Contains(r.log.String(), v) {
				t.Errorf("%s is on the wire or in the log (%v)", what, err)
			}
		}
	}
}

// TestDeviceLoginCalledOff: the caller goes away, the server is told, and the
// key that told it goes after that.
//
// Invariant: DF-13
func TestDeviceLoginCalledOff(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	ctx, cancel := context.WithCancel(t.Context())
	_, err := r.follow(ctx, agentwire.LoginRequest{Flow: agentwire.FlowDevice}, func(e agentwire.Event) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	eventually(t, "not cancelled at the server", func() bool { return r.server.Count("cancelled") == 1 })
	eventually(t, "the login goes on", func() bool { return r.logins() == 0 })
	r.nothingLeft()
}

func TestDeviceLoginDenied(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.server.Deny()
	r.server.Decide()
	if e, err := r.follow(t.Context(), agentwire.LoginRequest{Flow: agentwire.FlowDevice}, nil); !errors.Is(err, agentwire.Denied) || e.Event != agentwire.EventError {
		t.Errorf("got %v", err)
	}
	r.nothingLeft()
}

func TestDeviceLoginByAnother(t *testing.T) {
	r := newRig(t, oauthclienttest.Keytether())
	r.server.Decide()
	if _, err := r.follow(t.Context(), agentwire.LoginRequest{Flow: agentwire.FlowDevice, LoginHint: "boss@example.test"}, nil); !errors.Is(err, agentwire.AccountMismatch) {
		t.Errorf("got %v", err)
	}
	if r.server.Count("revoked") != 1 {
		t.Error("not revoked")
	}
}

// TestOtherFlowAlone: the choice was ours, and the server has only the other flow.
func TestOtherFlowAlone(t *testing.T) {
	t.Run("no device flow", func(t *testing.T) {
		c := oauthclienttest.Keytether()
		c.Device = nil
		r := newRig(t, c, onHeadless)
		reason := ""
		e, err := r.follow(t.Context(), agentwire.LoginRequest{}, func(e agentwire.Event) {
			if e.Event == agentwire.EventBrowser {
				reason = e.Reason
				go func() { _, _ = oauthclienttest.NewBrowser().Finish(e.URL) }()
			}
		})
		if err != nil || e.Done.Flow != "browser" || !strings.Contains(reason, "no device login") {
			t.Errorf("%v %+v %q", err, e, reason)
		}
		if _, err := r.follow(t.Context(), agentwire.LoginRequest{Flow: agentwire.FlowDevice}, nil); !errors.Is(err, agentwire.Failed) {
			t.Errorf("by word: %v", err)
		}
	})
	t.Run("not for this client", func(t *testing.T) {
		r := newRig(t, oauthclienttest.Keytether(), onHeadless)
		r.server.On(oauth.PathDevice, func(w http.ResponseWriter, _ *http.Request, _ func() *httptest.ResponseRecorder) bool {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"unauthorized_client"}`))
			return true
		})
		if e, err := r.logIn(agentwire.LoginRequest{}); err != nil || e.Done.Flow != "browser" {
			t.Errorf("%v %+v", err, e)
		}
	})
	t.Run("no browser flow", func(t *testing.T) {
		r := newRig(t, oauthclienttest.Keytether())
		r.server.Metadata(func(m *oauth.Metadata) { m.AuthorizationEndpoint = "" })
		r.server.Decide()
		if e, err := r.follow(t.Context(), agentwire.LoginRequest{}, nil); err != nil || e.Done.Flow != "device" {
			t.Errorf("%v %+v", err, e)
		}
	})
}

// TestSecondWay: the browser is away, a device code comes beside it, and the
// first that is finished counts.
//
// Invariant: DF-19
func TestSecondWay(t *testing.T) {
	t.Run("the device finishes", func(t *testing.T) {
		r := newRig(t, oauthclienttest.Keytether(), soonSecond)
		var kinds []string
		link := ""
		e, err := r.follow(t.Context(), agentwire.LoginRequest{}, func(e agentwire.Event) {
			kinds = append(kinds, e.Event)
			switch e.Event {
			case agentwire.EventBrowser:
				link = e.URL
				_, _ = oauthclienttest.NewBrowser().Open(e.URL) // and something swallows the rest
			case agentwire.EventDeviceCode:
				if !strings.Contains(e.Reason, "not come back") {
					t.Errorf("because %q", e.Reason)
				}
				r.server.Decide()
			}
		})
		if err != nil || e.Done.Flow != "device" || strings.Join(kinds, " ") != "browser device_code done" {
			t.Fatalf("%v %v %+v", err, kinds, e)
		}
		eventually(t, "the listener is still there", func() bool {
			res, err := http.Get(link)
			if err == nil {
				_ = res.Body.Close()
			}
			return err != nil
		})
	})
	t.Run("the browser finishes", func(t *testing.T) {
		r := newRig(t, oauthclienttest.Keytether(), soonSecond)
		link := ""
		e, err := r.follow(t.Context(), agentwire.LoginRequest{}, func(e agentwire.Event) {
			switch e.Event {
			case agentwire.EventBrowser:
				link = e.URL // nobody opens it yet
			case agentwire.EventDeviceCode:
				if !strings.Contains(e.Reason, "not opened") {
					t.Errorf("because %q", e.Reason)
				}
				go func() { _, _ = oauthclienttest.NewBrowser().Finish(link) }()
			}
		})
		if err != nil || e.Done.Flow != "browser" {
			t.Fatalf("%v %+v", err, e)
		}
		eventually(t, "the device login was not cancelled", func() bool { return r.server.Count("cancelled") == 1 })
		if _, err := r.Token(t.Context(), agentwire.TokenRequest{}); err != nil || r.server.Count("revoked") != 0 {
			t.Errorf("%v, revoked %d", err, r.server.Count("revoked"))
		}
	})
	t.Run("both finish", func(t *testing.T) {
		r := newRig(t, oauthclienttest.Keytether())
		r.mustLogIn()
		a := newAgent(t.Context(), r.opt)
		reach, err := oauthclient.NewHTTP(nil)
		if err != nil {
			t.Fatal(err)
		}
		key, err := r.store.Key(t.Context(), keyName(r.server.Issuer))
		if err != nil {
			t.Fatal(err)
		}
		c, err := oauthclient.Open(t.Context(), oauthclient.Env{HTTP: reach, Now: r.clock.Now, Random: rand.Reader}, r.server.Issuer, "keytether", key)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r.server.Decide()
		d, err := c.StartDevice(t.Context(), oauthclient.LoginRequest{})
		if err != nil {
			t.Fatal(err)
		}
		g, err := d.Wait()
		results := make(chan result, 1)
		results <- result{nil, g, err}
		(&attempt{a: a, client: c, ctx: t.Context()}).rest(results, 1)
		a.wait.Wait()
		if err != nil || r.server.Count("revoked") != 1 {
			t.Errorf("%v: what came second lives on", err)
		}
	})
	t.Run("denied by one", func(t *testing.T) {
		r := newRig(t, oauthclienttest.Keytether(), soonSecond)
		r.server.Deny()
		_, err := r.follow(t.Context(), agentwire.LoginRequest{}, func(e agentwire.Event) {
			if e.Event == agentwire.EventDeviceCode {
				r.server.Decide()
			}
		})
		if !errors.Is(err, agentwire.Denied) {
			t.Errorf("got %v", err)
		}
		r.nothingLeft()
	})
	t.Run("not when it was asked for", func(t *testing.T) {
		r := newRig(t, oauthclienttest.Keytether(), soonSecond, func(o *Options) { o.LoginTime = 200 * time.Millisecond })
		_, err := r.follow(t.Context(), agentwire.LoginRequest{Flow: agentwire.FlowBrowser}, func(e agentwire.Event) {
			if e.Event == agentwire.EventDeviceCode {
				t.Error("offered all the same")
			}
		})
		if !errors.Is(err, agentwire.Expired) {
			t.Errorf("got %v", err)
		}
	})
}
