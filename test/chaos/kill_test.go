//go:build linux

package chaos

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/event"
	"github.com/keytether/keytether/internal/oauth"
	"github.com/keytether/keytether/internal/testkit/stage"
)

const (
	kills   = 110
	holders = 24
)

// TestKillNine kills the server with SIGKILL at random moments of a storm of
// logins, refreshes and revocations, and while it starts. A client knows what was
// acknowledged and what is in doubt, no more; afterwards every acknowledged
// refresh token works or its grant was revoked by a record, a request in doubt may
// be repeated, an acknowledged revocation stays, no two answers ever name two
// successors of one token, and every access token that anybody got is in a log
// that verifies.
//
// Invariant: GR-6b, GR-8
func TestKillNine(t *testing.T) {
	began := time.Now()
	s := newStage(t, "warn")
	seed := chaosSeed()
	t.Logf("seed %d: set KEYTETHER_TEST_SEED to it to repeat the same delays", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &world{t: t, people: meet(t, s), successors: map[string]string{}, tokens: map[string]string{}, ended: map[string]bool{}}
	all := make([]*holder, holders)
	for i := range all {
		all[i] = &holder{w: w, rng: rand.New(rand.NewPCG(seed, uint64(i)+1))}
		all[i].step(t.Context()) // log in
	}
	var held [][]byte
	var starting time.Duration
	for round := range kills {
		w.storm(t.Context(), s, all, stormTime(rng, round))
		if round%5 == 0 {
			held = append(held, checkpoint(t, s.Data()))
		}
		if round%8 == 3 {
			w.killWhileStarting(t.Context(), s, time.Duration(rng.IntN(40))*time.Millisecond)
		}
		at := time.Now()
		start(t, s)
		starting += time.Since(at)
		w.checkEnded(t.Context())
		if t.Failed() {
			t.Fatalf("after kill %d", w.killed)
		}
	}
	w.settle(t.Context(), all)
	held = append(held, checkpoint(t, s.Data()))
	for _, h := range all[:6] {
		h.checkOneSuccessor(t)
	}
	stop(t, s)
	log := readLog(t, s.Data(), s.Issuer, held...)
	w.checkLog(t, log)
	applied := w.applied(log)
	t.Logf("%d kills in %v; a start took %v; %d refreshes, %d grants; of %d requests in doubt %d had been applied; the log has %d records",
		w.killed, time.Since(began).Round(time.Second), (starting / kills).Round(time.Millisecond),
		w.refreshes, log.report.Events[event.GrantCreated], len(w.doubts), applied, log.report.Size)
	if w.killed < 100 {
		t.Errorf("only %d kills", w.killed)
	}
	if applied == 0 || applied == len(w.doubts) {
		t.Errorf("of %d requests in doubt %d had been applied: the kills came at no interesting moment", len(w.doubts), applied)
	}
}

func chaosSeed() uint64 {
	if n, err := strconv.ParseUint(os.Getenv("KEYTETHER_TEST_SEED"), 10, 64); err == nil {
		return n
	}
	return uint64(time.Now().UnixNano())
}

// stormTime is how long the next storm lasts: mostly short, sometimes long enough
// for the log to be signed in it.
func stormTime(rng *rand.Rand, round int) time.Duration {
	if round%10 == 9 {
		return 500*time.Millisecond + time.Duration(rng.IntN(300_000))*time.Microsecond
	}
	return time.Duration(2_000+rng.IntN(250_000)) * time.Microsecond
}

// world is what all clients together have been told.
type world struct {
	t *testing.T
	people
	mu         sync.Mutex
	successors map[string]string // refresh token -> the only successor that may ever be named
	tokens     map[string]string // jti of each access token -> its grant
	ended      map[string]bool   // grants whose end was acknowledged
	fresh      []*holder         // those of the last storm, with their last token
	killed     int
	refreshes  int
	doubts     []string // jti of each answer that cleared a doubt
}

// storm lets everybody work until the server is killed.
func (w *world) storm(ctx context.Context, s *stage.Stage, all []*holder, long time.Duration) {
	var wg sync.WaitGroup
	for _, h := range all {
		wg.Go(func() {
			for h.step(ctx) && !w.t.Failed() {
			}
		})
	}
	time.Sleep(long)
	w.kill(s)
	wg.Wait()
}

func (w *world) kill(s *stage.Stage) {
	s.Server.Kill()
	w.killed++
}

// killWhileStarting kills a server that is not ready yet.
func (w *world) killWhileStarting(ctx context.Context, s *stage.Stage, after time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, after)
	defer cancel()
	_ = s.StartServer(ctx) // it may have been quick
	w.kill(s)
}

