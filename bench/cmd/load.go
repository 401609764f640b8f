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
	"github.com/keytether/keytether/internal/testkit/stage"
)

const workers = 64

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
	type grant struct {
		tool  *driver.Tool
		token string
	}
	grants := make([]grant, workers)
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
	var done atomic.Int64
	var failed atomic.Pointer[error]
	end, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for i := range grants {
		wg.Go(func() {
			g := &grants[i]
			for end.Err() == nil && failed.Load() == nil {
				var out struct {
					RefreshToken string `json:"refresh_token"`
				}
				err := g.tool.Post(ctx, srv.Metadata.TokenEndpoint, url.Values{
					"grant_type": {"refresh_token"}, "client_id": {"bench-cli"}, "refresh_token": {g.token},
				}, &out)
				if err != nil {
					failed.Store(&err)
					return
				}
				g.token = out.RefreshToken
				done.Add(1)
			}
		})
	}
	rows, err := countServer(ctx, st, &done, load, floor)
	cancel()
	wg.Wait()
	if e := failed.Load(); e != nil {
		return nil, errors.Join(*e, err)
	}
	return rows, err
}

// countServer lets the load warm up, then counts operations and CPU.
func countServer(ctx context.Context, st *stage.Stage, done *atomic.Int64, load time.Duration, floor floors) ([]Row, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(load / 3):
	}
	n0 := done.Load()
	c0, err := processCPU(st.Server.PID())
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(load):
	}
	n := done.Load() - n0
	c1, err := processCPU(st.Server.PID())
	if err != nil || n == 0 {
		return nil, errors.Join(err, fmt.Errorf("%d refreshes", n))
	}
	step(fmt.Sprintf("  %.0f refreshes/s", float64(n)/time.Since(begun).Seconds()))
	us := float64(c1-c0) / float64(n) / float64(time.Microsecond)
	return []Row{{
		Work: fmt.Sprintf("refresh, DPoP, durable (%d at once), server CPU", workers), Value: us, Unit: "µs",
		Ratio: us / (floor.sign + floor.verify), Floor: "(verify + sign)", Must: 1 / 0.40, Stretch: 1 / 0.50,
	}}, nil
}
