package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/testkit/stage"
)

const workers = 64

// held is a grant as its tool has it.
type held struct {
	tool  *driver.Tool
	token string // to refresh with, the newest
}

// refresh storms the token endpoint with as many grants as workers, each
// renewed over and over, and counts the server's CPU.
func refresh(ctx context.Context, st *stage.Stage, floor floors, load time.Duration) ([]Row, error) {
	srv, err := driver.Discover(ctx, st.Issuer, st.Client())
	if err != nil {
		return nil, err
	}
	person, err := driver.NewPerson(stage.Email, stage.Password, st.Client())
	if err != nil {
		return nil, err
	}
	grants := make([]held, workers)
	for i := range grants {
		if grants[i].tool, err = driver.NewTool(srv, "bench-cli"); err != nil {
			return nil, err
		}
		t, err := grants[i].tool.Login(ctx, person, "http://127.0.0.1:1/callback", "read", st.Resource)
		if err != nil {
			return nil, fmt.Errorf("login %d: %w", i, err)
		}
		grants[i].token = t.RefreshToken
	}
	us, err := storm(ctx, st, grants, load)
	return []Row{{
		Work: fmt.Sprintf("refresh, DPoP, durable (%d at once), server CPU", workers), Value: us, Unit: "µs",
		Ratio: us / (floor.sign + floor.verify), Floor: "(verify + sign)", Must: 1 / 0.40, Stretch: 1 / 0.50,
	}}, err
}

// storm renews grants over and over, each by the worker that it belongs to, and
// gives the server's CPU for each renewal in µs. What is counted begins when all
// of them were renewed once, and a third of load has passed.
func storm(ctx context.Context, st *stage.Stage, grants []held, load time.Duration) (float64, error) {
	end, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var done atomic.Int64
	var wg, once sync.WaitGroup
	once.Add(workers)
	for w := range workers {
		wg.Go(func() {
			var first sync.Once
			defer first.Do(once.Done)
			for end.Err() == nil {
				for i := w; i < len(grants); i += workers {
					if err := grants[i].renew(end); err != nil {
						if end.Err() == nil {
							cancel(err)
						}
						return
					}
					done.Add(1)
				}
				first.Do(once.Done)
			}
		})
	}
	us, err := countServer(end, st, &done, &once, load)
	if cause := context.Cause(end); cause != nil {
		err = cause
	}
	cancel(nil)
	wg.Wait()
	return us, err
}

func (h *held) renew(ctx context.Context) error {
	var out oauth.TokenResponse
	err := h.tool.Post(ctx, h.tool.Server.Metadata.TokenEndpoint, url.Values{
		"grant_type": {oauth.GrantRefreshToken}, "client_id": {h.tool.Client}, "refresh_token": {h.token},
	}, &out)
	h.token = out.RefreshToken
	return err
}

// countServer lets the load warm up, then counts operations and CPU.
func countServer(ctx context.Context, st *stage.Stage, done *atomic.Int64, warm *sync.WaitGroup, load time.Duration) (us float64, err error) {
	warm.Wait()
	if err := pause(ctx, load/3); err != nil {
		return 0, err
	}
	n0 := done.Load()
	c0, err := processCPU(st.Server.PID())
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := pause(ctx, load); err != nil {
		return 0, err
	}
	n := done.Load() - n0
	c1, err := processCPU(st.Server.PID())
	if err != nil || n == 0 {
		return 0, errors.Join(err, fmt.Errorf("%d refreshes", n))
	}
	step(fmt.Sprintf("  %.0f refreshes/s", float64(n)/time.Since(begun).Seconds()))
	return float64(c1-c0) / float64(n) / float64(time.Microsecond), nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
