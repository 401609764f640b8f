package verify

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytether/keytether/internal/feed"
	"github.com/keytether/keytether/internal/oauth"
)

// TestRevokedIsRefused revokes a grant while its token is in the cache. Time in
// the bubble stands unless somebody waits, so what is measured is what waits.
//
// Invariant: RV-1
func TestRevokedIsRefused(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		want(t, w.do(), http.StatusOK, "")
		began := time.Now()
		w.issuer.revoke("grt_1")
		synctest.Wait()
		want(t, w.do(), http.StatusUnauthorized, oauth.TokenRevoked)
		if took := time.Since(began); took > time.Second {
			t.Fatalf("refused after %v", took)
		}
		want(t, w.do(func(a *attempt) { a.claims.GrantID, a.claims.ID = "grt_2", "jti_2" }), http.StatusOK, "")
	})
}

// TestRevokedBeforeTheStart is told by the snapshot.
func TestRevokedBeforeTheStart(t *testing.T) {
	inEmptyWorld(t, func(t *testing.T, w *world) {
		w.issuer.grants = []feed.Entry{{ID: "grt_1", Until: time.Now().Add(time.Minute)}}
		w.open(New, nil)
		w.ready()
		want(t, w.do(), http.StatusUnauthorized, oauth.TokenRevoked)
	})
}

// TestLockedGrant: tokens of before a lock are refused, and those of the same grant
// that were issued after it are good, without a word of the unlock.
//
// Invariant: DC-6
func TestLockedGrant(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		want(t, w.do(), http.StatusOK, "")
		at := time.Now().Add(time.Second)
		w.issuer.lock("grt_1", at)
		synctest.Wait()
		want(t, w.do(), http.StatusUnauthorized, oauth.TokenRevoked)
		time.Sleep(2 * time.Second)
		want(t, w.do(func(a *attempt) { a.claims.ID = "jti_2" }), http.StatusOK, "")
		want(t, w.do(func(a *attempt) { a.claims.IssuedAt = at.Add(-time.Second) }), http.StatusUnauthorized, oauth.TokenRevoked)
	})
}

// TestNothingBeforeTheSnapshot: unknown is not unrevoked.
//
// Invariant: RV-2
func TestNothingBeforeTheSnapshot(t *testing.T) {
	inEmptyWorld(t, func(t *testing.T, w *world) {
		w.issuer.feedDown = true
		w.open(New, nil)
		time.Sleep(time.Minute)
		if err := w.v.Ready(); !errors.Is(err, ErrNoSnapshot) {
			t.Fatal(err)
		}
		rec := w.do()
		want(t, rec, http.StatusServiceUnavailable, oauth.StaleRevocations)
		if rec.Header().Get("Retry-After") == "" || rec.Header().Get("WWW-Authenticate") != "" {
			t.Fatal(rec.Header())
		}
		w.issuer.with(func() { w.issuer.feedDown = false })
		time.Sleep(maxPause + time.Second)
		want(t, w.do(), http.StatusOK, "")
	})
}

// TestNothingAfterTheFeedIsLost, in the ways in which a feed is lost. Until five
// seconds are over requests are answered, and again when the feed is back.
//
// Invariant: RV-2
func TestNothingAfterTheFeedIsLost(t *testing.T) {
	for name, lose := range map[string]func(*issuer){
		"refused":      func(s *issuer) { s.with(func() { s.feedDown = true }); s.disconnect() },
		"silent":       func(s *issuer) { s.with(func() { s.silent, s.feedDown = true, true }) },
		"held back":    func(s *issuer) { s.with(func() { s.behind, s.feedDown = time.Hour, true }) },
		"held back 6s": func(s *issuer) { s.with(func() { s.behind, s.feedDown = 6*time.Second, true }) },
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, New, nil, func(t *testing.T, w *world) {
				time.Sleep(10 * time.Minute)
				lose(w.issuer)
				time.Sleep(4500 * time.Millisecond)
				want(t, w.do(), http.StatusOK, "")
				time.Sleep(time.Second)
				want(t, w.do(), http.StatusServiceUnavailable, oauth.StaleRevocations)
				time.Sleep(10 * time.Minute)
				want(t, w.do(), http.StatusServiceUnavailable, oauth.StaleRevocations)
				if err := w.v.Ready(); !errors.Is(err, ErrStale) {
					t.Fatal(err)
				}
				w.issuer.with(func() { w.issuer.feedDown, w.issuer.silent, w.issuer.behind = false, false, 0 })
				time.Sleep(maxPause + time.Second)
				want(t, w.do(), http.StatusOK, "")
			})
		})
	}
}

// TestAnchor dates the issuer's events by our clock, never later than they can
// have been sent.
func TestAnchor(t *testing.T) {
	tie := anchor{ours: time.Now()}
	issued := time.Unix(1000, 0)
	now := tie.ours.Add(20 * time.Second)
	if got := tie.asOf(issued, now); !got.Equal(tie.ours) {
		t.Fatal("a snapshot can be as old as the request for it", got)
	}
	if got := tie.asOf(issued.Add(3*time.Second), now); now.Sub(got) != 17*time.Second {
		t.Fatal(got)
	}
	// The issuer's clock jumps ahead: from here on it is tied anew.
	if got := tie.asOf(issued.Add(time.Hour), now); !got.Equal(now) {
		t.Fatal(got)
	}
	if got := tie.asOf(issued.Add(time.Hour), now.Add(6*time.Second)); !got.Equal(now) {
		t.Fatal("an event of the same time was taken for a later one", got)
	}
}

