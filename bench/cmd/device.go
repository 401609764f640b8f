package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keytether/keytether/bench/driver"
	"github.com/keytether/keytether/internal/grant"
	"github.com/keytether/keytether/internal/id"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/secret"
	"github.com/keytether/keytether/internal/store"
	"github.com/keytether/keytether/internal/store/sqlite"
	"github.com/keytether/keytether/internal/testkit/stage"
)

// pending are device authorizations that lie in the store already, each with a
// code that follows from its number.
type pending struct {
	tool *driver.Tool
	n    int
}

func deviceCode(n int) secret.Value {
	var b [32]byte
	for i := range 8 {
		b[i] = byte(n >> (8 * i))
	}
	return secret.Mint(secret.Device, b)
}

// lay puts n pending device authorizations of one tool into a server's store,
// which must not be open.
func lay(ctx context.Context, st *stage.Stage, tool *driver.Tool, n int) error {
	s, err := sqlite.Open(ctx, sqlite.Options{Path: st.Data() + "/keytether.db"})
	if err != nil {
		return err
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	for from := 0; from < n && err == nil; from += 2000 {
		var c store.Change
		for i := from; i < min(from+2000, n); i++ {
			d := grant.Device{
				Tenant: store.DefaultTenant, ID: id.New(id.Device, now, [10]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}),
				Status: grant.Pending, Client: tool.Client, Scope: []string{"read"}, Resource: st.Resource,
				Thumbprint: tool.Signer.Public().Thumbprint(), CodeHash: grant.Hash(deviceCode(i).Hash()),
				UserHash: grant.Hash(secret.UserCodeHash(strconv.Itoa(i))), Refresh: true, Lifetimes: grant.DefaultLifetimes(),
				Interval: grant.PollInterval, CreatedAt: now, TypeBy: now.Add(24 * time.Hour), ExpiresAt: now.Add(24 * time.Hour),
			}
			c.Devices = append(c.Devices, store.Versioned[grant.Device]{Value: d})
			c.Records = append(c.Records, d.Started())
		}
		err = s.Commit(ctx, store.DefaultTenant, c)
	}
	return errors.Join(err, s.Close())
}

// polls measures pending polls with a proof, of as many device codes as it takes
// for none to be too early. few and many are how many are pending.
func polls(ctx context.Context, bin string, floor floors, few, many int) ([]Row, error) {
	small, _, err := pollAll(ctx, bin, few)
	if err != nil {
		return nil, err
	}
	rows := []Row{{
		Work: fmt.Sprintf("pending device poll with proof, server CPU (%d pending)", few), Value: small, Unit: "µs",
		Ratio: small / floor.verify, Floor: "one verify", Must: 1 / 0.50, Stretch: 1 / 0.60,
	}}
	if many == 0 {
		return rows, nil
	}
	big, rss, err := pollAll(ctx, bin, many)
	if err != nil {
		return nil, err
	}
	return append(rows,
		Row{
			Work: fmt.Sprintf("the same with %d pending", many), Value: big, Unit: "µs",
			Ratio: big / small, Floor: fmt.Sprintf("that with %d", few), Must: 1.3, Stretch: 1.15,
		},
		Row{Work: fmt.Sprintf("resident memory, %d pending and polled", many), Value: rss, Unit: "MB", Must: 600, Stretch: 400},
	), nil
}

// pollAll starts a server on n pending device authorizations and polls each of
// them, and some again. It gives CPU per poll in microseconds, and resident memory in MB.
func pollAll(ctx context.Context, bin string, n int) (us, rss float64, err error) {
	st, err := stage.New(ctx, bin, stage.Options{LogLevel: "warn", Clients: benchClient, NoAPI: true})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, st.Close(context.WithoutCancel(ctx))) }()
	srv, err := driver.Discover(ctx, st.Issuer, st.Client())
	if err != nil {
		return 0, 0, err
	}
	p := pending{n: n}
	if p.tool, err = driver.NewTool(srv, "bench-cli"); err != nil {
		return 0, 0, err
	}
	if err := st.StopServer(ctx); err != nil {
		return 0, 0, err
	}
	if err := lay(ctx, st, p.tool, n); err != nil {
		return 0, 0, err
	}
	if err := st.StartServer(ctx); err != nil {
		return 0, 0, err
	}
	// The first polls are warm-up: they read the store, all later ones memory.
	first := time.Now()
	if err := p.poll(ctx, 0, n); err != nil {
		return 0, 0, err
	}
	if rest := grant.PollInterval - time.Since(first); rest > 0 {
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-time.After(rest):
		}
	}
	measured := min(n, 20_000)
	before, err := processCPU(st.Server.PID())
	if err != nil {
		return 0, 0, err
	}
	if err := p.poll(ctx, 0, measured); err != nil {
		return 0, 0, err
	}
	after, err := processCPU(st.Server.PID())
	if err != nil {
		return 0, 0, err
	}
	rss, err = resident(st.Server.PID())
	return float64(after-before) / float64(measured) / float64(time.Microsecond), rss, err
}

// poll polls the codes from ≤ i < to, once each.
func (p pending) poll(ctx context.Context, from, to int) error {
	next := atomic.Int64{}
	next.Store(int64(from))
	var wg sync.WaitGroup
	errs := make(chan error, workers)
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1) - 1)
				if i >= to {
					return
				}
				err := p.tool.Post(ctx, p.tool.Server.Metadata.TokenEndpoint, url.Values{
					"grant_type": {oauth.GrantDeviceCode}, "client_id": {p.tool.Client}, "device_code": {deviceCode(i).Reveal()},
				}, nil)
				var e *driver.Error
				if !errors.As(err, &e) || e.Response.Error != "authorization_pending" {
					errs <- fmt.Errorf("poll %d: %w", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// resident is the memory of a process that is in RAM, in MB (proc(5): VmRSS).
func resident(pid int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(raw), "VmRSS:")
	kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	return kb / 1000, err
}
