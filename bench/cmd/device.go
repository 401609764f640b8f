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

const (
	// measuredPolls are what CPU is counted over, and timedPolls what latencies are
	// taken from.
	measuredPolls = 20_000
	timedPolls    = 4000
	// few is what many pending device authorizations are compared with (design §7).
	few = 1000
)

// pending are n device authorizations that lie in the store already, each with a
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
// which must not be open. Their interval is one that no poll is too early for.
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
				Interval: grant.PollJitter, CreatedAt: now, TypeBy: now.Add(24 * time.Hour), ExpiresAt: now.Add(24 * time.Hour),
			}
			c.Devices = append(c.Devices, store.Versioned[grant.Device]{Value: d})
			c.Records = append(c.Records, d.Started())
		}
		err = s.Commit(ctx, store.DefaultTenant, c)
	}
	return errors.Join(err, s.Close())
}

// polls measures pending polls with a proof, where few and, if asked for, many
// are pending.
func polls(ctx context.Context, bin string, floor floors, many int) ([]Row, error) {
	small, err := pollAll(ctx, bin, few)
	if err != nil {
		return nil, err
	}
	rows := []Row{{
		Work: fmt.Sprintf("pending device poll with proof, server CPU (%d pending)", few), Value: small.us, Unit: "µs",
		Ratio: small.us / floor.verify, Floor: "one verify", Must: 1 / 0.50, Stretch: 1 / 0.60,
	}, {
		Work: fmt.Sprintf("its latency, one at a time, p50 (%d pending)", few), Value: small.p50, Unit: "ms",
	}, {
		Work: "the same, p99", Value: small.p99, Unit: "ms", Ratio: small.p99 / small.p50, Floor: "p50",
	}}
	if many == 0 {
		return rows, nil
	}
	big, err := pollAll(ctx, bin, many)
	if err != nil {
		return nil, err
	}
	than := fmt.Sprintf("that with %d", few)
	return append(rows, Row{
		Work: fmt.Sprintf("pending device poll with proof, server CPU (%d pending)", many), Value: big.us, Unit: "µs",
		Ratio: big.us / small.us, Floor: than, Must: 1.3, Stretch: 1.15,
	}, Row{
		Work: fmt.Sprintf("its latency, one at a time, p50 (%d pending)", many), Value: big.p50, Unit: "ms", Ratio: big.p50 / small.p50, Floor: than,
	}, Row{
		Work: "the same, p99", Value: big.p99, Unit: "ms", Ratio: big.p99 / small.p99, Floor: than,
	}, Row{
		Work: fmt.Sprintf("resident memory, %d pending and polled", many), Value: big.rss, Unit: "MB", Must: 600, Stretch: 400,
	}), nil
}

// polled is what polls cost.
type polled struct {
	us       float64 // server CPU for each, in µs
	p50, p99 float64 // from sent to answered, in ms, one poll at a time
	rss      float64 // the server's resident memory at the end, in MB
}

// pollAll starts a server on n pending device authorizations and polls each of
// them, and then some again.
func pollAll(ctx context.Context, bin string, n int) (out polled, err error) {
	st, err := stage.New(ctx, bin, stage.Options{LogLevel: "warn", Clients: benchClient, NoAPI: true})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, st.Close(context.WithoutCancel(ctx))) }()
	srv, err := driver.Discover(ctx, st.Issuer, st.Client())
	if err != nil {
		return out, err
	}
	p := pending{n: n}
	if p.tool, err = driver.NewTool(srv, "bench-cli"); err != nil {
		return out, err
	}
	if err := st.StopServer(ctx); err != nil {
		return out, err
	}
	if err := lay(ctx, st, p.tool, n); err != nil {
		return out, err
	}
	if err := st.StartServer(ctx); err != nil {
		return out, err
	}
	// The first polls are warm-up: they read the store, all later ones memory.
	if err := p.poll(ctx, workers, n); err != nil {
		return out, err
	}
	before, err := processCPU(st.Server.PID())
	if err != nil {
		return out, err
	}
	if err := p.poll(ctx, workers, measuredPolls); err != nil {
		return out, err
	}
	after, err := processCPU(st.Server.PID())
	if err != nil {
		return out, err
	}
	out.us = float64(after-before) / measuredPolls / float64(time.Microsecond)
	var ms []float64
	p.tool.Sent = func(took time.Duration, _ error) { ms = append(ms, float64(took)/float64(time.Millisecond)) }
	if err := p.poll(ctx, 1, timedPolls); err != nil {
		return out, err
	}
	out.p50, out.p99 = percentile(ms, 0.5), percentile(ms, 0.99)
	out.rss, err = resident(st.Server.PID())
	return out, err
}

// stride has no factor in common with the numbers of pending ones that anybody
// asks for, so that steps of it come by all of them, each time far from the last.
const stride = 7_368_787

// poll polls so many times, by so many at once.
func (p pending) poll(ctx context.Context, atOnce, times int) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, atOnce)
	for range atOnce {
		wg.Go(func() {
			for {
				i := int(next.Add(1) - 1)
				if i >= times {
					return
				}
				err := p.tool.Post(ctx, p.tool.Server.Metadata.TokenEndpoint, url.Values{
					"grant_type": {oauth.GrantDeviceCode}, "client_id": {p.tool.Client}, "device_code": {deviceCode(i * stride % p.n).Reveal()},
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
