package edge_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/keytether/keytether/internal/edge"
	"github.com/keytether/keytether/internal/edge/edgetest"
	"github.com/keytether/keytether/internal/feed"
	"github.com/keytether/keytether/internal/oauth"
)

// TestFeed reads the feed as a resource server: a snapshot, what is revoked in
// order, heartbeats that name the last event, and nothing of another resource.
//
// Invariant: RV-1
func TestFeed(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	before := s.NewTool(edgetest.Handshake)
	before.Login()
	revoke := func(tool *edgetest.Tool, token string) {
		t.Helper()
		if res := s.Do(s.FormRequest(oauth.PathRevoke, url.Values{"token": {token}, "client_id": {tool.Client}})); res.Status != http.StatusOK {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
	}
	revoke(before, before.Token.RefreshToken)
	res := s.Stream(s.FormRequest(oauth.PathRevocations, s.ResourceForm(oauth.PathRevocations)))
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != feed.ContentType ||
		res.Header.Get("X-Accel-Buffering") != "no" || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	in := feed.NewDecoder(res.Body)
	next := func() feed.Event {
		t.Helper()
		e, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	snap, ok := next().(*feed.Snapshot)
	if !ok || len(snap.Grants) != 1 || snap.Grants[0].ID != before.Token.GrantID || len(snap.Tokens) != 0 {
		t.Fatalf("snapshot %+v", snap)
	}
	last := snap.Sequence

	foreign := codeFor(s, edgetest.Plain, before.Browser)
	foreign.Take(foreign.Post(oauth.PathToken, foreign.RedeemParams()))
	mine := codeFor(s, edgetest.Bound, before.Browser)
	mine.Take(mine.Post(oauth.PathToken, mine.RedeemParams()))
	revoke(foreign, foreign.Token.RefreshToken)
	began := time.Now()
	revoke(mine, mine.Token.AccessToken)
	revoke(mine, mine.Token.RefreshToken)
	var got []*feed.Revoked
	for len(got) < 2 {
		switch e := next().(type) {
		case *feed.Revoked:
			if e.Prev != last {
				t.Errorf("prev %d after %d", e.Prev, last)
			}
			last = e.Sequence
			got = append(got, e)
		case *feed.Heartbeat:
			if e.Sequence != last {
				t.Errorf("heartbeat names %d, last was %d", e.Sequence, last)
			}
			if time.Since(began) > 5*time.Second {
				t.Fatalf("nothing but heartbeats; revoked: %+v", got)
			}
		}
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("it took %v", d)
	}
	if got[0].JTI == "" || got[1].Grant != mine.Token.GrantID {
		t.Errorf("revoked %+v, %+v", got[0], got[1])
	}
	if b, ok := next().(*feed.Heartbeat); !ok || b.Sequence != last {
		t.Errorf("no heartbeat that names the last event: %+v", b)
	}
}

// TestFeedRefuses asks for the feed without being a resource server.
func TestFeedRefuses(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	for name, form := range wrongAssertions(t, s, oauth.PathIntrospect) {
		if name == "replayed" {
			continue
		}
		res := s.Do(s.FormRequest(oauth.PathRevocations, form))
		if res.Status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s", name, res.Status, res.Body)
		}
	}
	tool := s.NewTool(edgetest.Bound)
	for _, c := range wrongForms() {
		if c.name != "empty" {
			refused(t, c.post(s, tool, oauth.PathRevocations, s.ResourceForm(oauth.PathRevocations)), c.code)
		}
	}
}

// TestShutdownEndsStreams shuts a server down while somebody listens.
func TestShutdownEndsStreams(t *testing.T) {
	s := edgetest.NewServer(t, edgetest.Options{})
	srv := httptest.NewUnstartedServer(s.Handler)
	edge.ConfigureServer(srv.Config)
	srv.Start()
	defer srv.Close()
	r := s.FormRequest(oauth.PathRevocations, s.ResourceForm(oauth.PathRevocations))
	r.URL.Host = srv.Listener.Addr().String()
	res, err := srv.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := feed.NewDecoder(res.Body)
	if _, err := in.Next(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if err := srv.Config.Shutdown(ctx); err != nil {
		t.Errorf("shutdown waits for a stream: %v", err)
	}
	if res := s.Do(get(t, s, "/readyz")); res.Status != http.StatusServiceUnavailable {
		t.Errorf("ready while stopping: %d", res.Status)
	}
}

func get(t *testing.T, s *edgetest.Server, path string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Issuer+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
