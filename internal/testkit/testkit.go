// Package testkit has one fake for each outside thing that tests need: a clock
// that only moves when told, randomness that repeats, a certificate authority
// of the test's own, free loopback ports and processes that are sure to end.
//
// Only tests, the benchmarks and the demo may import it.
package testkit

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Epoch is where a fake clock starts unless told otherwise: a moment with no
// meaning, in UTC, with microseconds so that lost precision shows.
var Epoch = time.Date(2026, time.March, 14, 9, 26, 53, 589793000, time.UTC)

// Clock is a clock that only moves by Advance and Set. Its zero value is not
// useful; take one from NewClock. It may be used from many goroutines.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that stands at Epoch.
func NewClock() *Clock { return &Clock{now: Epoch} }

// Now returns the clock's time. Pass the method where a func() time.Time is
// wanted.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock by d, backwards too, and returns the new time.
func (c *Clock) Advance(d time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return c.now
}

// Set puts the clock to t.
func (c *Clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// Rand returns endless bytes that follow from the seed alone: SHA-256 of seed
// and counter. It may be read from many goroutines; each Read gets bytes that
// no other Read got. It is for tests: whoever knows the seed knows the bytes.
func Rand(seed string) io.Reader { return &seeded{seed: sha256.Sum256([]byte(seed))} }

type seeded struct {
	mu   sync.Mutex
	seed [32]byte
	n    uint64
	rest []byte
}

func (s *seeded) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for done := 0; done < len(p); {
		if len(s.rest) == 0 {
			block := sha256.Sum256(binary.BigEndian.AppendUint64(s.seed[:], s.n))
			s.n++
			s.rest = block[:]
		}
		n := copy(p[done:], s.rest)
		s.rest = s.rest[n:]
		done += n
	}
	return len(p), nil
}

// FreeAddr returns a loopback address ("127.0.0.1:PORT") that was free a moment
// ago, for a program that must be told where to listen. Tests that can listen
// themselves should pass their listener on instead.
func FreeAddr(t testing.TB) string {
	t.Helper()
	addr, err := FreeLoopback()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// FreeLoopback is FreeAddr for programs that are not tests.
func FreeLoopback() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("testkit: no free loopback port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