// settle clears every doubt.
func (w *world) settle(ctx context.Context, all []*holder) {
	for _, h := range all {
		for h.doubt || h.revoking || h.token == "" {
			if !h.step(ctx) {
				w.t.Fatal("no answer although nobody kills")
			}
		}
	}
}

// checkEnded: what was revoked before the kill is revoked after it.
func (w *world) checkEnded(ctx context.Context) {
	for _, h := range w.fresh {
		_, err := refresh(ctx, h.tool, h.token)
		wantRefused(w.t, "a refresh after an acknowledged revocation", err, oauth.GrantEnded)
	}
	w.fresh = nil
}

// got notes an answer, and fails if it disagrees with one that was given before.
func (w *world) got(presented string, out oauth.TokenResponse) {
	id, err := jti(out.AccessToken)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.t.Error(err)
	}
	if out.GrantID == "" || out.RefreshToken == "" {
		w.t.Errorf("an answer without grant or refresh token: %q", out.GrantID)
	}
	w.tokens[id] = out.GrantID
	if presented == "" {
		return
	}
	w.refreshes++
	if was, ok := w.successors[presented]; ok && was != out.RefreshToken {
		w.t.Errorf("%s has two successors of one refresh token", out.GrantID)
	}
	w.successors[presented] = out.RefreshToken
	if a, b := generation(w.t, presented), generation(w.t, out.RefreshToken); b != a+1 {
		w.t.Errorf("%s: generation %d was followed by %d", out.GrantID, a, b)
	}
}

// cleared notes an answer that cleared a doubt.
func (w *world) cleared(out oauth.TokenResponse) {
	id, err := jti(out.AccessToken)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.t.Error(err)
	}
	w.doubts = append(w.doubts, id)
}

// applied counts the doubts whose request had been applied: the log says behind
// the token of the answer that it was a repetition.
func (w *world) applied(log auditLog) (n int) {
	at := map[string]int{}
	for i, r := range log.records {
		if r.Name == event.TokenIssued {
			at[r.JTI] = i
		}
	}
	for _, id := range w.doubts {
		if next := log.records[at[id]+1]; next.Name == event.RefreshRepeated && next.Grant == w.tokens[id] {
			n++
		}
	}
	return n
}

// lost reports whether an error means that no whole answer came.
func lost(err error) bool {
	var transport *url.Error
	return errors.As(err, &transport) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// checkLog: every token that was acknowledged is in the log, and so is the end of
// every grant that ended, for the reason that we gave.
func (w *world) checkLog(t *testing.T, log auditLog) {
	log.checkFamilies(t)
	issued, ends := map[string]string{}, map[string]event.Reason{}
	for _, r := range log.records {
		switch r.Name {
		case event.TokenIssued:
			if issued[r.JTI] != "" {
				t.Errorf("%s was issued twice", r.JTI)
			}
			issued[r.JTI] = r.Grant
		case event.GrantRevoked:
			ends[r.Grant] = r.Reason
		}
	}
	for id, grant := range w.tokens {
		if issued[id] != grant {
			t.Errorf("access token %s of %s was acknowledged, and the log says %q", id, grant, issued[id])
		}
	}
	for grant := range w.ended {
		if ends[grant] == "" {
			t.Errorf("%s has ended without a record", grant)
		}
	}
	for grant, reason := range ends {
		if !w.ended[grant] || reason != event.ReasonLogout && reason != event.ReasonReuse {
			t.Errorf("%s was revoked (%s), and nobody asked for it", grant, reason)
		}
	}
}
