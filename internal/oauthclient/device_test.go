package oauthclient_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/oauthclient"
	"github.com/keytether/keytether/internal/oauthclient/oauthclienttest"
	"github.com/keytether/keytether/internal/outbound"
	"github.com/keytether/keytether/internal/testkit"
)

// inside is an HTTP without a network, so that a test's time can stand still. It
// answers as package outbound does.
type inside struct{ server *oauthclienttest.Server }

func (h inside) Close() {}

func (h inside) GetMetadata(ctx context.Context, at string) (*outbound.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	return h.Do(r)
}

func (h inside) Do(r *http.Request) (*outbound.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		h.server.ServeHTTP(rec, r)
	}()
	select {
	case broken := <-done:
		switch {
		case broken != nil:
			return nil, io.ErrUnexpectedEOF
		case rec.Header().Get("Location") != "":
			return nil, outbound.ErrRedirect
		}
		return &outbound.Response{Status: rec.Code, Header: rec.Header(), Body: rec.Body.Bytes()}, nil
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
}

// deviceRig is one device login whose time is synctest's.
type deviceRig struct {
	*oauthclienttest.Server
	client *oauthclient.Client
	log    testkit.Buffer
	began  time.Time
}

// playDevice runs f in a bubble with a server that answers polls as told.
func playDevice(t *testing.T, c oauthclienttest.Config, off time.Duration, f func(t *testing.T, r *deviceRig)) {
	t.Helper()
	s := oauthclienttest.New(t, c)
	synctest.Test(t, func(t *testing.T) {
		r := &deviceRig{Server: s, began: time.Now()}
		r.client = newClient(t, s, oauthclient.Env{
			HTTP: inside{s}, Now: func() time.Time { return time.Now().Add(off) },
			Log: slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		f(t, r)
		for what, v := range s.Secrets() {
			if strings.Contains(r.log.String(), v) {
				t.Errorf("%s is in the log", what)
			}
		}
	})
}

func (r *deviceRig) login(t *testing.T, req oauthclient.LoginRequest) (oauthclient.Grant, error) {
	t.Helper()
	d, err := r.client.StartDevice(t.Context(), req)
	if err != nil {
		return oauthclient.Grant{}, err
	}
	defer func() { <-d.Closed() }()
	return d.Wait()
}

// at gives when polls came, in whole seconds since the beginning.
func (r *deviceRig) at() []int {
	var out []int
	for _, p := range r.Polls() {
		out = append(out, int(p.At.Sub(r.began)/time.Second))
	}
	return out
}

func plainDevice(answers ...oauthclienttest.Answer) oauthclienttest.Config {
	return oauthclienttest.Config{OpenID: true, Subject: "s", Email: "p@example.test", Device: &oauthclienttest.Device{Answers: answers, ExpiresIn: 120}}
}

// TestDevicePolls has each answer of a server, and the moments at which the next
// polls come.
//
// Invariant: DF-10, DF-11, DF-12
func TestDevicePolls(t *testing.T) {
	const (
		pending, slow, lost, tokens = oauthclienttest.AnswerPending, oauthclienttest.AnswerSlowDown, oauthclienttest.AnswerLost, oauthclienttest.AnswerTokens
	)
	list := func(a ...oauthclienttest.Answer) []oauthclienttest.Answer { return a }
	for name, tt := range map[string]struct {
		answers []oauthclienttest.Answer
		at      []int // earliest seconds; a lost answer's pause has up to a quarter more
		want    error
	}{
		"at once":            {list(tokens), []int{5}, nil},
		"three pending":      {list(pending, pending, pending, tokens), []int{5, 10, 15, 20}, nil},
		"slow_down for good": {list(slow, pending, slow, pending, tokens), []int{5, 15, 25, 40, 55}, nil},
		"denied":             {list(pending, oauthclienttest.AnswerDenied), []int{5, 10}, oauthclient.ErrDenied},
		"expired":            {list(oauthclienttest.AnswerExpired), []int{5}, oauthclient.ErrExpired},
		"lost":               {list(lost, tokens), []int{5, 15}, nil},
		"lost tokens":        {list(oauthclienttest.AnswerSwallow, tokens), []int{5, 15}, nil},
		"lost, then pending": {list(lost, pending, tokens), []int{5, 15, 20}, nil},
		"a sign-in page":     {list(oauthclienttest.AnswerHTML, tokens), []int{5, 15}, nil},
		"a redirect":         {list(oauthclienttest.AnswerElse, tokens), []int{5, 15}, nil},
		"429":                {list(oauthclienttest.AnswerBusy, tokens), []int{5, 45}, nil},
		"503 until a time":   {list(oauthclienttest.AnswerLater, tokens), []int{5, 45}, nil},
		"not tokens":         {list(oauthclienttest.AnswerGarbage), []int{5}, oauthclient.ErrAnswer},
		"nobody comes":       {nil, []int{5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100, 105, 110, 115}, oauthclient.ErrExpired},
		"the server is gone": {list(lost, lost, lost, lost, lost, lost), []int{5, 15, 35, 75}, oauthclient.ErrExpired},
	} {
		t.Run(name, func(t *testing.T) {
			playDevice(t, plainDevice(tt.answers...), 0, func(t *testing.T, r *deviceRig) {
				g, err := r.login(t, oauthclient.LoginRequest{Scope: "read"})
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if err == nil && (g.Subject != "s" || g.Refresh.IsZero() || g.Scope == "") {
					t.Errorf("%+v", g)
				}
				at := r.at()
				if len(at) > len(tt.at) || tt.want == nil && len(at) != len(tt.at) {
					t.Fatalf("polled at %v, want %v", at, tt.at)
				}
				slip := 0
				for i, a := range at {
					if a < tt.at[i] || a > tt.at[i]+slip {
						t.Errorf("polled at %v, want %v", at, tt.at)
					}
					if i < len(tt.answers) && tt.want != oauthclient.ErrDenied {
						switch tt.answers[i] {
						case lost, oauthclienttest.AnswerSwallow, oauthclienttest.AnswerHTML, oauthclienttest.AnswerElse:
							slip = slip*2 + 20
						}
					}
				}
				for i, p := range r.Polls() {
					if !p.Alone || p.Code != r.Polls()[0].Code || p.Prefer != "" || p.At.Sub(r.began) >= 120*time.Second {
						t.Errorf("poll %d: %+v", i, p)
					}
				}
			})
		})
	}
}

// TestDeviceLostTokens: the answer with the tokens is lost, and had again with
// the same code and key.
//
// Invariant: DF-12
func TestDeviceLostTokens(t *testing.T) {
	c := oauthclienttest.Keytether()
	c.Device.Answers = []oauthclienttest.Answer{oauthclienttest.AnswerSwallow, oauthclienttest.AnswerTokens}
	playDevice(t, c, 0, func(t *testing.T, r *deviceRig) {
		g, err := r.login(t, oauthclient.LoginRequest{})
		if err != nil || g.Type != oauthclient.TypeDPoP {
			t.Fatalf("%v %+v", err, g)
		}
		p := r.Polls()
		if len(p) != 2 || p[0].Code != p[1].Code || p[0].JKT != p[1].JKT || p[0].JKT != r.client.Thumbprint() || p[0].JKT == "" {
			t.Errorf("polled %+v", p)
		}
		if _, err := r.client.Refresh(t.Context(), oauthclient.RefreshRequest{Token: g.Refresh}); err != nil {
			t.Error(err)
		}
	})
}

// TestDeviceWaits counts the requests of a login at a server that keeps its
// answer back, and of one that was asked to and does not.
//
// Invariant: DF-10, DF-15
func TestDeviceWaits(t *testing.T) {
	for name, tt := range map[string]struct {
		answers []oauthclienttest.Answer
		at      []int
	}{
		"a quick person":     {[]oauthclienttest.Answer{oauthclienttest.AnswerLate}, []int{0}},
		"a slower one":       {[]oauthclienttest.Answer{oauthclienttest.AnswerHeld, oauthclienttest.AnswerLate}, []int{0, 25}},
		"slower still":       {[]oauthclienttest.Answer{oauthclienttest.AnswerHeld, oauthclienttest.AnswerHeld, oauthclienttest.AnswerLate}, []int{0, 25, 50}},
		"a server with much": {[]oauthclienttest.Answer{oauthclienttest.AnswerPending, oauthclienttest.AnswerPending, oauthclienttest.AnswerTokens}, []int{0, 5, 10}},
	} {
		t.Run(name, func(t *testing.T) {
			c := oauthclienttest.Keytether()
			c.Device.Answers = tt.answers
			playDevice(t, c, 0, func(t *testing.T, r *deviceRig) {
				if _, err := r.login(t, oauthclient.LoginRequest{}); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(r.at(), tt.at) {
					t.Errorf("polled at %v, want %v", r.at(), tt.at)
				}
				if n := r.Count(oauth.PathToken); n > 3 {
					t.Errorf("%d token requests", n)
				}
				for _, p := range r.Polls() {
					if p.Prefer != "wait=25" {
						t.Errorf("prefers %q", p.Prefer)
					}
				}
			})
		})
	}
}

// TestDeviceAtAnyServer, from the plainest to ours, on a machine whose clock is
// an hour off.
func TestDeviceAtAnyServer(t *testing.T) {
	for name, config := range configs() {
		config.Device = &oauthclienttest.Device{Answers: []oauthclienttest.Answer{oauthclienttest.AnswerPending, oauthclienttest.AnswerTokens}}
		if config.Handshake {
			config.Device.Wait, config.Device.TypeWithin = 25, 300
		}
		for _, off := range []time.Duration{0, time.Hour, -time.Hour} {
			t.Run(name+" "+off.String(), func(t *testing.T) {
				playDevice(t, config, off, func(t *testing.T, r *deviceRig) {
					d, err := r.client.StartDevice(t.Context(), oauthclient.LoginRequest{Scope: "read", Resource: "https://api.example.test/v1"})
					if err != nil {
						t.Fatal(err)
					}
					code := d.Code()
					typeIn := 20 * time.Minute
					if config.Handshake {
						typeIn = 5 * time.Minute
					}
					if code.UserCode != "WDJB-MJHT" || code.VerificationURI != r.Issuer+"/device" || code.Interval != 5*time.Second ||
						code.TypeBy.Sub(time.Now().Add(off)) != typeIn {
						t.Errorf("shows %+v", code)
					}
					g, err := d.Wait()
					if err != nil {
						t.Fatal(err)
					}
					<-d.Closed()
					if config.DPoP != (g.Type == oauthclient.TypeDPoP) || g.Subject != config.Subject || g.Resource != "https://api.example.test/v1" {
						t.Errorf("got %+v", g)
					}
					if len(r.Polls()) != 2 || r.Count("cancelled") != 0 {
						t.Errorf("%d polls, %d cancelled", len(r.Polls()), r.Count("cancelled"))
					}
				})
			})
		}
	}
}

// TestDeviceCalledOff stops the tool at each moment.
//
// Invariant: DF-13
func TestDeviceCalledOff(t *testing.T) {
	ours := oauthclienttest.Keytether()
	ours.Device.Answers = []oauthclienttest.Answer{oauthclienttest.AnswerHeld}
	for name, tt := range map[string]struct {
		config    oauthclienttest.Config
		after     time.Duration
		cancelled int
	}{
		"while the server waits": {ours, 7 * time.Second, 1},
		"between two polls":      {plainDevice(), 7 * time.Second, 0}, // no other server has a way to be told
	} {
		t.Run(name, func(t *testing.T) {
			playDevice(t, tt.config, 0, func(t *testing.T, r *deviceRig) {
				ctx, cancel := context.WithCancel(t.Context())
				d, err := r.client.StartDevice(ctx, oauthclient.LoginRequest{})
				if err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(tt.after, cancel)
				if _, err := d.Wait(); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
				<-d.Closed()
				if took := time.Since(r.began); took != tt.after || r.Count("cancelled") != tt.cancelled {
					t.Errorf("after %v, cancelled %d", took, r.Count("cancelled"))
				}
				polls := len(r.Polls())
				time.Sleep(time.Minute)
				if len(r.Polls()) != polls {
					t.Error("it polls on")
				}
			})
		})
	}
}

// TestDeviceAnotherAccount is the reverse attack: somebody else approves the
// code, to have the person work in their account (RFC 8628 §5.1).
//
// Invariant: DF-14
func TestDeviceAnotherAccount(t *testing.T) {
	for name, tt := range map[string]struct {
		account string
		change  func(map[string]any)
		want    error
	}{
		"the one":            {"person@EXAMPLE.test", nil, nil},
		"by subject":         {"acc_1", nil, nil},
		"another":            {"boss@example.test", nil, oauthclient.ErrAccount},
		"nobody says who":    {"person@example.test", func(m map[string]any) { delete(m, "id_token") }, oauthclient.ErrAccount},
		"an ID token forged": {"", func(m map[string]any) { m["id_token"] = "eyJhbGciOiJub25lIn0.e30." }, oauthclient.ErrIdentity},
	} {
		t.Run(name, func(t *testing.T) {
			c := oauthclienttest.Keytether()
			c.Device.Answers = []oauthclienttest.Answer{oauthclienttest.AnswerTokens}
			playDevice(t, c, 0, func(t *testing.T, r *deviceRig) {
				if tt.change != nil {
					answerWith(r.Server, oauth.PathToken, tt.change)
				}
				_, err := r.login(t, oauthclient.LoginRequest{Account: tt.account})
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if (r.Count("revoked") == 1) != (tt.want != nil) {
					t.Errorf("revoked %d", r.Count("revoked"))
				}
			})
		})
	}
}

// TestDeviceCompleteURI: what a server offers besides, an address with the code
// in it, is not shown. The person gets the plain address and types the code
// (RFC 8628 §3.3.1, RFC 10027).
//
// Invariant: DF-11b
func TestDeviceCompleteURI(t *testing.T) {
	playDevice(t, plainDevice(oauthclienttest.AnswerTokens), 0, func(t *testing.T, r *deviceRig) {
		answerWith(r.Server, oauth.PathDevice, func(m map[string]any) {
			m["verification_uri_complete"] = fmt.Sprint(m["verification_uri"], "?user_code=", m["user_code"])
		})
		d, err := r.client.StartDevice(t.Context(), oauthclient.LoginRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if c := d.Code(); c.UserCode != "WDJB-MJHT" || c.VerificationURI != r.Issuer+"/device" {
			t.Errorf("shows %+v", c)
		}
		if _, err := d.Wait(); err != nil {
			t.Error(err)
		}
		<-d.Closed()
	})
}

// TestDeviceStartAnswers has what a device authorization may be answered with. A
// client that is told no interval takes five seconds (RFC 8628 §3.2).
//
// Invariant: DF-10e
func TestDeviceStartAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(map[string]any)
		want   error
	}{
		"as it is":                {func(map[string]any) {}, nil},
		"no interval":             {func(m map[string]any) { delete(m, "interval") }, nil},
		"a negative interval":     {func(m map[string]any) { m["interval"] = -5 }, nil},
		"an interval of an age":   {func(m map[string]any) { m["interval"] = int64(1) << 60 }, oauthclient.ErrExpired},
		"no device code":          {func(m map[string]any) { delete(m, "device_code") }, oauthclient.ErrAnswer},
		"a broken device code":    {func(m map[string]any) { m["device_code"] = "a b" }, oauthclient.ErrAnswer},
		"no user code":            {func(m map[string]any) { delete(m, "user_code") }, oauthclient.ErrAnswer},
		"a user code that steers": {func(m map[string]any) { m["user_code"] = "A\x1b[2J" }, oauthclient.ErrAnswer},
		"a very long user code":   {func(m map[string]any) { m["user_code"] = strings.Repeat("A", 65) }, oauthclient.ErrAnswer},
		"no address":              {func(m map[string]any) { delete(m, "verification_uri") }, oauthclient.ErrAnswer},
		"a script as address":     {func(m map[string]any) { m["verification_uri"] = "javascript:alert(1)" }, oauthclient.ErrAnswer},
		"a name before the host":  {func(m map[string]any) { m["verification_uri"] = "https://good.test@evil.test/" }, oauthclient.ErrAnswer},
		"no lifetime":             {func(m map[string]any) { delete(m, "expires_in") }, oauthclient.ErrAnswer},
		"a lifetime of an age":    {func(m map[string]any) { m["expires_in"] = int64(1) << 60 }, nil},
		"a word as lifetime":      {func(m map[string]any) { m["expires_in"] = "soon" }, oauthclient.ErrAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			playDevice(t, plainDevice(oauthclienttest.AnswerTokens), 0, func(t *testing.T, r *deviceRig) {
				answerWith(r.Server, oauth.PathDevice, tt.change)
				_, err := r.login(t, oauthclient.LoginRequest{})
				if !errors.Is(err, tt.want) {
					t.Fatalf("got %v, want %v", err, tt.want)
				}
				if err == nil && (len(r.at()) != 1 || r.at()[0] != 5) {
					t.Errorf("polled at %v", r.at())
				}
			})
		})
	}
	t.Run("a page", func(t *testing.T) {
		playDevice(t, plainDevice(), 0, func(t *testing.T, r *deviceRig) {
			r.On(oauth.PathDevice, func(w http.ResponseWriter, _ *http.Request, _ func() *httptest.ResponseRecorder) bool {
				_, _ = io.WriteString(w, "<html>")
				return true
			})
			if _, err := r.login(t, oauthclient.LoginRequest{}); !errors.Is(err, oauthclient.ErrUnreachable) {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("no device flow", func(t *testing.T) {
		playDevice(t, oauthclienttest.Config{}, 0, func(t *testing.T, r *deviceRig) {
			if _, err := r.login(t, oauthclient.LoginRequest{}); !errors.Is(err, oauthclient.ErrMetadata) || r.client.HasDevice() {
				t.Errorf("got %v", err)
			}
		})
	})
}

// What a server answers to a device authorization request never panics and never
// gets an unfit string onto a terminal.
func FuzzDeviceResponse(f *testing.F) {
	good, err := json.Marshal(oauth.DeviceResponse{DeviceCode: "d", UserCode: "U", VerificationURI: "http://a.test/device", ExpiresIn: 9})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(bytes.ReplaceAll(good, []byte("U"), []byte("\\u001b[2J")))
	f.Add([]byte(`{"device_code":1}`))
	s := oauthclienttest.New(f, plainDevice())
	f.Fuzz(func(t *testing.T, body []byte) {
		s.On(oauth.PathDevice, func(w http.ResponseWriter, _ *http.Request, _ func() *httptest.ResponseRecorder) bool {
			_, _ = w.Write(body)
			return true
		})
		c := newClient(t, s, oauthclient.Env{HTTP: inside{s}})
		ctx, cancel := context.WithCancel(t.Context())
		d, err := c.StartDevice(ctx, oauthclient.LoginRequest{})
		cancel()
		if err != nil {
			return
		}
		<-d.Closed()
		for _, shown := range []string{d.Code().UserCode, d.Code().VerificationURI} {
			if shown == "" || strings.ContainsFunc(shown, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
				t.Errorf("shows %q", shown)
			}
		}
	})
}
