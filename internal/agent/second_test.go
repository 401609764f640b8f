package agent

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/agentwire"
	"github.com/keytether/keytether/internal/keystore"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
)

// TestLoginCodeAskedFor: a code comes beside the browser as soon as somebody asks,
// once, and what was done in the browser still counts.
//
// Invariant: DF-19
func TestLoginCodeAskedFor(t *testing.T) {
	for _, finisher := range []string{"device", "browser"} {
		t.Run("finished by the "+finisher, func(t *testing.T) {
			r := newRig(t, oauthclienttest.Keytether())
			var kinds []string
			var page oauthclienttest.Page
			b := oauthclienttest.NewBrowser()
			name := ""
			e, err := r.follow(t.Context(), agentwire.LoginRequest{}, func(e agentwire.Event) {
				kinds = append(kinds, e.Event)
				switch e.Event {
				case agentwire.EventBrowser:
					name = e.Login
					page, _ = b.Open(e.URL)
					for range 2 {
						if err := r.LoginCode(t.Context(), agentwire.LoginCodeRequest{Login: name}); err != nil {
							t.Error(err)
						}
					}
				case agentwire.EventDeviceCode:
					if e.Reason != "you asked for it" {
						t.Errorf("because %q", e.Reason)
					}
					if finisher == "device" {
						r.server.Decide()
						return
					}
					go func() {
						for page.Action != "" {
							page, _ = b.Submit(page)
						}
					}()
				}
			})
			if err != nil || e.Done.Flow != finisher || !slices.Equal(kinds, []string{"browser", "device_code", "done"}) {
				t.Fatalf("%v %v %+v", err, kinds, e)
			}
			if n := r.server.Count(oauth.PathDevice); n > 2 { // one, and its nonce
				t.Errorf("%d device authorizations", n)
			}
			if err := r.LoginCode(t.Context(), agentwire.LoginCodeRequest{Login: name}); !errors.Is(err, agentwire.Usage) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

// TestLoginCodeIsNotForEveryLogin: where no code can be had, none is offered.
func TestLoginCodeIsNotForEveryLogin(t *testing.T) {
	without := oauthclienttest.Keytether()
	without.Device = nil
	for name, tt := range map[string]struct {
		config oauthclienttest.Config
		flow   string
	}{
		"no device flow":            {without, agentwire.FlowAuto},
		"the browser was asked for": {oauthclienttest.Keytether(), agentwire.FlowBrowser},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, tt.config)
			ctx, cancel := context.WithCancel(t.Context())
			_, _ = r.follow(ctx, agentwire.LoginRequest{Flow: tt.flow}, func(e agentwire.Event) {
				if e.Login != "" {
					t.Errorf("offered as %q", e.Login)
				}
				if err := r.LoginCode(t.Context(), agentwire.LoginCodeRequest{Login: "1"}); !errors.Is(err, agentwire.Usage) {
					t.Error(err)
				}
				cancel()
			})
		})
	}
	t.Run("the server refuses", func(t *testing.T) {
		r := newRig(t, oauthclienttest.Keytether())
		r.server.On(oauth.PathDevice, func(w http.ResponseWriter, _ *http.Request, _ func() *httptest.ResponseRecorder) bool {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":"unauthorized_client"}`))
			return true
		})
		e, err := r.follow(t.Context(), agentwire.LoginRequest{}, func(e agentwire.Event) {
			if e.Event == agentwire.EventBrowser {
				if err := r.LoginCode(t.Context(), agentwire.LoginCodeRequest{Login: e.Login}); !errors.Is(err, agentwire.Failed) {
					t.Error(err)
				}
				go func() { _, _ = oauthclienttest.NewBrowser().Finish(e.URL) }()
			}
		})
		if err != nil || e.Done.Flow != agentwire.FlowBrowser {
			t.Errorf("%v: the browser's login was lost", err)
		}
	})
}

// hang makes a path swallow requests until the test ends.
func hang(t *testing.T, s *oauthclienttest.Server, path string) (reached *atomic.Bool) {
	reached = new(atomic.Bool)
	free := make(chan struct{})
	t.Cleanup(func() { close(free) })
	s.On(path, func(http.ResponseWriter, *http.Request, func() *httptest.ResponseRecorder) bool {
		reached.Store(true)
		<-free
		return true
	})
	return reached
}

// TestDeviceLoginEndsWhateverHangs: a device login gives its place and its key
// back, and lets the agent end, whatever does not answer.
//
// Invariant: DF-20
func TestDeviceLoginEndsWhateverHangs(t *testing.T) {
	device := agentwire.LoginRequest{Flow: agentwire.FlowDevice}
	for name, paths := range map[string][]string{
		"the poll":                    {oauth.PathToken},
		"the cancelling call":         {oauth.PathRevoke},
		"the poll and the cancelling": {oauth.PathToken, oauth.PathRevoke},
	} {
		t.Run("caller gone, hanging "+name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, oauthclienttest.Keytether())
			ctx, cancel := context.WithCancel(t.Context())
			for _, p := range paths {
				hang(t, r.server, p)
			}
			_, err := r.follow(ctx, device, func(agentwire.Event) { cancel() })
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			soon(t, 7*time.Second, "the login does not end", func() bool { return r.logins() == 0 })
			r.nothingLeft()
		})
		t.Run("agent stopped, hanging "+name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, oauthclienttest.Keytether())
			for _, p := range paths {
				hang(t, r.server, p)
			}
			_, _ = r.follow(t.Context(), device, func(e agentwire.Event) {
				if e.Event == agentwire.EventDeviceCode {
					if err := r.Stop(t.Context(), agentwire.StopRequest{}); err != nil {
						t.Error(err)
					}
				}
			})
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		})
	}
	for when, path := range map[string]string{"before the poll": oauth.PathDevice, "at the cancelling call": ""} {
		t.Run("a key that does not sign any more "+when, func(t *testing.T) {
			t.Parallel()
			store := &stuckStore{Memory: keystore.NewMemory(), free: make(chan struct{})}
			r := newRig(t, oauthclienttest.Keytether(), func(o *Options) { o.Kinds, o.endTime = onlyIn(store), 100*time.Millisecond })
			t.Cleanup(func() { close(store.free) }) // before the rig ends
			if path != "" {
				r.server.On(path, func(http.ResponseWriter, *http.Request, func() *httptest.ResponseRecorder) bool {
					store.stuck.Store(r.server.Count(path) > 1) // the first one wants a nonce
					return false
				})
			}
			ctx, cancel := context.WithCancel(t.Context())
			_, _ = r.follow(ctx, device, func(agentwire.Event) {
				if path == "" {
					soon(t, 3*time.Second, "no poll", func() bool { return r.server.Count(oauth.PathToken) > 0 })
				}
				store.stuck.Store(true)
				cancel()
			})
			soon(t, 3*time.Second, "the login does not end", func() bool { return r.logins() == 0 })
			if err := r.Stop(t.Context(), agentwire.StopRequest{}); err != nil {
				t.Error(err)
			}
			if err := r.wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func soon(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// stuckStore is a store whose keys hang as a TPM that is away does.
type stuckStore struct {
	*keystore.Memory
	stuck atomic.Bool
	free  chan struct{}
}

func (s *stuckStore) wrap(k keystore.Key, err error) (keystore.Key, error) {
	if err != nil {
		return nil, err
	}
	return stuckKey{k, s}, nil
}

func (s *stuckStore) Key(ctx context.Context, name string) (keystore.Key, error) {
	return s.wrap(s.Memory.Key(ctx, name))
}

func (s *stuckStore) NewKey(ctx context.Context, name string) (keystore.Key, error) {
	return s.wrap(s.Memory.NewKey(ctx, name))
}

type stuckKey struct {
	keystore.Key
	store *stuckStore
}

func (k stuckKey) Sign(input []byte) ([]byte, error) {
	if k.store.stuck.Load() {
		<-k.store.free
	}
	return k.Key.Sign(input)
}

// TestTimeForASlowPortal: the agent gives a person as long as the server does
// (internal/grant's SignInLife and DeviceCodeLife).
//
// Invariant: CF-12
func TestTimeForASlowPortal(t *testing.T) {
	if loginTime < 15*time.Minute || deviceTime < 20*time.Minute {
		t.Errorf("%v for a browser, %v for a code", loginTime, deviceTime)
	}
}
