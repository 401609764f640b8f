package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/keytether/keytether/internal/feed"
	"github.com/keytether/keytether/internal/oauth"
)

// revocations is what the feed has told, and as of when. Nothing that was heard
// is forgotten when the connection is lost.
type revocations struct {
	mu    sync.RWMutex
	state feed.State
	asOf  time.Time // our clock, when what we know was certainly still all
	last  error     // why the feed was lost, for people
}

// check tells whether a grant or a token is revoked, or that this is not known.
func (r *revocations) check(grant, jti string, issued time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.Revoked(grant, jti, issued)
}

// fresh is nil when what is known can be trusted now.
func (r *revocations) fresh(now time.Time, anyAge bool) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	switch {
	case r.asOf.IsZero():
		return ErrNoSnapshot
	case anyAge:
		return nil
	case !r.state.Ready():
		return ErrNoSnapshot // an event was lost
	case elapsed(r.asOf, now) > feed.StaleAfter:
		return ErrStale
	}
	return nil
}

func (r *revocations) apply(e feed.Event, now, asOf time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.state.Apply(e, now); err != nil {
		return err
	}
	if asOf.After(r.asOf) {
		r.asOf = asOf
	}
	r.last = nil
	return nil
}

func (r *revocations) lost(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = err
}

func (r *revocations) lastError() error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.last
}

// anchor ties the issuer's clock to ours, to tell how old an event is when it
// arrives. A proxy that holds the stream back, or a process that was stopped,
// would otherwise take old heartbeats for news. The issuer dated its snapshot
// after we had asked, so what it dates d later was sent at most d after that.
type anchor struct {
	ours, theirs time.Time
}

// asOf is our time of an event, at the earliest it can have been; never later
// than now. A time that would be later means that a clock was set, and ties anew.
func (a *anchor) asOf(at, now time.Time) time.Time {
	if a.theirs.IsZero() {
		a.theirs = at
	}
	t := a.ours.Add(at.Sub(a.theirs))
	if t.After(now) {
		a.ours, a.theirs = now, at
		return now
	}
	return t
}

func eventTime(e feed.Event) time.Time {
	switch e := e.(type) {
	case *feed.Snapshot:
		return e.IssuedAt
	case *feed.Revoked:
		return e.At
	case *feed.Heartbeat:
		return e.At
	}
	return time.Time{}
}

var (
	errBehind = errors.New("the feed arrives too late to be of use")
	errSilent = errors.New("no heartbeat arrived in time")
	errSlow   = errors.New("the feed did not answer in time")
	errEnded  = errors.New("the issuer ended the feed")
	errFeed   = errors.New("the feed was refused")
)

// follow keeps the feed open until the context ends.
func (v *Verifier) follow(ctx context.Context) {
	pause := minPause
	for {
		began := time.Now()
		err := v.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		v.revoked.lost(err)
		if time.Since(began) > maxPause {
			pause = minPause // it had worked
		}
		wait := pause/2 + rand.N(pause/2)
		v.log.Warn("the revocation feed was lost", "error", err, "again_in", wait)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, maxPause)
	}
}

// listen opens the feed once and takes what comes until it is lost.
func (v *Verifier) listen(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(connectTimeout, func() { cancel(errSlow) })
	defer watch.Stop()

	tie := anchor{ours: time.Now()}
	res, err := v.connect(ctx)
	if err != nil {
		return because(ctx, err)
	}
	defer res.Body.Close()
	watch.Stop()
	watch = time.AfterFunc(feed.StaleAfter, func() { cancel(errSilent) })
	defer watch.Stop()

	in := feed.NewDecoder(&reader{res.Body, func() { watch.Reset(feed.StaleAfter) }})
	level := false // whether what arrives is of now
	for {
		e, err := in.Next()
		if err != nil {
			return because(ctx, err)
		}
		now := time.Now()
		asOf := tie.asOf(eventTime(e), now)
		if err := v.revoked.apply(e, now, asOf); err != nil {
			return err
		}
		behind := now.Sub(asOf) > feed.StaleAfter
		if behind && level {
			return errBehind
		}
		if !behind && !level {
			level = true
			v.log.Info("following the revocation feed", "revoked", v.revoked.size())
		}
	}
}

func (r *revocations) size() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state.Len()
}

// connect asks for the feed with a fresh assertion.
func (v *Verifier) connect(ctx context.Context) (*http.Response, error) {
	assertion, err := v.assertion(time.Now())
	if err != nil {
		return nil, err
	}
	form := url.Values{"client_assertion_type": {assertionType}, "client_assertion": {assertion.Reveal()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, v.feedURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("%w: its address is not a URL", errFeed)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", feed.ContentType)
	req.Header.Set("Accept-Encoding", "identity") // a compressor would hold events back
	res, err := v.client.Stream(req)
	if err != nil {
		return nil, err
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if res.StatusCode == http.StatusOK && kind == feed.ContentType {
		return res, nil
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		return nil, fmt.Errorf("%w: %s answered no event stream", errFeed, oauth.Origin(v.feedURL))
	}
	var why oauth.Response
	body, _ := io.ReadAll(io.LimitReader(res.Body, oauth.MaxBody))
	_ = json.Unmarshal(body, &why)
	if len(why.Error) > 64 {
		why.Error = "too long to be one"
	}
	return nil, fmt.Errorf("%w: status %d, error %q. Check that the issuer has this key for %s", errFeed, res.StatusCode, why.Error, v.resource)
}

// because prefers the reason why we gave up to the error that came of it.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	if errors.Is(err, io.EOF) {
		return errEnded
	}
	return err
}

// reader tells whenever something arrives.
type reader struct {
	io.Reader
	arrived func()
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.arrived()
	}
	return n, err
}
