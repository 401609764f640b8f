package authserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/keytether/keytether/internal/grant"
)

var start = time.Date(2026, 3, 14, 9, 0, 0, 0, time.UTC)

func pendingDevice(i int, now time.Time) grant.Device {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(i))
	return grant.Device{
		Status: grant.Pending, Client: fmt.Sprintf("client-%d", i%7), Thumbprint: fmt.Sprintf("%042dA", i), CodeHash: sha256.Sum256(b[:]),
		Interval: grant.PollInterval, CreatedAt: now, TypeBy: now.Add(grant.UserCodeLife), ExpiresAt: now.Add(grant.DeviceCodeLife),
	}
}

// TestPollsAreSmall measures what one pending device authorization takes in
// memory: a million of them, polled once, are to be small beside 600 MB.
func TestPollsAreSmall(t *testing.T) {
	const n = 100_000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	p := newPolls(0, start)
	for i := range n {
		d := pendingDevice(i, start)
		p.begin(d)
		p.judge(d.CodeHash, start)
	}
	each := float64(heap()-before) / n
	t.Logf("%.0f bytes each; a million take %.0f MB", each, each)
	if each > 140 {
		t.Errorf("%.0f bytes each", each)
	}
	if size := unsafe.Sizeof(polled{}); size > 64 {
		t.Errorf("what is remembered of one takes %d bytes", size)
	}
	if got := p.outstanding(start); got != n {
		t.Errorf("%d outstanding", got)
	}
	later := start.Add(grant.UserCodeLife + 2*sweepLater)
	for h := range pollShards { // all but one in each shard are over
		d := pendingDevice(n+h, later)
		d.CodeHash[0] = byte(h)
		p.begin(d)
	}
	p.outstanding(later)
	if left := float64(heap()) - float64(before); left > n*140/10 {
		t.Errorf("%.0f bytes are left of what has ended", left)
	}
	runtime.KeepAlive(p)
}

// TestPollsRemember that a poll is judged by the same tool whether it is
// remembered or read: client and key come back as they were.
func TestPollsRemember(t *testing.T) {
	p := newPolls(0, start)
	key := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, sha256.Size))
	for i, want := range []grant.Holder{
		{Client: "a", Thumbprint: key}, {Client: "b"}, {Client: "a"}, {Client: "b", Thumbprint: key},
	} {
		d := pendingDevice(i, start)
		d.Client, d.Thumbprint = want.Client, want.Thumbprint
		p.begin(d)
		k, ok := p.known(d.CodeHash)
		if got := p.holder(k); !ok || got != want {
			t.Errorf("%v became %v", want, got)
		}
	}
	d := pendingDevice(9, start) // what is no thumbprint fits no key, and is bound all the same
	for _, bad := range []string{"x", key[:42] + "-", key + "AAAA"} {
		d.Thumbprint = bad
		p.begin(d)
		k, _ := p.known(d.CodeHash)
		if err := p.holder(k).Check(d.Client, bad); !errors.Is(err, grant.ErrCodeKey) {
			t.Errorf("%q: %v", bad, err)
		}
		if err := p.holder(k).Check(d.Client, ""); !errors.Is(err, grant.ErrProofRequired) {
			t.Errorf("%q is as good as no key: %v", bad, err)
		}
	}
}