// TestReconnectForgetsNothing: a restarted issuer that lost its list, with
// sequence numbers from zero, does not bring a grant back to life.
func TestReconnectForgetsNothing(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		w.issuer.revoke("grt_1")
		w.issuer.with(func() { w.issuer.seq, w.issuer.grants = 0, nil })
		w.issuer.disconnect()
		time.Sleep(time.Second)
		want(t, w.do(), http.StatusUnauthorized, oauth.TokenRevoked)
		want(t, w.do(func(a *attempt) { a.claims.GrantID = "grt_2" }), http.StatusOK, "")
	})
}

// TestMissedWhileAway: what was revoked between two connections is in the next
// snapshot.
func TestMissedWhileAway(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		w.issuer.with(func() { w.issuer.feedDown = true })
		w.issuer.disconnect()
		synctest.Wait()
		w.issuer.revoke("grt_1")
		w.issuer.with(func() { w.issuer.feedDown = false })
		time.Sleep(time.Second)
		want(t, w.do(), http.StatusUnauthorized, oauth.TokenRevoked)
	})
}

// TestGapIsNotTrusted: an event is lost on the way, so nothing is believed until
// there is a new snapshot, which comes by a new connection.
func TestGapIsNotTrusted(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		want(t, w.do(), http.StatusOK, "")
		w.issuer.with(func() { w.issuer.feedDown = true })
		lost, err := feed.AppendRevoked(nil, &feed.Revoked{Sequence: 9, Prev: 8, At: time.Now(), Grant: "grt_9", Until: time.Now().Add(time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		w.issuer.send <- lost
		synctest.Wait()
		want(t, w.do(), http.StatusServiceUnavailable, oauth.StaleRevocations)
		w.issuer.with(func() { w.issuer.feedDown = false })
		time.Sleep(time.Second)
		want(t, w.do(), http.StatusOK, "")
		want(t, w.do(func(a *attempt) { a.claims.GrantID = "grt_9" }), http.StatusUnauthorized, oauth.TokenRevoked)
	})
}

// TestNoiseOnTheFeed: what is not the feed ends the connection and is not trusted
// for longer than a lost one.
func TestNoiseOnTheFeed(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		w.issuer.with(func() { w.issuer.feedDown = true })
		w.issuer.send <- []byte("event: heartbeat\nid: 0\ndata: {}\n\n")
		time.Sleep(6 * time.Second)
		want(t, w.do(), http.StatusServiceUnavailable, oauth.StaleRevocations)
	})
}

// TestSilentFeedIsOpenedAgain: a connection that is dead and does not say so is
// given up, since it would never tell again.
func TestSilentFeedIsOpenedAgain(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		w.issuer.with(func() { w.issuer.silent = true })
		time.Sleep(7 * time.Second)
		if w.issuer.connected() < 2 {
			t.Fatal("it still listens to nothing")
		}
	})
}

// TestReconnectIsPaced: an issuer that is down is asked about every five seconds,
// not in a loop.
func TestReconnectIsPaced(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		w.issuer.with(func() { w.issuer.feedDown = true })
		w.issuer.disconnect()
		time.Sleep(10 * time.Minute)
		n := w.issuer.connected()
		if n < 100 || n > 300 {
			t.Fatalf("%d connections in ten minutes", n)
		}
		if !strings.Contains(w.log.String(), "temporarily_unavailable") {
			t.Fatal("the log does not say why")
		}
		// A feed that has worked is opened again at once.
		w.issuer.with(func() { w.issuer.feedDown = false })
		time.Sleep(time.Minute)
		n = w.issuer.connected()
		w.issuer.disconnect()
		time.Sleep(2 * minPause)
		if got := w.issuer.connected(); got != n+1 {
			t.Fatalf("opened again %d times", got-n)
		}
	})
}

// TestIssuersClockIsSetBack: by the old tie between the clocks all that arrives
// is too old, so a new one is made.
func TestIssuersClockIsSetBack(t *testing.T) {
	inWorld(t, New, nil, func(t *testing.T, w *world) {
		w.issuer.with(func() { w.issuer.behind = time.Hour })
		for range 70 {
			time.Sleep(100 * time.Millisecond)
			want(t, w.do(), http.StatusOK, "")
		}
		if n := w.issuer.connected(); n != 2 {
			t.Fatalf("%d connections", n)
		}
	})
}

// TestStaleVariant goes on without the feed, and still refuses what it knew. It
// does not begin without having known.
func TestStaleVariant(t *testing.T) {
	inWorld(t, NewAcceptingStaleRevocations, nil, func(t *testing.T, w *world) {
		w.issuer.revoke("grt_2")
		w.issuer.with(func() { w.issuer.feedDown = true })
		w.issuer.disconnect()
		time.Sleep(10 * time.Minute)
		want(t, w.do(), http.StatusOK, "")
		want(t, w.do(func(a *attempt) { a.claims.GrantID = "grt_2" }), http.StatusUnauthorized, oauth.TokenRevoked)
	})
	inEmptyWorld(t, func(t *testing.T, w *world) {
		w.issuer.feedDown = true
		w.open(NewAcceptingStaleRevocations, nil)
		time.Sleep(time.Minute)
		want(t, w.do(), http.StatusServiceUnavailable, oauth.StaleRevocations)
	})
}

// TestWithoutRevocations opens no feed and needs no key.
func TestWithoutRevocations(t *testing.T) {
	inWorld(t, NewWithoutRevocations, func(o *Options) { o.Key = nil }, func(t *testing.T, w *world) {
		w.issuer.with(func() { w.issuer.grants = []feed.Entry{{ID: "grt_1", Until: time.Now().Add(time.Hour)}} })
		time.Sleep(time.Minute)
		want(t, w.do(), http.StatusOK, "")
		if w.issuer.connects != 0 {
			t.Fatal("it opened the feed")
		}
	})
}
