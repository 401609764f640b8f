package edge

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of what the edge takes, each with its reason. Those of single
// parameters stand in package oauth.
const (
	// headerTime: headers are one packet or two; whoever needs longer holds a
	// connection for its own sake.
	headerTime = 5 * time.Second
	// readTime: a body is at most oauth.MaxBody.
	readTime = 15 * time.Second
	// writeTime: a sign-in may wait for its turn to be hashed. Streams set a
	// time of their own for each write.
	writeTime = 30 * time.Second
	// streamTime is how long one write of a stream may take.
	streamTime = 10 * time.Second
	// idleTime is longer than the minute for which proxies keep a connection.
	idleTime = 90 * time.Second
	// maxHeader: cookies, a proof, a token of 8 KiB at most.
	maxHeader = 16 << 10

	// Requests per second and address, and how many at once. They stop a
	// stranger from filling memory with requests that nobody opens, and a
	// guesser from using every core; an office behind one address must not
	// notice. The token endpoint has none: a proof and a one-time secret come
	// first there, and a storm of renewals after an outage must pass.
	pushRate, pushBurst     = 100, 1000
	openRate, openBurst     = 100, 1000
	signInRate, signInBurst = 10, 60
	// A device authorization is durable from its start, with its record: who starts
	// many fills a disk.
	deviceRate, deviceBurst = 2, 300

	// A burn looks into the store for each of up to a hundred strings.
	burnRate, burnBurst = 1, 30

	// maxAddresses is how many addresses are remembered at least, of about 200
	// bytes each; twice as many at most.
	maxAddresses = 20_000
)

// ConfigureServer sets the limits of a server whose handler is New's, and ends
// the streams when it shuts down.
func ConfigureServer(srv *http.Server) {
	srv.ReadHeaderTimeout = headerTime
	srv.ReadTimeout = readTime
	srv.WriteTimeout = writeTime
	srv.IdleTimeout = idleTime
	srv.MaxHeaderBytes = maxHeader
	if h, ok := srv.Handler.(*Handler); ok {
		srv.RegisterOnShutdown(h.Stop)
		if srv.ErrorLog == nil {
			srv.ErrorLog = slog.NewLogLogger(h.log.Handler(), slog.LevelDebug)
		}
	}
}

type limits struct {
	push, open, signIn, device *limiter
	report, burn               *limiter
}

func newLimits() limits {
	return limits{
		push:   newLimiter(pushRate, pushBurst),
		open:   newLimiter(openRate, openBurst),
		signIn: newLimiter(signInRate, signInBurst),
		device: newLimiter(deviceRate, deviceBurst),
		report: newLimiter(pushRate, pushBurst),
		burn:   newLimiter(burnRate, burnBurst),
	}
}

// limiter is a token bucket per address, in two generations: when the younger
// is full the older is forgotten.
type limiter struct {
	every rate.Limit
	burst int

	mu         sync.Mutex
	young, old map[netip.Addr]*rate.Limiter
}

func newLimiter(perSecond float64, burst int) *limiter {
	return &limiter{every: rate.Limit(perSecond), burst: burst, young: make(map[netip.Addr]*rate.Limiter)}
}

// wait takes a token, or says how long until there is one.
func (l *limiter) wait(a netip.Addr, now time.Time) time.Duration {
	a = network(a)
	l.mu.Lock()
	b := l.young[a]
	if b == nil {
		if b = l.old[a]; b == nil {
			b = rate.NewLimiter(l.every, l.burst)
		}
		if len(l.young) >= maxAddresses {
			l.young, l.old = make(map[netip.Addr]*rate.Limiter), l.young
		}
		l.young[a] = b
	}
	l.mu.Unlock()
	res := b.ReserveN(now, 1)
	d := res.DelayFrom(now)
	if d > 0 {
		res.CancelAt(now)
	}
	return d
}

// network is what one customer has: an IPv4 address, or 64 bits of IPv6.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if a.Is4() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}