// TestOfferedInterval grows with the number of waiting tools, so that all of them
// together poll no more than the server answers, and shrinks when they are gone.
//
// Invariant: DF-10d
func TestOfferedInterval(t *testing.T) {
	for pending, want := range map[int]time.Duration{
		0: grant.PollInterval, 10_000: grant.PollInterval, 10_001: 6 * time.Second, 100_000: 50 * time.Second,
		600_000: 5 * time.Minute, 1_000_000: grant.MaxOfferedInterval, 1 << 40: grant.MaxOfferedInterval,
	} {
		if got := grant.OfferInterval(pending); got != want {
			t.Errorf("%d pending: %s, want %s", pending, got, want)
		}
	}
	p := newPolls(0, start)
	for i := range 20_000 {
		p.begin(pendingDevice(i, start))
	}
	if got := grant.OfferInterval(p.outstanding(start)); got != 10*time.Second {
		t.Errorf("under load: %s", got)
	}
	for i := range 10_000 { // decided
		d := pendingDevice(i, start)
		d.Status = grant.Denied
		p.begin(d)
	}
	if got := p.outstanding(start); got != 10_000 {
		t.Errorf("%d are outstanding when half are decided", got)
	}
	later := start.Add(grant.UserCodeLife)
	if got := p.outstanding(later); got != 0 {
		t.Errorf("%d are outstanding when all are over", got)
	}
	if _, ok := p.known(pendingDevice(19_999, start).CodeHash); !ok {
		t.Error("forgotten at once: a late poll is to hear that it is late")
	}
	p.outstanding(later.Add(2 * sweepLater))
	if _, ok := p.known(pendingDevice(19_999, start).CodeHash); ok {
		t.Error("never forgotten")
	}
	p = newPolls(1_000_000, start)
	if got := p.outstanding(start); got != 1_000_000 {
		t.Errorf("%d right after a restart", got)
	}
	if got := p.outstanding(start.Add(grant.DeviceCodeLife)); got != 0 {
		t.Errorf("%d long after a restart", got)
	}
}

// TestPollsShedWaiters: where too many wait, nobody more is let, and is told at
// once.
func TestPollsShedWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPolls(0, time.Now())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		for i := range maxWaiting {
			d := pendingDevice(i, time.Now())
			p.begin(d)
			go func() { p.wait(ctx, nil, d.CodeHash, MaxWait); done <- struct{}{} }()
		}
		synctest.Wait()
		d := pendingDevice(maxWaiting, time.Now())
		p.begin(d)
		began := time.Now()
		p.wait(ctx, nil, d.CodeHash, MaxWait)
		if time.Since(began) != 0 {
			t.Error("one too many was let wait")
		}
		cancel()
		for range maxWaiting {
			<-done
		}
		p.wait(t.Context(), nil, d.CodeHash, MaxWait)
		if time.Since(began) != MaxWait {
			t.Errorf("when there is room again it waited %s", time.Since(began))
		}
	})
}

// TestPollsAfterAWait: who waited as long as one may comes again at once, who
// waited less keeps to the interval.
func TestPollsAfterAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			wait time.Duration
			want grant.PollAnswer
		}{{MaxWait, grant.PollAccepted}, {2 * time.Second, grant.PollSlowDown}} {
			p := newPolls(0, time.Now())
			d := pendingDevice(1, time.Now())
			d.Interval = time.Minute
			p.begin(d)
			p.judge(d.CodeHash, time.Now())
			p.wait(t.Context(), nil, d.CodeHash, c.wait)
			if got := p.judge(d.CodeHash, time.Now()); got != c.want {
				t.Errorf("after %s: %v", c.wait, got)
			}
		}
	})
}

// TestPollsNewsComeLate: who read or committed a state may come to tell of it after
// who committed the next one. What is decided stays decided, whoever waits is woken,
// and a key stays bound.
//
// Invariant: DF-10f
func TestPollsNewsComeLate(t *testing.T) {
	for _, decided := range []grant.Status{grant.Approved, grant.Denied, grant.Redeemed, grant.Expired} {
		p := newPolls(0, start)
		d := pendingDevice(1, start)
		p.begin(d)
		typed, over := d, d
		typed.TypedAt, over.TypedAt = start, start
		over.Status = decided
		p.begin(over)
		p.begin(typed)
		if k, _ := p.known(d.CodeHash); k.pending {
			t.Errorf("%s, and pending again", decided)
		}
		if _, over := p.register(d.CodeHash); !over {
			t.Errorf("%s, and somebody waits for it", decided)
		}
		if n := p.outstanding(start); n != 0 {
			t.Errorf("%s: %d outstanding", decided, n)
		}
	}
	p := newPolls(0, start)
	bound := pendingDevice(1, start)
	unbound := bound
	unbound.Thumbprint, bound.TypedAt = "", start
	p.begin(unbound)
	p.begin(bound)
	k := p.begin(unbound)
	if !k.bound || !k.ends().Equal(start.Add(grant.DeviceCodeLife)) || p.outstanding(start) != 1 {
		t.Errorf("bound %t, until %s, %d outstanding", k.bound, k.ends(), p.outstanding(start))
	}
}
