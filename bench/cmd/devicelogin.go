package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// allowToTokenDevice times device logins with the real command and agent, from
// Allow to the token in the agent. The agent's poll waits at the server.
func allowToTokenDevice(ctx context.Context, st *stage.Stage, n int) ([]Row, error) {
	person, err := driver.NewPerson(stage.Email, stage.Password, st.Client())
	if err != nil {
		return nil, err
	}
	var ms []float64
	for i := range n {
		var allowed time.Time
		res, err := st.LoginDevice(ctx, func(e stage.Event) error {
			allowed, err = approve(ctx, person, e, 100*time.Millisecond) // so that the poll is there
			return err
		}, "--profile", "bench-device", "--client", "bench-device", "--resource", st.Resource, "--scope", "read")
		if err != nil {
			return nil, err
		}
		done := time.Now()
		if res.Code != 0 {
			return nil, fmt.Errorf("login %d: %s", i, res.Stderr)
		}
		ms = append(ms, float64(done.Sub(allowed))/float64(time.Millisecond))
	}
	return []Row{{Work: "Allow pressed to login done, device flow, waiting, p99", Value: percentile(ms, 0.99), Unit: "ms", Must: 100, Stretch: 30}}, nil
}

// approve plays the browser of a device login: the code, sign-in, and Allow after
// a while. It says when Allow was sent.
func approve(ctx context.Context, p *driver.Person, e stage.Event, after time.Duration) (time.Time, error) {
	shown := time.Now()
	page, err := p.Get(ctx, e.VerificationURI)
	if err != nil {
		return time.Time{}, err
	}
	for range 6 {
		f, button, err := next(page)
		if err != nil {
			return time.Time{}, err
		}
		var fields map[string]string
		switch {
		case f.Has("Code"):
			fields = map[string]string{"Code": e.UserCode}
		case f.Has("Password"):
			fields = map[string]string{"Email": p.Email, "Password": p.Password}
		case button == "Allow":
			if err := pause(ctx, after-time.Since(shown)); err != nil {
				return time.Time{}, err
			}
		}
		sent := time.Now()
		if page, err = p.Submit(ctx, f, button, fields); err != nil || button == "Allow" {
			return sent, err
		}
	}
	return time.Time{}, errors.New("the pages go round in circles")
}

const (
	slowPerson  = 30 * time.Second // who is logged in by the logins whose requests are counted
	slowPersons = 4
)

// tokenRequests counts the token requests of device logins by people who take
// their time, where the server keeps its answers back and where it cannot.
func tokenRequests(ctx context.Context, bin string) ([]Row, error) {
	var with, without float64
	var errs [2]error
	var wg sync.WaitGroup
	wg.Go(func() { with, errs[0] = countRequests(ctx, bin, true) })
	wg.Go(func() { without, errs[1] = countRequests(ctx, bin, false) })
	wg.Wait()
	work := fmt.Sprintf("token requests for a device login, Allow after %.0f s, ", slowPerson.Seconds())
	return []Row{
		{Work: work + "waiting", Value: with, Unit: "requests", Must: 3, Stretch: 2},
		{Work: work + "a server that does not wait", Value: without, Unit: "requests", Ratio: without / with, Floor: "that with waiting"},
	}, errors.Join(errs[:]...)
}

// countRequests counts for one login, of several at once, each from a machine of
// its own. A server that does not wait is one whose metadata do not say so.
func countRequests(ctx context.Context, bin string, waits bool) (each float64, err error) {
	var requests atomic.Int64
	st, err := stage.New(ctx, bin, stage.Options{
		LogLevel: "warn", Clients: benchClient, NoAPI: true,
		Between: func(server http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == oauth.PathToken:
					requests.Add(1)
				case !waits && strings.HasPrefix(r.URL.Path, "/.well-known/"):
					w = hushed{w}
				}
				server.ServeHTTP(w, r)
			})
		},
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, st.Close(context.WithoutCancel(ctx))) }()
	errs := make([]error, slowPersons)
	var wg sync.WaitGroup
	for i := range errs {
		m, err := st.NewMachine(fmt.Sprintf("machine%d", i))
		if err != nil {
			return 0, err
		}
		wg.Go(func() { errs[i] = slowLogin(ctx, st, m) })
	}
	wg.Wait()
	return float64(requests.Load()) / slowPersons, errors.Join(errs...)
}

func slowLogin(ctx context.Context, st *stage.Stage, m *stage.Machine) error {
	person, err := driver.NewPerson(stage.Email, stage.Password, st.Client())
	if err != nil {
		return err
	}
	res, err := m.LoginDevice(ctx, func(e stage.Event) error {
		_, err := approve(ctx, person, e, slowPerson)
		return err
	}, "--client", "bench-device", "--resource", st.Resource, "--scope", "read")
	if err == nil && res.Code != 0 {
		err = errors.New(res.Stderr)
	}
	return err
}

// hushed writes metadata without what says that the server waits.
type hushed struct{ http.ResponseWriter }

func (h hushed) Write(b []byte) (int, error) {
	_, err := h.ResponseWriter.Write(bytes.ReplaceAll(b, []byte(`"keytether_device_wait"`), []byte(`"keytether_nothing____"`)))
	return len(b), err
}
